//! What a client sent first: known also when it was not HTTP, or when nothing came of it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// A client's stream while its upgrade is under way.
#[derive(Debug)]
pub(super) struct Observed {
    stream: Stream,
    beginning: Beginning,
}

/// The first bytes of a client, how many there were in all, and how reading failed, if it did.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    first: [u8; FIRST],
    received: u64,
    failed: Option<io::ErrorKind>,
}

impl Observed {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            beginning: Beginning::default(),
        }
    }

    pub(super) fn into_parts(self) -> (Stream, Beginning) {
        (self.stream, self.beginning)
    }
}

impl Beginning {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn first(&self) -> &[u8] {
        &self.first[..self.kept()]
    }

    /// The error of the socket, if reading from it failed. The HTTP library hides it.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failed.map(io::Error::from)
    }

    fn kept(&self) -> usize {
        usize::try_from(self.received).map_or(FIRST, |received| received.min(FIRST))
    }

    fn add(&mut self, bytes: &[u8]) {
        let kept = self.kept();
        for (to, from) in self.first[kept..].iter_mut().zip(bytes) {
            *to = *from;
        }
        self.received += bytes.len() as u64;
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => {
                let bytes = buf.filled().get(before..).unwrap_or_default();
                self.beginning.add(bytes);
            }
            Poll::Ready(Err(error)) => self.beginning.failed = Some(error.kind()),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Enough for every protocol that could be meant: the longest, PROXY v2, begins with 12 bytes.
const FIRST: usize = 32;
