//! Protocol violations of a peer after the upgrade.

use std::{borrow::Cow, io};

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A violation of the WebSocket protocol by the peer, found inside an [`io::Error`] of kind
/// [`InvalidData`](io::ErrorKind::InvalidData), or [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) for
/// too many frames without payload. The peer was sent a Close frame with the code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("websocket violation, closed with code {code}: {detail}")]
pub struct WsViolation {
    code: u16,
    detail: Cow<'static, str>,
}

impl WsViolation {
    pub(super) fn new(code: u16, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    /// The close code that was sent, RFC 6455 section 7.4.1.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The violation inside an error of a [`Stream`](crate::Stream), if it is one.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<WsViolation> for io::Error {
    fn from(violation: WsViolation) -> Self {
        // each frame is allowed, but there are too many
        let kind = match violation.code == u16::from(CloseCode::Policy) {
            true => io::ErrorKind::QuotaExceeded,
            false => io::ErrorKind::InvalidData,
        };
        Self::new(kind, violation)
    }
}
