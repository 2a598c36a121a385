//! The error about a peer that does not read.

use std::{io, time::Duration};

/// The peer accepted none of the WebSocket's own bytes in time: a pong, a Close frame, or the
/// rest of a frame. Found inside an [`io::Error`] of kind [`TimedOut`](io::ErrorKind::TimedOut),
/// which the kernel's own timeout never contains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer took none of the bytes that wait for it in {0:?}")]
pub struct WsWriteTimeout(Duration);

impl WsWriteTimeout {
    pub(super) fn new(timeout: Duration) -> Self {
        Self(timeout)
    }

    /// The time that the peer had.
    pub fn timeout(&self) -> Duration {
        self.0
    }

    /// The timeout inside an error of a [`Stream`](crate::Stream), if it is one.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<WsWriteTimeout> for io::Error {
    fn from(timeout: WsWriteTimeout) -> Self {
        Self::new(io::ErrorKind::TimedOut, timeout)
    }
}
