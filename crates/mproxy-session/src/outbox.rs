//! What is still to be written to one side, in order.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use crate::held::Held;
use crate::scratch;

/// Bytes waiting for one side: forwarded packets and the proxy's own, in the order in which they
/// are to arrive.
///
/// Empty, it owns no memory. While a large PUBLISH streams to that side, own packets wait in
/// `held` for the packet border (own packets stand between packets, never inside one).
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Held,
    held: Option<Box<BytesMut>>,
    /// The last byte that was queued or written is inside a packet.
    mid_packet: bool,
    needs_flush: bool,
    /// The side is gone: what is pushed is thrown away.
    dead: bool,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes waiting, held ones included.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.held.as_ref().map_or(0, |held| held.len())
    }

    pub(crate) const fn is_mid_packet(&self) -> bool {
        self.mid_packet
    }

    /// Queues forwarded bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.dead {
            return;
        }
        self.queue.extend(bytes, scratch::take_write);
    }

    /// Queues a packet of the proxy's own: now, or when the packet border comes.
    pub(crate) fn push_reply(&mut self, packet: &[u8]) {
        if self.mid_packet {
            self.held.get_or_insert_default().extend_from_slice(packet);
        } else {
            self.push(packet);
        }
    }

    /// A packet was begun that will be finished by later pushes or writes.
    pub(crate) const fn begin_packet(&mut self) {
        self.mid_packet = true;
    }

    /// The packet that was begun is complete in the queue or written; held packets follow.
    pub(crate) fn end_packet(&mut self) {
        self.mid_packet = false;
        if let Some(held) = self.held.take() {
            self.push(&held);
        }
    }

    /// True when packets wait for the border of the one that is streaming.
    pub(crate) const fn has_held(&self) -> bool {
        self.held.is_some()
    }

    /// Writes a run straight from the read buffer when nothing is queued in front of it, and
    /// queues what the other side does not take. True when something was written.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write_through<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        run: &[u8],
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        if self.dead {
            return Ok(false);
        }
        let mut rest = run;
        while self.queue.is_empty() && !rest.is_empty() {
            match Pin::new(&mut *writer).poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.needs_flush = true;
                    rest = rest.get(written..).unwrap_or_default();
                }
                Poll::Pending => break,
            }
        }
        let written = rest.len() < run.len();
        self.push(rest);
        if self.queue.is_empty() {
            self.flush(writer, cx)?;
            return Ok(written);
        }
        Ok(self.write(writer, cx)? || written)
    }

    /// Writes what is queued, as far as the other side takes it. True when something was written.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        if self.queue.is_empty() {
            if self.needs_flush {
                self.flush(writer, cx)?;
            }
            return Ok(false);
        }
        let before = self.queue.len();
        while !self.queue.is_empty() {
            match Pin::new(&mut *writer).poll_write(cx, &self.queue)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.queue.advance(written),
                Poll::Pending => break,
            }
        }
        self.needs_flush = true;
        let written = before - self.queue.len();
        if self.queue.is_empty() {
            scratch::give_write(self.queue.take());
        } else if self.queue.capacity() > 4 * self.queue.len() {
            // a blocked connection keeps what it needs, not the thread's buffer
            let rest = Held::new(BytesMut::from(&self.queue[..]));
            scratch::give_write(std::mem::replace(&mut self.queue, rest).take());
        }
        self.flush(writer, cx)?;
        Ok(written > 0)
    }

    fn flush<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if self.needs_flush && Pin::new(writer).poll_flush(cx)?.is_ready() {
            self.needs_flush = false;
        }
        Ok(())
    }

    /// Gives up on the side.
    pub(crate) fn kill(&mut self) {
        *self = Self {
            dead: true,
            ..Self::default()
        };
    }

    /// True when the side cannot be written to.
    pub(crate) const fn is_dead(&self) -> bool {
        self.dead
    }

    /// Takes the queue, for the last write of a connection.
    pub(crate) fn into_queue(mut self) -> BytesMut {
        self.queue.take()
    }
}
