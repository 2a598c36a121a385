//! The byte stream inside a WebSocket.
//!
//! Messages have no meaning here [MQTT-6.0.0-2]: their payloads are read as one stream, and each
//! write becomes a binary frame. Bytes are unmasked where the reader's buffer is, and written from
//! where the writer's is, so that an idle connection owns no buffer. Control frames are answered
//! from within `poll_read`, which is polled all the time in a proxy; what they leave unsent goes
//! out with the next poll of any kind.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use mproxy_patience::yield_turn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{
    Role,
    frame::coding::{CloseCode, Data, OpCode},
};

use super::{
    WsOptions, WsViolation, WsWriteTimeout,
    deframe::{Deframer, End, MAX_HEADER},
    idle::IdleFrames,
    mask::{advance_key, apply_mask},
    options::Rules,
    outbox::{Outbox, header, mask_key},
};
use crate::stream::Stream;

/// A WebSocket as a byte stream: binary messages in, binary frames out.
///
/// - A Close frame, or the end of the socket without one, reads as end of stream.
/// - A violation ends the stream with a [`WsViolation`], after a Close frame with its code:
///   1002 for the protocol, 1003 for text, 1007 for invalid UTF-8, 1008 for frames without payload
///   that do not end, 1009 for size. What the peer still sends is then read and thrown away, up to 64 KiB, so that the Close frame survives.
/// - A read takes frames from the socket right into the buffer: a large one makes few system calls.
/// - A write takes at most 64 KiB and makes one frame of it. What the kernel does not take of the
///   frame is kept, and must be gone before the next write is taken.
/// - Pings are answered with the latest pong only, whatever their number.
/// - If a peer accepts none of the waiting bytes in time, reading and writing end with a
///   [`WsWriteTimeout`].
/// - `poll_shutdown` sends a Close frame with code 1000. The socket itself is shut down only once
///   the peer has closed too, or has violated the protocol.
#[derive(Debug)]
pub struct WsStream<S = Stream> {
    io: S,
    role: Role,
    idle: IdleFrames,
    /// Bytes that were read from the socket before it was a WebSocket.
    early: Bytes,
    deframer: Deframer,
    outbox: Outbox,
    read: ReadState,
}

#[derive(Debug)]
enum ReadState {
    Open,
    /// The error is reported once everything before it was read.
    Failed(WsViolation),
    /// After a violation: raw bytes are thrown away, this many at most.
    Discard(usize),
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// The server's side of a WebSocket after a handshake by other code, with the bytes that came after it.
    /// Only the options for an open WebSocket have an effect: `max_message_size`,
    /// `max_idle_frames` and `write_timeout`.
    pub fn server(io: S, early: Bytes, options: &WsOptions) -> Self {
        Self::new(io, early, Role::Server, options.rules)
    }

    pub(super) fn new(io: S, early: Bytes, role: Role, rules: Rules) -> Self {
        Self {
            io,
            role,
            idle: IdleFrames::new(rules.max_idle_frames, rules.idle_period),
            // Empty or not, it holds the buffer of the handshake.
            early: if early.is_empty() {
                Bytes::new()
            } else {
                early
            },
            deframer: Deframer::new(role, rules.max_message_size),
            outbox: Outbox::new(role, rules.write_timeout),
            read: ReadState::Open,
        }
    }

    pub(crate) const fn io(&self) -> &S {
        &self.io
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_drain(cx, &mut self.io)
    }

    /// Sends what waits as far as the socket takes it; the rest goes with the next poll.
    ///
    /// Only a peer that accepts nothing for too long is an error here, because perhaps nobody ever writes and
    /// gets the error. A peer that is gone may have sent something before, so that error is the
    /// writer's.
    fn drain_while_reading(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) if WsWriteTimeout::find(&error).is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads frames into `buf` until there is payload in it, or an end.
    ///
    /// ## Open => (Open | Failed | Ended)
    fn poll_payload(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut left = MAX_RAW_BYTES;
        for _ in 0..MAX_READS {
            let room = buf.remaining().min(left);
            let len = ready!(self.poll_raw(cx, buf.initialize_unfilled_to(room)))?;
            if len == 0 {
                // Without a Close frame; MQTT knows what an end means.
                self.read = ReadState::Ended;
                return Poll::Ready(Ok(()));
            }
            left -= len;
            let raw = buf.initialize_unfilled_to(len);
            let (payload, end) = self.deframer.deframe(raw);
            buf.advance(payload);
            if let Some(ping) = self.deframer.take_ping() {
                self.outbox.queue_pong(ping);
            }
            let end = end.or_else(|| {
                let violation = self.idle.judge(&mut self.deframer)?;
                Some(End::Violation(violation))
            });
            match end {
                None => {}
                Some(End::Close(code)) => {
                    self.outbox.queue_close(code);
                    self.read = ReadState::Ended;
                }
                Some(End::Violation(violation)) => {
                    self.outbox.queue_close(Some(violation.code().into()));
                    self.read = ReadState::Failed(violation);
                }
            }
            let taken = self.drain_while_reading(cx);
            if payload > 0 || !matches!(self.read, ReadState::Open) {
                return Poll::Ready(Ok(()));
            }
            taken?;
            if left == 0 {
                break;
            }
        }
        yield_turn(cx)
    }

