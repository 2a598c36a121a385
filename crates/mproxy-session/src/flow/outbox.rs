//! The bytes still to be written to one side, in order.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use mproxy_codec::Head;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Clock;
use crate::scratch;

/// Bytes waiting for one side: forwarded packets and the proxy's own, in the order in which they
/// are to arrive.
///
/// When empty, it owns no memory. While a large PUBLISH streams to that side, own packets wait in
/// `postponed` for the packet border (own packets go between packets, never inside one).
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Option<Box<Queue>>,
    postponed: Option<Box<BytesMut>>,
    /// True if the last byte queued or written is inside a packet.
    mid_packet: bool,
    /// Bytes of the last write until the side has flushed: its writer may still hold them.
    unflushed: u32,
    /// The side is gone: pushed bytes are discarded.
    dead: bool,
    /// Messages in it may expire.
    ages: bool,
}

/// The queued bytes; never empty.
#[derive(Debug)]
struct Queue {
    bytes: BytesMut,
    /// Bytes written from its front since it was last copied.
    gone: usize,
    /// Where the first packet begins that is completely unwritten.
    border: usize,
    /// Since when the receiver has accepted nothing.
    since: Option<Instant>,
}

impl Outbox {
    /// An empty one. `ages` says that messages may expire in it, which needs some bookkeeping.
    pub(crate) fn new(ages: bool) -> Self {
        Self {
            ages,
            ..Self::default()
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.queue.is_none()
    }

    /// True if the side has accepted everything, also what its writer may buffer.
    pub(crate) const fn is_flushed(&self) -> bool {
        self.queue.is_none() && self.unflushed == 0
    }

    fn queued(&self) -> &[u8] {
        self.queue.as_ref().map_or(&[], |queue| &queue.bytes)
    }

    /// Bytes waiting, postponed ones included.
    pub(crate) fn len(&self) -> usize {
        self.queued().len()
            + self
                .postponed
                .as_ref()
                .map_or(0, |postponed| postponed.len())
    }

    /// Bytes of memory that it takes, plus what the side's writer may still hold.
    pub(crate) fn size(&self) -> usize {
        let queue = self.queue.as_ref();
        queue.map_or(0, |queue| queue.gone + queue.bytes.capacity())
            + self
                .postponed
                .as_ref()
                .map_or(0, |postponed| postponed.capacity())
            + self.unflushed as usize
    }

    pub(crate) const fn is_mid_packet(&self) -> bool {
        self.mid_packet
    }

    /// Queues forwarded bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.dead {
            return;
        }
        let queue = self.queue.get_or_insert_with(|| {
            Box::new(Queue {
                bytes: scratch::take_write(),
                gone: 0,
                border: 0,
                since: None,
            })
        });
        queue.bytes.extend_from_slice(bytes);
    }

    /// Queues a packet of the proxy's own: now, or at the packet border.
    pub(crate) fn push_reply(&mut self, packet: &[u8]) {
        if self.mid_packet {
            self.postponed
                .get_or_insert_default()
                .extend_from_slice(packet);
        } else {
            self.push(packet);
        }
    }

    /// A packet was started that later pushes or writes will finish.
    pub(crate) const fn begin_packet(&mut self) {
        self.mid_packet = true;
    }

    /// The started packet is complete, queued or written; postponed packets follow.
    pub(crate) fn end_packet(&mut self) {
        self.mid_packet = false;
        if let Some(postponed) = self.postponed.take() {
            self.push(&postponed);
        }
    }

    /// True if packets wait for the border of the one that is streaming.
    pub(crate) const fn has_postponed(&self) -> bool {
        self.postponed.is_some()
    }

    /// The first `inside` bytes of the queue belong to a packet that started earlier.
    pub(crate) fn begins_inside(&mut self, inside: usize) {
        if let Some(queue) = &mut self.queue {
            queue.border = inside;
        }
    }

    /// Takes the packets that have waited for at least a second and are completely unwritten,
    /// with how many seconds they have aged. The caller must put them, or what is left of them,
    /// back.
    pub(crate) fn take_aged(&mut self, clock: &mut Clock) -> Option<(BytesMut, u32)> {
        let queue = self.queue.as_mut().filter(|_| self.ages)?;
        let since = queue.since?;
        let seconds = (clock.now() - since).as_secs();
        if seconds == 0 {
            return None;
        }
        queue.since = Some(since + Duration::from_secs(seconds));
        let border = queue.border.min(queue.bytes.len());
        let packets = queue.bytes.split_off(border);
        Some((packets, u32::try_from(seconds).unwrap_or(u32::MAX)))
    }

    /// Puts back what is left of the packets that were taken.
    pub(crate) fn put_back(&mut self, packets: &[u8]) {
        self.push(packets);
        if self.queued().is_empty() {
            self.queue = None;
        }
    }

    /// Writes a run directly from the read buffer if nothing is queued in front of it, and
    /// queues what the other side does not accept. The first `inside` bytes of the run belong to a
    /// packet that started earlier. True if something was written.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write_through<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        run: &[u8],
        inside: usize,
        cx: &mut Context<'_>,
        clock: &mut Clock,
    ) -> io::Result<bool> {
        if self.dead {
            return Ok(false);
        }
        if !self.is_empty() {
            self.push(run);
            return self.write(writer, cx, clock);
        }
        let mut done = 0;
        while done < run.len() {
            match Pin::new(&mut *writer).poll_write(cx, &run[done..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.wrote(written);
                    done += written;
                }
                Poll::Pending => break,
            }
        }
        self.push(&run[done..]);
        if self.ages
            && let Some(queue) = &mut self.queue
        {
            queue.since = Some(clock.now());
            queue.border = border_behind(run, inside, done) - done;
        }
        self.flush(writer, cx)?;
        Ok(done > 0)
    }

    /// Writes the queue as far as the other side accepts it. True if something was written.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
        clock: &mut Clock,
    ) -> io::Result<bool> {
        let Some(queue) = &mut self.queue else {
            if self.unflushed > 0 {
                self.flush(writer, cx)?;
            }
            return Ok(false);
        };
        let (mut done, mut last) = (0, 0);
        while done < queue.bytes.len() {
            match Pin::new(&mut *writer).poll_write(cx, &queue.bytes[done..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    last = written;
                    done += written;
                }
                Poll::Pending => break,
            }
        }
        if done < queue.bytes.len() {
            if self.ages {
                queue.since.get_or_insert_with(|| clock.now());
                queue.border = border_behind(&queue.bytes, queue.border, done) - done;
            }
            queue.bytes.advance(done);
            queue.gone += done;
            if queue.gone + queue.bytes.capacity() > 4 * queue.bytes.len() {
                // a blocked connection keeps only what it needs, not the thread's buffer
                let rest = BytesMut::from(&queue.bytes[..]);
                queue.gone = 0;
                scratch::give_write(std::mem::replace(&mut queue.bytes, rest));
            }
        } else if let Some(queue) = self.queue.take() {
            scratch::give_write(queue.bytes);
        }
        self.wrote(last);
        self.flush(writer, cx)?;
        Ok(done > 0)
    }

    /// Records a write: a writer that buffers accepts the next one when it has flushed this one.
    fn wrote(&mut self, written: usize) {
        if written > 0 {
            self.unflushed = u32::try_from(written).unwrap_or(u32::MAX);
        }
    }

    fn flush<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if self.unflushed > 0 && Pin::new(writer).poll_flush(cx)?.is_ready() {
            self.unflushed = 0;
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
        self.queue
            .take()
            .map_or_else(BytesMut::new, |queue| queue.bytes)
    }
}

