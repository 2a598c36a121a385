//! Connections that come through a load balancer, which says who the client is.

use std::net::SocketAddr;
use std::sync::Arc;

use mproxy_admin::RefuseReason;
use mproxy_codec::{ConnectGlimpse, Foreign};
use mproxy_session::{ClientCertificate, Peer, SessionHandle, TlsPeer};
use mproxy_transport::{
    AcceptProxy, ProxyCause, ProxyError, ProxyTls, Stream, WsRequest, read_proxy_header,
};

use super::open::Unopened;
use super::unused::ended;
use crate::app::gate::Pass;
use crate::app::service::Service;

impl Service {
    /// Reads a PROXY protocol header, if the listener accepts one from this peer. Returns whom limits per
    /// address are yet to count the connection for: nobody if the gate has done so, or if the load balancer
    /// speaks for itself.
    pub(super) async fn introduced(
        &self,
        stream: &mut Stream,
        peer: &mut Peer,
        destination: &mut Option<SocketAddr>,
        handle: &SessionHandle,
    ) -> Result<Option<SocketAddr>, Unopened> {
        let accept = self.trust.accept;
        if !self.trust.defers(peer.address) {
            return match accept {
                AcceptProxy::Off | AcceptProxy::Optional => Ok(None),
                _ => Err(self.not_introduced(peer, UNTRUSTED.0, Some(UNTRUSTED.1))),
            };
        }
        let header = read_proxy_header(stream, accept, self.limits.connect_timeout);
        let header = self.unless_ordered(peer, handle, header).await?;
        let header = header.map_err(|error| {
            let unused = self.unused(peer, ended!(error, ProxyCause));
            unused.unwrap_or_else(|| {
                let (detail, remedy) = account(&error);
                self.not_introduced(peer, &detail, remedy)
            })
        })?;
        let Some(header) = header else {
            return Ok(peer.address);
        };
        peer.tls = header.tls.map(|tls| Arc::new(tls_peer(tls)));
        let Some((client, connected_to)) = header.addresses else {
            return Ok(None);
        };
        self.learned(peer, Some(client));
        *destination = Some(connected_to);
        Ok(Some(client))
    }

    /// Reads X-Forwarded-For. Returns whom to count the connection for, as above.
    pub(super) fn forwarded(&self, peer: &mut Peer, request: &WsRequest) -> Option<SocketAddr> {
        if let Some(header) = request.forwarded_for() {
            self.learned(peer, self.trust.forwarded(header, peer.address));
        }
        peer.address
    }

    /// Judges the limits of a client that was not known when the connection was accepted.
    pub(super) fn count(
        &self,
        pass: &mut Pass,
        client: Option<SocketAddr>,
    ) -> Result<(), Unopened> {
        let Some(client) = client else {
            return Ok(());
        };
        if let Err(unwelcome) = self.welcomes(client.ip()) {
            return Err(Unopened::TurnedAway(client, unwelcome));
        }
        let judged = pass.identify(client);
        judged.map_err(|refused| Unopened::Limited(Some(client), refused))
    }

    /// Takes the address that a load balancer has said.
    fn learned(&self, peer: &mut Peer, client: Option<SocketAddr>) {
        tracing::debug!(
            target: "mproxy::listener",
            listener = &*self.name,
            peer = client.map(tracing::field::display),
            proxy = %peer,
            "the load balancer has said who the client is"
        );
        peer.address = client;
    }

    /// One line about a peer that did not say who its client is.
    fn not_introduced(&self, peer: &Peer, detail: &str, remedy: Option<&str>) -> Unopened {
        let remedy = remedy.map(|remedy| self.names().fill(remedy));
        tracing::warn!(
            target: "mproxy::listener",
            event = "refuse",
            listener = &*self.name,
            peer = %peer,
            reason = RefuseReason::ProxyHeader.as_str(),
            detail,
            remedy,
            "connection refused: it does not begin with a valid PROXY protocol header"
        );
        Unopened::Refused(RefuseReason::ProxyHeader)
    }
}

/// About a peer that may not send a header, where one is required.
const UNTRUSTED: (&str, &str) = (
    "its address is not in a trusted network, and a header is required",
    "if it is your load balancer, add its address to listeners.NAME.proxy_protocol.trusted; if it is a client, \
     it has to connect to the load balancer, or to another listener",
);

/// What happened, and what to change.
fn account(error: &ProxyError) -> (String, Option<&'static str>) {
    let remedy = match error.cause() {
        ProxyCause::Missing => {
            let first = error.first_bytes();
            let other = match Foreign::recognise(first) {
                Some(foreign) => Some(foreign.to_string()),
                None => {
                    let is_connect = ConnectGlimpse::of(first).level.is_some();
                    is_connect.then(|| "a CONNECT".to_owned())
                }
            };
            let detail = match other {
                Some(other) => format!("{other} without a PROXY protocol header"),
                None => error.to_string(),
            };
            let remedy = "turn the PROXY protocol on in the load balancer for this port (send-proxy-v2, \
                proxy_protocol on), or set listeners.NAME.proxy_protocol.accept to \"optional\"";
            return (detail, Some(remedy));
        }
        ProxyCause::Version(_) => {
            "set listeners.NAME.proxy_protocol.accept to this version, or to \"required\" for both"
        }
        ProxyCause::TimedOut | ProxyCause::Closed | ProxyCause::Io(_) => {
            "check the network between the load balancer and mproxy"
        }
        ProxyCause::Invalid | ProxyCause::TooLarge(_) => {
            "is it a load balancer? if so, update it, or have it send fewer fields"
        }
        _ => return (error.to_string(), None),
    };
    (error.to_string(), Some(remedy))
}

/// What hooks and logs get to know of the TLS that ended at the load balancer.
fn tls_peer(tls: ProxyTls) -> TlsPeer {
    let mut peer = TlsPeer::default();
    peer.version = match &*tls.version {
        "TLSv1.3" => "TLSv1.3",
        "TLSv1.2" => "TLSv1.2",
        _ => "older than TLSv1.2",
    };
    peer.cipher = tls.cipher;
    peer.server_name = tls.server_name.map(Into::into);
    peer.certificate = tls.is_verified.then(|| {
        let mut certificate = ClientCertificate::default();
        certificate.common_name = tls.common_name;
        certificate
    });
    peer
}
