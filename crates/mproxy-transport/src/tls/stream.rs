//! TLS records over a socket.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mproxy_patience::yield_turn;
use rustls::unbuffered::{ConnectionState, EncryptError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    TlsCause, TlsViolation,
    machine::{Progress, TlsMachine, drive},
    rest::Rest,
    scratch::{TooSmall, WRITE_LEN, align_behind, with_input, with_output},
};
use crate::stream::Stream;

/// What the keys and the state of an established TLS connection take, in bytes: 3.6 to 3.9 KiB were measured.
pub const TLS_CONNECTION_BYTES: usize = 4096;

/// The plaintext of a TLS connection, after its handshake. Reads and writes go through buffers of the
/// thread; an idle connection owns none.
///
/// An end of the connection without close_notify reads as an end of stream, as with HAProxy and nginx:
/// many devices just close the socket, and MQTT itself tells a whole packet from a cut one.
pub struct TlsStream<M> {
    io: Stream,
    machine: M,
    /// The beginning of a record, or of a message in records, whose end has not come. The state machine has looked at
    /// it, and panics if it is not there again, in the same place, when the machine runs: to send something, too.
    held: Box<[u8]>,
    /// Encrypted bytes that the socket did not take.
    unsent: Rest,
    /// Plaintext for which the caller had no room.
    unread: Rest,
    /// Nothing more is read: the peer has said so, has gone away or has made a mistake.
    is_over: bool,
    /// The state machine has failed, and is not run any more: it could look for bytes that are not there.
    has_failed: bool,
    has_sent_close: bool,
    /// What ended it, while plaintext from before that is read.
    failure: Option<io::Error>,
    /// Is told how much is held.
    on_held: Option<Box<dyn Fn(usize) + Send + Sync>>,
}

impl<M: TlsMachine> TlsStream<M> {
    pub(super) fn new(io: Stream, machine: M) -> Self {
        Self {
            io,
            machine,
            held: Box::default(),
            unsent: Rest::default(),
            unread: Rest::default(),
            is_over: false,
            has_failed: false,
            has_sent_close: false,
            failure: None,
            on_held: None,
        }
    }

    pub(super) fn machine(&self) -> &M {
        &self.machine
    }

    pub(crate) fn io(&self) -> &Stream {
        &self.io
    }

    pub(super) fn into_io(self) -> Stream {
        self.io
    }

    /// Has this told how many bytes are held for the peer, whenever the number changes. What was
    /// written and is not sent yet is not in it: who writes knows that.
    pub(super) fn on_held(&mut self, told: Box<dyn Fn(usize) + Send + Sync>) {
        self.on_held = Some(told);
        self.tell();
    }