    /// Reads from the socket, or what was read from it before.
    fn poll_raw(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.early.is_empty() {
            let mut raw = ReadBuf::new(bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut raw))?;
            return Poll::Ready(Ok(raw.filled().len()));
        }
        let len = self.early.len().min(bytes.len());
        self.early.copy_to_slice(&mut bytes[..len]);
        if self.early.is_empty() {
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(len))
    }

    /// ## Discard => (Discard | Ended)
    fn poll_discard(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<io::Result<()>> {
        let mut scratch = [0; 1024];
        loop {
            let len = ready!(self.poll_raw(cx, &mut scratch))?;
            left = left.saturating_sub(len);
            if len == 0 || left == 0 {
                self.read = ReadState::Ended;
                return Poll::Ready(Ok(()));
            }
            self.read = ReadState::Discard(left);
        }
    }

    /// Sends one frame with the beginning of `bufs`, from where it is.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES + 1];
        let mut count = 1;
        let mut len = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()).take(MAX_SLICES) {
            let take = buf.len().min(MAX_WRITE_FRAME - len);
            slices[count] = IoSlice::new(&buf[..take]);
            count += 1;
            len += take;
        }
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let key = mask_key(self.role);
        let (head, head_len) = header(OpCode::Data(Data::Binary), key, len);
        slices[0] = IoSlice::new(&head[..head_len]);
        let slices = &slices[..count];
        let sent = match key {
            None => ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?,
            Some(key) => return self.poll_masked(cx, &slices[0], &slices[1..], len, key),
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.outbox.keep(slices, sent);
        Poll::Ready(Ok(len))
    }

    /// The client's side must not send from where the bytes are, because they are not ours to
    /// mask. Small frames, which are most, are masked on the stack.
    fn poll_masked(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        payload: &[IoSlice<'_>],
        len: usize,
        mut key: [u8; 4],
    ) -> Poll<io::Result<usize>> {
        let mut small = [0; SMALL_FRAME];
        let mut large;
        let frame = match head.len() + len {
            total @ ..=SMALL_FRAME => &mut small[..total],
            total => {
                large = vec![0; total];
                &mut large[..]
            }
        };
        let (head_copy, mut free) = frame.split_at_mut(head.len());
        head_copy.copy_from_slice(head);
        for slice in payload {
            let (copy, rest) = free.split_at_mut(slice.len());
            copy.copy_from_slice(slice);
            apply_mask(copy, key);
            key = advance_key(key, slice.len());
            free = rest;
        }
        let sent = ready!(Pin::new(&mut self.io).poll_write(cx, frame))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.outbox.keep(&[IoSlice::new(frame)], sent);
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    #[inline(never)] // or reads of plain TCP pay for its frame
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.drain_while_reading(cx)?;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if matches!(this.read, ReadState::Open) {
            let before = buf.filled().len();
            ready!(this.poll_payload(cx, buf))?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        match std::mem::replace(&mut this.read, ReadState::Ended) {
            ReadState::Failed(violation) => {
                this.read = ReadState::Discard(MAX_DISCARD);
                Poll::Ready(Err(violation.into()))
            }
            ReadState::Discard(left) => {
                this.read = ReadState::Discard(left);
                this.poll_discard(cx, left)
            }
            ReadState::Open | ReadState::Ended => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let is_closing = this.outbox.is_closing();
        let drained = this.poll_drain(cx);
        if is_closing && !matches!(drained, Poll::Ready(Err(_))) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(drained)?;
        this.poll_frame(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.outbox.queue_close(Some(CloseCode::Normal));
        ready!(this.poll_drain(cx))?;
        match this.read {
            // The peer is to answer first: a side that closes the socket before that makes the other
            // side report an abnormal end.
            ReadState::Open => Poll::Ready(Ok(())),
            ReadState::Failed(_) | ReadState::Discard(_) | ReadState::Ended => {
                Pin::new(&mut this.io).poll_shutdown(cx)
            }
        }
    }
}

/// The payload of one outgoing frame: what a connection has to keep if the socket takes none of
/// it but its first byte.
const MAX_WRITE_FRAME: usize = 64 * 1024;

/// Slices of one vectored write; the rest waits for the next.
const MAX_SLICES: usize = 15;

/// On the stack of the client's side while a frame is masked.
const SMALL_FRAME: usize = 2048 + MAX_HEADER;

/// What one poll reads from the socket while no payload comes. The worst that fits in are the
/// 10,922 smallest frames of a client, which take about 0.2 ms.
const MAX_RAW_BYTES: usize = 64 * 1024;

/// System calls of such a poll, when each brings little.
const MAX_READS: u32 = 8;

/// Enough for what is in flight from an honest peer when its mistake is noticed.
const MAX_DISCARD: usize = 64 * 1024;
