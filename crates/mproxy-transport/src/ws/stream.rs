//! The byte stream inside a WebSocket.
//!
//! Messages have no meaning here [MQTT-6.0.0-2]: their payloads are read as one stream, and each
//! write becomes a binary frame. Control frames are answered from within `poll_read`, which is
//! polled all the time in a proxy; what they leave unsent goes out with the next poll of any
//! kind.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{WsViolation, config::MAX_WRITE_FRAME};
use crate::stream::Stream;

/// A WebSocket as a byte stream: binary messages in, binary frames out.
///
/// - A Close frame, or the end of the socket without one, reads as end of stream.
/// - A violation ends the stream with a [`WsViolation`], after a Close frame with its code:
///   1002 for the protocol, 1003 for text, 1007 for invalid UTF-8, 1009 for size. What the peer
///   still sends is then read and thrown away, up to 64 KiB, so that the Close frame survives.
/// - A write takes at most 16 KiB, makes one frame of it, and waits until the frame before is
///   with the kernel.
/// - Pings are answered with the latest pong only, whatever their number.
/// - `poll_shutdown` sends a Close frame with code 1000. The socket itself is shut down only once
///   the peer has closed too, or has violated the protocol.
#[derive(Debug)]
pub struct WsStream {
    inner: WebSocketStream<Stream>,
    /// The rest of a message that did not fit the reader's buffer.
    rest: Bytes,
    read: ReadState,
    /// Frames may be waiting in tungstenite's buffer.
    unflushed: bool,
    close_sent: bool,
}

#[derive(Debug)]
enum ReadState {
    Open,
    /// The error is reported once everything before it was read.
    Failed(io::Error),
    /// After a violation: raw bytes are thrown away, this many at most.
    Discard(usize),
    Ended,
}

