//! From an accepted socket to a stream of MQTT.

use std::future::poll_fn;
use std::sync::Arc;

use mproxy_admin::{Reason, RefuseReason, Side};
use mproxy_session::{Peer, SessionHandle, UpgradeRequest};
use mproxy_transport::{Accepted, Stream, WsError, WsRequest, accept_websocket_counted};

use super::handshake;
use super::recorder::reason;
use crate::app::service::Service;

impl Service {
    /// Registers the socket and, on a WebSocket listener, does the handshake, unless it is told to
    /// end before.
    pub(super) async fn open(
        &self,
        accepted: Accepted,
        handle: &SessionHandle,
    ) -> Result<(Stream, Peer), Unopened> {
        let mut peer = Peer::new(Arc::clone(&self.name));
        peer.address = accepted.peer().socket_addr();
        let stream = accepted.into_stream().map_err(|error| {
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
        let Some(options) = &self.websocket else {
            return Ok((stream, peer));
        };
        let ordered = tokio::select! {
            biased;
            order = poll_fn(|cx| handle.poll_order(cx)) => order,
            accepted = accept_websocket_counted(stream, options, |bytes| handle.holds(bytes)) => {
                return match accepted {
                    Ok((stream, request)) => Ok((stream, peer.with_upgrade(upgrade(&request)))),
                    Err(error) => Err(self.not_upgraded(&peer, &error)),
                };
            }
        };
        tracing::debug!(
            target: "mproxy::listener",
            event = "disconnect",
            listener = &*self.name,
            peer = %peer,
            side = Side::Proxy.as_str(),
            reason = ordered.reason.as_str(),
            "connection closed before its WebSocket handshake was complete"
        );
        Err(Unopened::Unused(Side::Proxy, reason(ordered.reason)))
    }

    /// One line about a handshake that failed.
    fn not_upgraded(&self, peer: &Peer, error: &WsError) -> Unopened {
        if let Some((side, reason)) = handshake::unused(error) {
            tracing::debug!(
                target: "mproxy::listener",
                event = "disconnect",
                listener = &*self.name,
                peer = %peer,
                side = side.as_str(),
                reason = reason.as_str(),
                "connection closed: the client sent nothing"
            );
            return Unopened::Unused(side, reason);
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

/// Why an accepted connection has no session.
pub(super) enum Unopened {
    /// It was refused.
    Refused(RefuseReason),
    /// The client left or timed out without a byte; or it was told to end.
    Unused(Side, Reason),
}

fn upgrade(request: &WsRequest) -> UpgradeRequest {
    let mut uri = request.path().to_owned();
    if let Some(query) = request.query() {
        uri.push('?');
        uri.push_str(query);
    }
    let mut upgrade = UpgradeRequest::new(uri);
    let headers = [
        ("host", request.host()),
        ("origin", request.origin()),
        ("user-agent", request.user_agent()),
        ("x-forwarded-for", request.forwarded_for()),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            upgrade.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    upgrade
}
