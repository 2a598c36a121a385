//! A client that says all at once and leaves, and a broker that accepts it and remembers what it gets.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use mproxy_codec::{ReasonCode, Version, encode_connack};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of the session.
pub(crate) struct End {
    /// What it says, and then it closes; the broker waits until the other side has.
    says: Vec<u8>,
    at: usize,
    waits: bool,
    left: bool,
    waker: Option<Waker>,
    heard: Arc<Mutex<Vec<u8>>>,
}

/// The client, the broker, and what the broker gets.
pub(crate) fn ends(sent: Vec<u8>, version: Version) -> (End, End, Arc<Mutex<Vec<u8>>>) {
    let connack = encode_connack(version, false, ReasonCode::SUCCESS, &[]).expect("a CONNACK");
    let heard = Arc::default();
    let end = |says, waits, heard| End {
        says,
        at: 0,
        waits,
        left: false,
        waker: None,
        heard,
    };
    let client = end(sent, false, Arc::default());
    (
        client,
        end(connack.to_vec(), true, Arc::clone(&heard)),
        heard,
    )
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.says[self.at..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.at += len;
        if len == 0 && self.waits && !self.left {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.left = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}
