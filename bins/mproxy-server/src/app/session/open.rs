//! From an accepted socket to a stream of MQTT.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use mproxy_admin::{Reason, RefuseReason, Side};
use mproxy_session::{ClientCertificate, Peer, SessionHandle, TlsPeer};
use mproxy_transport::{
    Accepted, CertificateNames, Stream, TlsCause, TlsError, TlsInfo, TlsServer, WsCause, WsError,
    accept_tls_admitted, accept_websocket_counted,
};

use super::handshake;
use super::recorder::reason;
use super::tls;
use super::unused::ended;
use crate::app::bans;
use crate::app::gate::{Client, Pass, Refused};
#[cfg(feature = "ocsp")]
use crate::app::ocsp::Attended;
use crate::app::service::{Service, Unwelcome};

impl Service {
    /// Registers the socket, reads a PROXY protocol header, and does the handshakes of TLS and WebSocket,
    /// as far as the listener has them, unless the connection is ordered to end before.
    pub(super) async fn open(
        &self,
        accepted: Accepted,
        pass: &mut Pass,
        handle: &SessionHandle,
    ) -> Result<Opened, Unopened> {
        let mut peer = Peer::new(Arc::clone(&self.name));
        peer.address = accepted.peer().socket_addr();
        let is_told = self.upstream.is_told();
        // a system call, for brokers that are told of it
        let mut destination = match is_told {
            true => accepted.local_addr().ok().flatten(),
            false => None,
        };
        let mut stream = accepted.into_stream().map_err(|error| {
            tracing::warn!(
                target: "mproxy::listener",
                event = "error",
                listener = &*self.name,
                peer = %peer,
                detail = %error,
                "cannot register an accepted connection"
            );
            Unopened::Refused(RefuseReason::Internal)
        })?;
        let introduced = self.introduced(&mut stream, &mut peer, &mut destination, handle);
        let mut uncounted = introduced.await?;
        let is_forwarded = self.trust.reads_forwarded && self.trust.has(peer.address);
        if !is_forwarded {
            self.count(pass, uncounted.take())?;
        }
        #[cfg(feature = "ocsp")]
        let mut attended = None;
        if let Some(server) = &self.tls {
            let (secured, info) = self.secure(stream, server, &peer, handle).await?;
            stream = secured;
            #[cfg(feature = "ocsp")]
            let questions = self.questions(server, &info);
            peer = peer.with_tls(tls_peer(info));
            #[cfg(feature = "ocsp")]
            {
                let cleared = self.cleared(&stream, &peer, questions, handle);
                attended = cleared.await?;
            }
        }
        if let Some(options) = &self.websocket {
            let held = |bytes| handle.holds(bytes);
            let handshake = accept_websocket_counted(stream, options, held);
            let accepted = self.unless_ordered(&peer, handle, handshake).await?;
            let (upgraded, request) = accepted.map_err(|error| {
                self.offended(bans::of_websocket(&error), &peer, None);
                self.not_upgraded(&peer, &error)
            })?;
            stream = upgraded;
            if is_forwarded {
                uncounted = self.forwarded(&mut peer, &request);
            }
            peer = peer.with_upgrade(self.upgrades.select(&request));
        }
        self.count(pass, uncounted)?;
        let destination = destination.filter(|_| is_told).map(Box::new);
        Ok(Opened {
            stream,
            peer,
            destination,
            #[cfg(feature = "ocsp")]
            attended,
        })
    }

    /// Does the TLS handshake, if limits let it begin.
    async fn secure(
        &self,
        stream: Stream,
        server: &TlsServer,
        peer: &Peer,
        handle: &SessionHandle,
    ) -> Result<(Stream, TlsInfo), Unopened> {
        let carrier = handle.clone();
        let held = move |bytes| carrier.carries(bytes);
        let (gate, address) = (&self.gate, peer.address);
        let client = address.map(|it| Client::of(it.ip(), self.ipv6_prefix).address());
        let mut refused = None;
        let begin = || {
            let counted = self
                .limits_handshakes
                .then(|| gate.begin_handshake(address));
            counted
                .transpose()
                .map_err(|limit| refused = Some(limit))
                .ok()
        };
        let handshake = accept_tls_admitted(stream, server, client, held, begin);
        let secured = self.unless_ordered(peer, handle, handshake).await?;
        secured.map_err(|error| match refused {
            Some(refused) => Unopened::Limited(address, refused),
            None => {
                self.offended(bans::of_tls(&error), peer, None);
                self.not_secured(peer, &error)
            }
        })
    }

