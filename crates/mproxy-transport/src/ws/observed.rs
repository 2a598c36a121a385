//! The first bytes of a client, for reports about clients that did not send HTTP or did not finish.
//!
//! The head of the request is collected here, in as much memory as it has bytes. The HTTP library
//! would take 16 KiB for the first byte, and a client may never complete its head.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{beginning::Beginning, stream::Stream};

/// A client's stream during its upgrade.
#[derive(Debug)]
pub(super) struct Observed {
    stream: Stream,
    beginning: Beginning,
    /// The collected bytes, and how many of them the HTTP library has read.
    head: Vec<u8>,
    replayed: usize,
}

impl Observed {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            beginning: Beginning::default(),
            head: Vec::new(),
            replayed: 0,
        }
    }

    /// Reads until the HTTP library can decide: to the end of the head, up to `max` bytes, until it is
    /// clear that this is not HTTP, or to the end of the stream.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<()> {
        loop {
            let mut room = [0; ROOM];
            let mut buf = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) => return Poll::Ready(()),
                Err(error) => {
                    self.beginning.fail(&error);
                    return Poll::Ready(());
                }
            }
            let bytes = buf.filled();
            self.beginning.add(bytes);
            let before = self.head.len();
            if self.head.capacity() - before < bytes.len() {
                // Not doubled: the memory is that of the bytes, whatever pieces they come in.
                self.head.reserve_exact(bytes.len().next_multiple_of(STEP));
            }
            self.head.extend_from_slice(bytes);
            if self.head.len() >= max || is_judged(&self.head, before) {
                return Poll::Ready(());
            }
        }
    }

    /// The memory of what was gathered, in bytes.
    pub(super) fn gathered(&self) -> usize {
        self.head.capacity()
    }

    pub(super) fn into_parts(self) -> (Stream, Beginning) {
        (self.stream, self.beginning)
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replayed < self.head.len() {
            let len = buf.remaining().min(self.head.len() - self.replayed);
            let end = self.replayed + len;
            buf.put_slice(&self.head[self.replayed..end]);
            self.replayed = end;
            if end == self.head.len() {
                self.head = Vec::new();
                self.replayed = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => {
                let bytes = buf.filled().get(before..).unwrap_or_default();
                self.beginning.add(bytes);
            }
            Poll::Ready(Err(error)) => self.beginning.fail(error),
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

/// Whether a head is complete, or is not HTTP; only bytes after `before` are new.
fn is_judged(head: &[u8], before: usize) -> bool {
    // Blank lines may come first, RFC 9112 section 2.2.
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let skip = head.iter().take_while(|byte| blank(byte)).count();
    let (head, before) = (&head[skip..], before.saturating_sub(skip));
    let new = &head[before.saturating_sub(3)..];
    if new.windows(2).any(|window| window == b"\n\n")
        || new.windows(3).any(|window| window == b"\n\r\n")
    {
        return true;
    }
    if head[..before].contains(&b'\n') {
        return false;
    }
    // The first line is text, and names HTTP. Bytes of other protocols come to no end of a head.
    match head.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = &head[..end];
            !line.windows(6).any(|window| window == b" HTTP/")
        }
        None => head[before..]
            .iter()
            .any(|&byte| byte != b'\r' && !(b' '..=b'~').contains(&byte)),
    }
}

/// On the stack, for one read.
const ROOM: usize = 2 * 1024;

/// The head grows by multiples of this.
const STEP: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a stream is judged, when it comes byte by byte.
    fn judged(stream: &[u8]) -> Option<usize> {
        (1..=stream.len()).find(|&len| is_judged(&stream[..len], len - 1))
    }

    #[test]
    fn a_head_is_judged_at_its_end_and_other_protocols_at_once() {
        let request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(judged(request), Some(request.len()));
        assert_eq!(judged(b"GET / HTTP/1.1\nHost: x\n\nrest"), Some(24));
        assert!(is_judged(request, 0));
        // MQTT, TLS, the two forms of the PROXY protocol, SSH
        assert_eq!(judged(b"\x10\x0c\0\x04MQTT"), Some(1));
        assert_eq!(judged(b"\x16\x03\x01"), Some(1));
        assert_eq!(judged(b"\r\n\r\n\0\r\nQUIT\n"), Some(5));
        assert_eq!(
            judged(&[b"\r\n", &request[..]].concat()),
            Some(2 + request.len())
        );
        assert_eq!(judged(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), Some(32));
        assert_eq!(judged(b"SSH-2.0-OpenSSH\r\n"), Some(17));
        assert_eq!(judged(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n"), None);
    }
}