    /// Bytes that are held for the peer: the beginning of a record, and plaintext that nobody has read.
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.unread.capacity()
    }

    fn tell(&self) {
        if let Some(told) = &self.on_held {
            told(self.held());
        }
    }

    /// Runs the state machine over what was held and `input` behind it. Plaintext goes to `buf`, if there
    /// is one, and what has no room in it is kept.
    pub(super) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        mut buf: Option<&mut ReadBuf<'_>>,
    ) -> io::Result<Progress> {
        let Self {
            io,
            machine,
            unsent,
            unread,
            ..
        } = self;
        let (used, progress, sent) = with_output(|out| {
            let (used, progress) = drive(machine, input, out, |record| {
                let taken = match &mut buf {
                    Some(buf) if unread.is_empty() => {
                        let len = buf.remaining().min(record.len());
                        buf.put_slice(&record[..len]);
                        len
                    }
                    _ => 0,
                };
                unread.push(&record[taken..]);
            });
            (used, progress, unsent.send(cx, io, out.filled()))
        });
        if used < input.len() || !self.held.is_empty() {
            self.held = input[used..].into();
        }
        self.has_failed |= progress.is_err();
        if matches!(progress, Err(_) | Ok(Progress::PeerClosed)) {
            self.is_over = true;
        }
        // what the peer did says more than that it no longer listens
        let progress = progress.map_err(TlsViolation)?;
        sent?;
        Ok(progress)
    }

    /// Reads once from the socket, at most `len` bytes, and runs the state machine over it. `None` is the
    /// end of the socket.
    pub(super) fn poll_advance(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<Option<Progress>>> {
        with_input(|input| {
            let start = self.held.len();
            let input = align_behind(input, start);
            let end = (start + len).min(input.len());
            let mut raw = ReadBuf::new(&mut input[start..end]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut raw))?;
            let len = raw.filled().len();
            if len == 0 {
                self.is_over = true;
                return Poll::Ready(Ok(None));
            }
            input[..start].copy_from_slice(&self.held);
            let progress = self.advance(cx, &mut input[..start + len], buf);
            self.tell();
            Poll::Ready(progress.map(Some))
        })
    }

    /// Sends what a step of the handshake has to say. True when the handshake is over, and both may send.
    ///
    /// # Errors
    /// The peer has closed the connection, or has made it hold `max` bytes or more.
    pub(super) async fn is_done(
        &mut self,
        progress: Progress,
        max: usize,
    ) -> Result<bool, TlsCause> {
        poll_fn(|cx| self.poll_drain(cx)).await?;
        match progress {
            Progress::Traffic => Ok(true),
            Progress::PeerClosed => Err(TlsCause::Closed),
            Progress::Handshake if self.held() >= max => Err(TlsCause::TooLarge(max)),
            Progress::Handshake => Ok(false),
        }
    }

    /// Sends what waits to be sent.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unsent.poll_write(cx, &mut self.io)
    }

    /// Encrypts what fits into one write, and sends it as far as the socket takes it.
    fn poll_encrypt(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        let plain = &plain[..plain.len().min(WRITE_LEN)];
        for is_last in [false, true] {
            if self.has_failed {
                break;
            }
            let Self {
                io,
                machine,
                held,
                unsent,
                ..
            } = self;
            let encrypted = with_output(|out| {
                let Ok(ConnectionState::WriteTraffic(mut traffic)) = machine.process(held).state
                else {
                    return Ok(false);
                };
                let encrypted = out.append(|room| {
                    traffic.encrypt(plain, room).map_err(|error| match error {
                        EncryptError::InsufficientSize(size) => TooSmall::Needs(size.required_size),
                        EncryptError::EncryptExhausted => TooSmall::Failed(error),
                    })
                });
                encrypted.map_err(io::Error::other)?;
                unsent.send(cx, io, out.filled())?;
                Ok::<_, io::Error>(true)
            })?;
            if encrypted {
                return Poll::Ready(Ok(plain.len()));
            }
            if !is_last {
                // it has something to say first: the answer to a key update, for one
                let mut held = mem::take(&mut self.held);
                self.advance(cx, &mut held, None)?;
            }
        }
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl<M: TlsMachine> AsyncRead for TlsStream<M> {
    #[inline(never)] // or reads of plain TCP pay for its frame
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            this.unread.read(buf);
            this.tell();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let mut left = MAX_RAW_BYTES;
        for _ in 0..MAX_READS {
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.is_over {
                return Poll::Ready(this.failure.take().map_or(Ok(()), Err));
            }
            // so that there is little plaintext without room
            let len = (buf.remaining() + OVERHEAD).clamp(MIN_READ, MAX_READ);
            let Some(rest) = left.checked_sub(len) else {
                break;
            };
            left = rest;
            let advanced = ready!(this.poll_advance(cx, len, Some(buf)));
            if buf.filled().len() > before {
                // what stood in front of a mistake comes first
                this.failure = advanced.err().filter(|_| this.is_over);
                return Poll::Ready(Ok(()));
            }
            advanced?;
        }
        // records without content, or records that come byte by byte
        yield_turn(cx)
    }
}

impl<M: TlsMachine> AsyncWrite for TlsStream<M> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_encrypt(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Poll::Ready(Ok(0)),
            (Some(only), None) => this.poll_encrypt(cx, only),
            // one record for what belongs together
            (Some(_), Some(_)) => with_input(|gathered| {
                let mut len = 0;
                for buf in bufs {
                    let room = &mut gathered[len..WRITE_LEN];
                    let part = room.len().min(buf.len());
                    room[..part].copy_from_slice(&buf[..part]);
                    len += part;
                }
                this.poll_encrypt(cx, &gathered[..len])
            }),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        // after a mistake of the peer, that was the alert
        if !this.has_sent_close && !this.has_failed {
            this.has_sent_close = true;
            let mut alert = [0; 128];
            let state = this.machine.process(&mut this.held).state;
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state
                && let Ok(len) = traffic.queue_close_notify(&mut alert)
            {
                this.unsent.send(cx, &mut this.io, &alert[..len])?;
            }
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl<M> fmt::Debug for TlsStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // neither plaintext nor keys
        f.debug_struct("TlsStream")
            .field("io", &self.io)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

/// Reads of one poll that bring no plaintext.
const MAX_READS: u32 = 8;

/// The most that these reads take: an empty record costs as much as a full one.
const MAX_RAW_BYTES: usize = 2 * MAX_READ;

/// What one read takes at least: smaller ones would cost a system call each.
const MIN_READ: usize = 4 * 1024;

/// What one read takes at most: two of the largest records. Measured: 8 KiB is worse, more than 32 is no better.
const MAX_READ: usize = 32 * 1024 + OVERHEAD;

/// What two records add to their plaintext, and a little more: header, explicit nonce and tag (RFC 5246, section
/// 6.2.3.3; RFC 8446, section 5.2). A read that is shorter by these bytes ends in a record of 16 KiB, whose
/// beginning is copied twice.
const OVERHEAD: usize = 64;
