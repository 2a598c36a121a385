//! Connections that end without a byte: they ask for nothing, so nothing is refused.

use mproxy_admin::{Reason, Side};
use mproxy_session::Peer;

use super::open::Unopened;
use crate::app::service::Service;

/// How a connection without a byte ended, from the error of its handshake: with the reasons of a session
/// without a byte. `None` for every other failure.
macro_rules! ended {
    ($error:expr, $cause:ident) => {{
        use mproxy_admin::{Reason, Side};
        match $error.cause() {
            _ if $error.received() > 0 => None,
            $cause::Closed => Some((Side::Client, Reason::Eof)),
            $cause::Io(_) => Some((Side::Client, Reason::Reset)),
            $cause::TimedOut => Some((Side::Proxy, Reason::ConnectTimeout)),
            _ => None,
        }
    }};
}

pub(super) use ended;

impl Service {
    /// One line about a connection that ended without a byte, if it did.
    pub(super) fn unused(&self, peer: &Peer, ended: Option<(Side, Reason)>) -> Option<Unopened> {
        let (side, reason) = ended?;
        tracing::debug!(
            target: "mproxy::listener",
            event = "disconnect",
            listener = &*self.name,
            peer = %peer,
            side = side.as_str(),
            reason = reason.as_str(),
            "connection closed: the client sent nothing"
        );
        Some(Unopened::Unused(side, reason))
    }
}