    /// Waits for a handshake, unless the connection is ordered to end.
    pub(super) async fn unless_ordered<T>(
        &self,
        peer: &Peer,
        handle: &SessionHandle,
        handshake: impl Future<Output = T>,
    ) -> Result<T, Unopened> {
        let order = || poll_fn(|cx| handle.poll_order(cx));
        let ordered = tokio::select! {
            biased;
            order = order() => order,
            done = handshake => return Ok(done),
            // the handshake has just held more than there is: given back before another one is served
            order = order() => order,
        };
        tracing::debug!(
            target: "mproxy::listener",
            event = "disconnect",
            listener = &*self.name,
            peer = %peer,
            side = Side::Proxy.as_str(),
            reason = ordered.reason.as_str(),
            "connection closed before its handshake was complete"
        );
        Err(Unopened::Unused(Side::Proxy, reason(ordered.reason)))
    }

    /// One line about a TLS handshake that failed.
    fn not_secured(&self, peer: &Peer, error: &TlsError) -> Unopened {
        if let Some(unused) = self.unused(peer, ended!(error, TlsCause)) {
            return unused;
        }
        let (detail, remedy) = tls::account(error);
        let remedy = remedy.map(|remedy| self.names().fill(remedy));
        let certificate = error.refused_certificate();
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = %peer,
            certificate_subject = certificate.map(|it| it.subject.as_str()),
            certificate_serial = certificate.map(|it| it.serial.as_str()),
            certificate_issuer = certificate.map(|it| it.issuer.as_str()),
            reason = RefuseReason::TlsError.as_str(),
            detail,
            remedy,
            "TLS handshake refused"
        );
        Unopened::Refused(RefuseReason::TlsError)
    }

    /// One line about a WebSocket handshake that failed.
    fn not_upgraded(&self, peer: &Peer, error: &WsError) -> Unopened {
        if let Some(unused) = self.unused(peer, ended!(error, WsCause)) {
            return unused;
        }
        let (detail, remedy) = handshake::account(error);
        let remedy = remedy.map(|remedy| self.names().fill(remedy));
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = %peer,
            path = error.path(),
            offered = error.offered(),
            origin = error.origin(),
            reason = RefuseReason::WebsocketHandshake.as_str(),
            detail,
            remedy,
            "WebSocket handshake refused"
        );
        Unopened::Refused(RefuseReason::WebsocketHandshake)
    }
}

/// A stream of MQTT.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    /// The address that the client connected to, for brokers that are told of it.
    pub(super) destination: Option<Box<SocketAddr>>,
    /// `Some` for a client with a certificate.
    #[cfg(feature = "ocsp")]
    pub(super) attended: Option<Attended>,
}

/// Why an accepted connection has no session.
pub(super) enum Unopened {
    /// It was refused.
    Refused(RefuseReason),
    /// It was refused by a limit of this client.
    Limited(Option<SocketAddr>, Refused),
    /// It was refused because this client may not connect.
    TurnedAway(SocketAddr, Unwelcome),
    /// The client left or timed out without a byte; or it was told to end.
    Unused(Side, Reason),
}

/// What hooks and logs get to know.
fn tls_peer(info: TlsInfo) -> TlsPeer {
    let mut peer = TlsPeer::default();
    peer.version = info.version;
    peer.cipher = info.cipher;
    peer.server_name = info.server_name;
    peer.alpn = info.alpn;
    peer.is_resumed = info.is_resumed;
    peer.certificate = info.certificates.first().map(|own| {
        let mut certificate = ClientCertificate::default();
        // one that was verified can be read; without names, it is nobody's
        if let Ok(names) = CertificateNames::of(own) {
            certificate.common_name = names.common_name;
            certificate.subject = names.subject;
            certificate.issuer = names.issuer;
            certificate.serial = names.serial;
            certificate.dns_names = names.dns_names;
            certificate.uris = names.uris;
            certificate.not_after = names.not_after;
        }
        let chain = info.certificates.iter();
        certificate.chain = chain.map(|der| der.as_ref().into()).collect();
        certificate
    });
    peer
}