impl WsStream {
    pub(super) fn new(inner: WebSocketStream<Stream>) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
            read: ReadState::Open,
            unflushed: false,
            close_sent: false,
        }
    }

    /// Reads messages into `buf` until it is full or none is at hand.
    ///
    /// ## Open => (Open | Failed | Ended)
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<()> {
        let before = buf.filled().len();
        let mut idle_messages = 0;
        while buf.remaining() > 0 {
            let message = match Pin::new(&mut self.inner).poll_next(cx) {
                Poll::Ready(message) => message,
                Poll::Pending if buf.filled().len() > before => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            };
            match message {
                Some(Ok(Message::Binary(payload))) if !payload.is_empty() => {
                    self.rest = payload;
                    self.copy_rest(buf);
                    continue;
                }
                // tungstenite queued the pong, and sends it when it is polled again.
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    // [MQTT-6.0.0-1]
                    self.fail(cx, CloseCode::Unsupported, "text instead of binary data");
                    return Poll::Ready(());
                }
                Some(Ok(Message::Close(_))) => {
                    // The answer is queued, and nothing of ours may follow it.
                    self.close_sent = true;
                    self.unflushed = true;
                    self.read = ReadState::Ended;
                    let _ = self.poll_flush_frames(cx);
                    return Poll::Ready(());
                }
                Some(Ok(Message::Frame(_))) | None => {
                    self.read = ReadState::Ended;
                    return Poll::Ready(());
                }
                Some(Err(error)) => {
                    self.read_failed(cx, error);
                    return Poll::Ready(());
                }
            }
            // Messages without data fill no buffer: without this bound a flood of them would
            // keep the task from everything else it has to do.
            idle_messages += 1;
            if idle_messages == MAX_IDLE_MESSAGES {
                if buf.filled().len() > before {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn read_failed(&mut self, cx: &mut Context<'_>, error: Error) {
        match error {
            Error::Io(error) => self.read = ReadState::Failed(error),
            // A socket that ends without a Close frame; MQTT knows what an end means.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed => self.read = ReadState::Ended,
            Error::Capacity(error) => self.fail(cx, CloseCode::Size, error.to_string()),
            Error::Utf8(error) => self.fail(cx, CloseCode::Invalid, error),
            error => self.fail(cx, CloseCode::Protocol, error.to_string()),
        }
    }

    /// Sends the Close frame of a violation, as far as the socket takes it.
    fn fail(
        &mut self,
        cx: &mut Context<'_>,
        code: CloseCode,
        detail: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        let violation = WsViolation::new(code.into(), detail);
        self.send_close(code);
        let _ = self.poll_flush_frames(cx);
        self.read = ReadState::Failed(violation.into());
    }

    fn send_close(&mut self, code: CloseCode) {
        if !std::mem::replace(&mut self.close_sent, true) {
            let frame = CloseFrame {
                code,
                reason: Default::default(),
            };
            // Fails only when the socket is closed, or so full that the peer does not read.
            let _ = Pin::new(&mut self.inner).start_send(Message::Close(Some(frame)));
            self.unflushed = true;
        }
    }

    fn copy_rest(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        if self.rest.is_empty() {
            // An empty slice still holds its memory.
            self.rest = Bytes::new();
        }
    }

    /// ## Discard => (Discard | Ended)
    fn poll_discard(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<io::Result<()>> {
        let mut scratch = [0; 1024];
        loop {
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(Pin::new(self.inner.get_mut()).poll_read(cx, &mut scratch))?;
            left = left.saturating_sub(scratch.filled().len());
            if scratch.filled().is_empty() || left == 0 {
                self.read = ReadState::Ended;
                return Poll::Ready(Ok(()));
            }
            self.read = ReadState::Discard(left);
        }
    }

    fn poll_flush_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        self.unflushed = false;
        Poll::Ready(result.map_err(write_error))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frame: Bytes) -> Poll<io::Result<usize>> {
        let len = frame.len();
        Pin::new(&mut self.inner)
            .start_send(Message::Binary(frame))
            .map_err(write_error)?;
        self.unflushed = true;
        // Usually done at once; if not, whatever is polled next goes on with it.
        match self.poll_flush_frames(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(len)),
        }
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.close_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.poll_flush_frames(cx)
    }
}

impl AsyncRead for WsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(Err(error)) = this.poll_flush_frames(cx) {
            return Poll::Ready(Err(error));
        }
        if !this.rest.is_empty() {
            this.copy_rest(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if matches!(this.read, ReadState::Open) {
            ready!(this.poll_fill(cx, buf));
        }
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match std::mem::replace(&mut this.read, ReadState::Ended) {
            ReadState::Failed(error) => {
                if WsViolation::find(&error).is_some() {
                    this.read = ReadState::Discard(MAX_DISCARD);
                }
                Poll::Ready(Err(error))
            }
            ReadState::Discard(left) => {
                this.read = ReadState::Discard(left);
                this.poll_discard(cx, left)
            }
            ReadState::Open | ReadState::Ended => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for WsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_writable(cx))?;
        let len = buf.len().min(MAX_WRITE_FRAME);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        this.poll_send(cx, Bytes::copy_from_slice(&buf[..len]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_writable(cx))?;
        let total = bufs
            .iter()
            .fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        let mut frame = BytesMut::with_capacity(total.min(MAX_WRITE_FRAME));
        for buf in bufs {
            let room = MAX_WRITE_FRAME - frame.len();
            frame.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        if frame.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.poll_send(cx, frame.freeze())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush_frames(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.send_close(CloseCode::Normal);
        ready!(this.poll_flush_frames(cx))?;
        match this.read {
            // The peer is to answer first: whoever closes the socket before that makes the other
            // side report an abnormal end.
            ReadState::Open => Poll::Ready(Ok(())),
            ReadState::Failed(_) | ReadState::Discard(_) | ReadState::Ended => {
                Pin::new(this.inner.get_mut()).poll_shutdown(cx)
            }
        }
    }
}

fn write_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        // After a Close frame in either direction, or the end of the socket.
        error => io::Error::new(io::ErrorKind::BrokenPipe, error),
    }
}

/// A read buffer (4 KiB) holds up to 680 empty frames; this many a poll is plenty for honest
/// peers.
const MAX_IDLE_MESSAGES: u32 = 32;

/// Enough for what is in flight from an honest peer when its mistake is noticed.
const MAX_DISCARD: usize = 64 * 1024;
