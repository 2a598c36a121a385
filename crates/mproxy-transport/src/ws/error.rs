//! Why an upgrade failed, and what is known about the client that asked for it.

use std::{error::Error, fmt, io};

use crate::{beginning::Beginning, sources::Sources};

/// A client's upgrade that failed.
///
/// Its message has the cause with all sources. What the client asked for is beside it, cut to a
/// bounded length and not escaped: it is the client's text.
pub struct WsError(Box<Failure>);

#[derive(Debug)]
struct Failure {
    cause: WsCause,
    beginning: Beginning,
    asked: Option<Asked>,
}

/// Why an upgrade failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WsCause {
    /// The request was understood, and refused.
    #[error("refused with status {status}: {0}", status = .0.status())]
    Refused(WsRefusal),
    /// The upgrade took longer than
    /// [`handshake_timeout`](super::WsOptions::handshake_timeout).
    #[error("the upgrade request did not arrive in time")]
    TimedOut,
    /// More than [`max_header_size`](super::WsOptions::max_header_size), or more than 200 headers;
    /// the client was told with status 431.
    #[error("the head of the upgrade request is too large: {}", Sources(.0))]
    TooLarge(#[source] hyper::Error),
    /// Not HTTP/1.1, or cut off.
    #[error("the upgrade request is not HTTP/1.1, or ends too soon: {}", Sources(.0))]
    Http(#[source] hyper::Error),
    /// The connection failed under the request.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// The client closed the connection before it sent a request.
    #[error("closed before the upgrade request")]
    Closed,
    /// The stream given to the upgrade is a WebSocket already.
    #[error("the stream is a websocket already")]
    AlreadyUpgraded,
}

/// What an upgrade request was refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WsRefusal {
    /// Status 404: the path is none of [`paths`](super::WsOptions::paths).
    #[error("the path is not served here")]
    Path,
    /// Status 405: the method is not GET.
    #[error("the method is not GET")]
    Method,
    /// Status 426: the request is HTTP 1.0, which cannot be upgraded.
    #[error("the request is HTTP 1.0, which cannot be upgraded")]
    HttpVersion,
    /// Status 426: the request does not ask for an upgrade to WebSocket.
    #[error("not a websocket upgrade")]
    NotAnUpgrade,
    /// Status 426: the WebSocket version is not 13.
    #[error("the websocket version is not 13")]
    Version,
    /// Status 400: `Sec-WebSocket-Key` is missing, empty, or there twice.
    #[error("sec-websocket-key is missing, empty, or there twice")]
    Key,
    /// Status 400: the request announces a body.
    #[error("an upgrade request has no body")]
    Body,
    /// Status 403: the origin is none of [`origins`](super::WsOptions::origins).
    #[error("the origin is not in the allow list")]
    Origin,
    /// Status 400: neither `mqtt` nor `mqttv3.1` is among the offered subprotocols.
    #[error("neither mqtt nor mqttv3.1 is offered as subprotocol")]
    Subprotocol,
}

/// The parts of a refused request that an operator needs to find its client.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) path: Box<str>,
    pub(super) offered: Option<Box<str>>,
    pub(super) origin: Option<Box<str>>,
    pub(super) is_upgrade: bool,
}

// ===== impl WsError =====

impl WsError {
    pub(super) fn new(cause: WsCause, beginning: Beginning, asked: Option<Asked>) -> Self {
        Self(Box::new(Failure {
            cause,
            beginning,
            asked,
        }))
    }

    /// Why it failed.
    pub fn cause(&self) -> &WsCause {
        &self.0.cause
    }

    /// How many bytes the client sent. With 0 it asked for nothing: it was a port scan, the TCP
    /// check of a load balancer, or a browser's spare connection.
    pub fn received(&self) -> u64 {
        self.0.beginning.received()
    }

    /// The first bytes that the client sent, at most 32: enough to recognise another protocol.
    pub fn first_bytes(&self) -> &[u8] {
        self.0.beginning.first()
    }

    /// The path of a refused request, without its query.
    pub fn path(&self) -> Option<&str> {
        self.0.asked.as_ref().map(|asked| &*asked.path)
    }

    /// The subprotocols that a refused request offered, joined with commas.
    pub fn offered(&self) -> Option<&str> {
        self.0.asked.as_ref()?.offered.as_deref()
    }

    /// The `Origin` headers of a refused request, joined with commas.
    pub fn origin(&self) -> Option<&str> {
        self.0.asked.as_ref()?.origin.as_deref()
    }

    /// Whether a refused request asked for a WebSocket at all, whatever it was refused for.
    pub fn is_upgrade(&self) -> bool {
        self.0.asked.as_ref().is_some_and(|asked| asked.is_upgrade)
    }
}

impl fmt::Debug for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)
    }
}

/// The source is what is below [`cause`](WsError::cause), whose message this one has. Messages include those of
/// their sources.
impl Error for WsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.source()
    }
}

// ===== impl WsRefusal =====

impl WsRefusal {
    /// The HTTP status that the client was told.
    pub fn status(self) -> u16 {
        match self {
            Self::Path => 404,
            Self::Method => 405,
            Self::HttpVersion | Self::NotAnUpgrade | Self::Version => 426,
            Self::Key | Self::Body | Self::Subprotocol => 400,
            Self::Origin => 403,
        }
    }
}