/// The first packet border at or after `at`, given an earlier one. It is past the bytes if their last
/// packet is incomplete.
fn border_behind(bytes: &[u8], border: usize, at: usize) -> usize {
    let mut border = border;
    while border < at {
        match bytes.get(border..).map(Head::parse) {
            Some(Ok(Some(head))) => border = border.saturating_add(head.total_len()),
            // heads are queued whole; without one, no packet is known to begin
            _ => return usize::MAX,
        }
    }
    border
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::duplex;

    use super::*;

    /// PINGREQ, a PUBLISH of eight bytes, PINGREQ.
    const PACKETS: &[u8] = b"\xc0\x00\x30\x06\x00\x01txyz\xc0\x00";

    #[test]
    fn the_next_border_is_that_of_a_packet_of_which_nothing_is_written() {
        for (border, written, wanted) in [
            (0, 0, 0),
            (0, 1, 2),
            (0, 2, 2),
            (0, 3, 10),
            (2, 10, 10),
            (0, 12, 12),
            // the front belongs to a packet that started earlier
            (10, 1, 10),
        ] {
            assert_eq!(border_behind(PACKETS, border, written), wanted);
        }
        let cut = &PACKETS[..5];
        assert_eq!(border_behind(cut, 0, 4), 10, "behind what has come");
        assert_eq!(border_behind(&PACKETS[..3], 0, 3), usize::MAX);
    }

    #[test]
    fn packets_age_from_when_the_receiver_takes_no_more() {
        let start = Instant::now();
        let at = |millis| Clock(Some(start + Duration::from_millis(millis)));
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut near, _far) = duplex(1);
        let mut out = Outbox::new(true);
        let written = out.write_through(&mut near, PACKETS, 0, cx, &mut at(0));
        assert!(written.expect("one byte is taken"));
        assert!(out.take_aged(&mut at(999)).is_none());
        let (packets, seconds) = out.take_aged(&mut at(2500)).expect("they have waited");
        assert_eq!((&packets[..], seconds), (&PACKETS[2..], 2));
        out.put_back(&packets);
        assert!(out.take_aged(&mut at(2999)).is_none());
        let aged = out.take_aged(&mut at(3000));
        assert_eq!(
            aged.map(|(_, seconds)| seconds),
            Some(1),
            "not counted twice"
        );
    }

    #[test]
    fn own_packets_wait_for_the_border_of_the_one_that_is_passing() {
        let mut out = Outbox::new(false);
        out.begin_packet();
        out.push_reply(b"own");
        out.push(b"payload");
        assert!(out.is_mid_packet() && out.has_postponed());
        assert_eq!(out.len(), 10);
        out.end_packet();
        assert!(!out.is_mid_packet() && !out.has_postponed());
        assert_eq!(&out.into_queue()[..], b"payloadown");
    }

    #[test]
    fn what_is_pushed_to_a_dead_side_is_thrown_away() {
        let mut out = Outbox::new(true);
        out.push(b"x");
        out.kill();
        out.push(b"y");
        out.push_reply(b"z");
        assert!(out.is_dead() && out.is_empty() && out.size() == 0);
    }
}
