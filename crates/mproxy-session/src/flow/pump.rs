//! The pump: one round of work of a direction.
//!
//! ```text
//! write what is queued -> go on with the packet at the hooks -> may this side be read?
//!     -> scan what is kept, or listen to the sender once, hear what it sent, and write
//! ```
//!
//! It returns everything that happened as [`Events`]. For a direction that [rests](Flow::rests), the pipe
//! listens first, and pumps nothing if there is nothing to hear. Numbered rules are those of [the folder](super),
//! which every patch of this path must keep.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use mproxy_codec::{Direction, Head, Kind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::inbox::{CHEAP_COPY, Leftover};
use super::{Clock, Cx, Events, Flow, Intake, Next};
use crate::cause::End;
use crate::hook::PacketService;
use crate::scratch::{self, SCRATCH_LEN};

/// Bytes read at once, unless packets are large. Scanned and written data then stays in the
/// first-level cache; twice as much costs half as much again for a 64-byte packet.
const READ_LEN: usize = 32 * 1024;

/// How many more bytes of a packet count as progress: a modem with 1,000 bytes per second needs a minute
/// for a packet of 60 KB, and is alive. A peer that only pretends to send one is caught because it sends
/// less than this within the packet timeout.
const PROGRESS: usize = 512;

/// What came of a read into the thread's buffer.
pub(crate) struct Heard {
    scratch: BytesMut,
    /// Where the input begins in it.
    at: usize,
    /// Bytes in front of what was read: a partial packet.
    start: usize,
    /// How many bytes were read; none are the end.
    read: io::Result<usize>,
}

impl<H: PacketService> Flow<H> {
    /// Does one round of work, and returns what happened. `heard` is what was read already, if this direction
    /// [rests](Self::rests).
    ///
    /// # Errors
    /// The end of the session.
    pub(crate) fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        heard: Option<Heard>,
        (reader, writer): (&mut R, &mut W),
        cx: &mut Cx<'_, '_>,
    ) -> Result<Events, End> {
        if let Some(heard) = heard {
            self.hear(heard, writer, cx)?;
            return Ok(cx.events);
        }
        // before the write: the receiver must not get expired messages
        self.expire_queue(cx)?;
        self.write(writer, cx);
        if self.asking.is_waiting() {
            // keep the order: nothing overtakes the packet with the hooks
            if self.resume(cx)?.is_pending() {
                return Ok(cx.events);
            }
            self.write(writer, cx);
        }
        if self.is_stalled(cx) || self.is_paused(cx) {
            return Ok(cx.events);
        }
        if self.inbox.is_unscanned() {
            self.scan_inbox(SCRATCH_LEN, writer, cx)?;
            cx.events |= Events::MOVED;
            return Ok(cx.events);
        }
        // an order waits for the border of the packet that is streaming
        if self.sender.is_talking() && (cx.intake == Intake::Free || self.payload.is_passing()) {
            match self.listen(reader, cx.task, cx.intake) {
                Poll::Ready(heard) => self.hear(heard, writer, cx)?,
                Poll::Pending => {
                    self.caught_up(cx);
                    cx.events |= Events::DRY;
                }
            }
        }
        Ok(cx.events)
    }

    /// True if nothing can happen here until the sender sends something, and a pump would only listen to it.
    /// That holds as long as nothing waits to be written to the sender, and until the
    /// session is ordered to end or to be judged again.
    #[inline]
    pub(crate) fn rests(&self) -> bool {
        self.out.is_flushed()
            && self.inbox.is_none()
            && !self.asking.is_waiting()
            && !self.payload.is_passing()
            && self.sender.is_talking()
            && !self.stalled
            && !self.is_behind()
    }

    /// Polls the hooks about the packet that they hold.
    fn resume(&mut self, cx: &mut Cx<'_, '_>) -> Result<Poll<()>, End> {
        let polled = self.asking.poll(&mut self.tap, cx);
        let outcome = match polled {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(judged) => judged.and_then(|(verdict, offered, since)| {
                let next = self.apply_late(verdict, Some(since), &offered, cx)?;
                if let Next::Replace(frame) = next {
                    self.out.push(&frame);
                }
                self.follow_up(cx);
                self.inbox.rescan();
                cx.events |= Events::MOVED;
                Ok(Poll::Ready(()))
            }),
        };
        self.hooks_ran(cx);
        outcome
    }

    /// Rule 4. Answers of the proxy to this sender count as well: a sender that sends requests and does not
    /// read must not fill the memory.
    fn is_stalled(&mut self, cx: &mut Cx<'_, '_>) -> bool {
        let stalled = self.is_clogged() || cx.to_sender.len() > cx.rules.limits.max_replies;
        if stalled && !self.stalled {
            cx.batch.stalls += 1;
        }
        self.stalled = stalled;
        stalled
    }

    /// True if this side must not be read now.
    fn is_paused(&mut self, cx: &mut Cx<'_, '_>) -> bool {
        if self.inbox.is_blocked() {
            if !cx.rules.exchanges.has_room() {
                return true;
            }
            self.inbox.rescan();
        }
        // what a client sends before CONNACK stays in the kernel, except for AUTH
        let is_early = self.direction == Direction::ToServer
            && !cx.rules.phase.is_established()
            && !cx.rules.phase.authenticates();
        if cx.intake == Intake::Hold {
            self.caught_up(cx);
            return true;
        }
        is_early || self.sender.is_done() || cx.is_spent()
    }

    /// Reads once.
    #[inline]
    pub(crate) fn listen<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        task: &mut Context<'_>,
        intake: Intake,
    ) -> Poll<Heard> {
        let mut scratch = scratch::take_read();
        let is_gathered = self.inbox.is_gathered();
        let start = if is_gathered { 0 } else { self.inbox.len() };
        let at = scratch::align_behind(&scratch, start);
        let input = &mut scratch[at..];
        if start > 0 {
            input[..start].copy_from_slice(&self.inbox[..start]);
        }
        let end = self.read_to(start, is_gathered, intake);
        let mut room = ReadBuf::new(&mut input[start..end]);
        let polled = Pin::new(reader).poll_read(task, &mut room);
        let read = room.filled().len();
        match polled {
            Poll::Pending => {
                scratch::give_read(scratch);
                Poll::Pending
            }
            Poll::Ready(outcome) => Poll::Ready(Heard {
                scratch,
                at,
                start,
                read: outcome.map(|()| read),
            }),
        }
    }

    /// Handles what was read.
    fn hear<W: AsyncWrite + Unpin>(
        &mut self,
        heard: Heard,
        writer: &mut W,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        let Heard {
            scratch,
            at,
            start,
            read,
        } = heard;
        cx.events |= Events::MOVED;
        let read = match read {
            Ok(read @ 1..) => read,
            over => {
                scratch::give_read(scratch);
                match over {
                    Ok(_) => self.sender.close(),
                    Err(error) => self.sender.broke(self.sending_side(), error),
                }
                // a partial packet is not forwarded
                self.inbox.take();
                return Ok(());
            }
        };
        cx.events |= Events::HEARD;
        if read >= READ_LEN / 2 {
            cx.events |= Events::MUCH;
        }
        if read > READ_LEN {
            cx.events |= Events::LARGE;
        }
        if !self.inbox.is_gathered() {
            return self.scan_scratch(scratch, at, (start, read), writer, cx);
        }
        grew(self.inbox.len(), read, cx);
        self.inbox.extend(&scratch[..read]);
        scratch::give_read(scratch);
        let may_stream = || self.may_stream(cx.rules.limits.max_held_packet);
        if self.inbox.missing() == 0 || !self.inbox.is_judged() && may_stream() {
            self.scan_inbox(read, writer, cx)?;
        }
        Ok(())
    }

    /// Up to where a read may fill the scratch buffer.
    fn read_to(&self, start: usize, is_gathered: bool, intake: Intake) -> usize {
        if is_gathered {
            // up to the end of the packet, so that the next packet starts at the front of a read
            self.inbox.missing().min(SCRATCH_LEN)
        } else if self.payload.is_passing() && intake == Intake::Finish {
            // up to the border, not into the next packet
            self.payload.left().min(SCRATCH_LEN)
        } else if self.payload.is_passing() || start > CHEAP_COPY {
            // for packets this large, system calls cost more than cache misses
            SCRATCH_LEN
        } else {
            READ_LEN
        }
    }

    /// Scans the thread's buffer from `at` on: `start` bytes that were kept and `read` new ones.
    fn scan_scratch<W: AsyncWrite + Unpin>(
        &mut self,
        scratch: BytesMut,
        at: usize,
        (start, read): (usize, usize),
        writer: &mut W,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        let filled = start + read;
        // frozen once per read: hooks get slices without copies (rule 1)
        let buffer = scratch.freeze();
        let behind = (at > 0).then(|| buffer.slice(at..));
        let input = behind.as_ref().unwrap_or(&buffer);
        let scanned = self.scan(input, filled, cx).map(|scan| {
            let consumed = scan.run.end;
            self.write_through(writer, &input[scan.run], scan.inside, cx);
            let rest = &input[consumed..filled];
            if consumed == 0 {
                grew(start, rest.len() - start, cx);
            }
            let since = self.inbox_waits(scan.leftover, None, &mut cx.clock);
            self.inbox.keep(rest, read, scan.leftover, since);
        });
        drop(behind);
        if let Ok(scratch) = buffer.try_into_mut() {
            scratch::give_read(scratch);
        }
        scanned
    }

    /// Scans the connection's own buffer, to which the last read added `read` bytes.
    fn scan_inbox<W: AsyncWrite + Unpin>(
        &mut self,
        read: usize,
        writer: &mut W,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        let (bytes, waited) = self.inbox.take();
        let buffer = bytes.freeze();
        cx.queued_since = waited;
        let scan = self.scan(&buffer, buffer.len(), cx);
        cx.queued_since = None;
        let scan = scan?;
        let consumed = scan.run.end;
        self.write_through(writer, &buffer[scan.run], scan.inside, cx);
        let since = self.inbox_waits(scan.leftover, waited, &mut cx.clock);
        self.inbox
            .put_back(buffer, consumed, read, scan.leftover, since);
        Ok(())
    }

    /// Since when the rest of a scan has waited: behind a packet with the hooks as long as that packet,
    /// behind a request that must wait from now on.
    fn inbox_waits(
        &self,
        leftover: Leftover,
        waited: Option<Instant>,
        clock: &mut Clock,
    ) -> Option<Instant> {
        self.asking.since().or_else(|| {
            (leftover == Leftover::Blocked).then(|| waited.unwrap_or_else(|| clock.now()))
        })
    }

    /// True if the packet at the front of the inbox need not, or must not, be held as a whole.
    fn may_stream(&self, max_held: usize) -> bool {
        let Ok(Some(head)) = Head::parse(&self.inbox) else {
            return false;
        };
        head.kind() == Kind::Publish
            && (!self.tap.kinds().contains(Kind::Publish)
                || self.tap.is_head_only()
                || head.total_len() > max_held)
    }

    fn write<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, cx: &mut Cx<'_, '_>) {
        let written = self.out.write(writer, cx.task, &mut cx.clock);
        if self.wrote(written, cx) {
            cx.events |= Events::MOVED;
        }
    }

    fn write_through<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        run: &[u8],
        inside: usize,
        cx: &mut Cx<'_, '_>,
    ) {
        let written = self
            .out
            .write_through(writer, run, inside, cx.task, &mut cx.clock);
        self.wrote(written, cx);
    }

    /// A side that cannot be written to may still send something: the other direction goes on until it
    /// is done.
    fn wrote(&mut self, written: io::Result<bool>, cx: &mut Cx<'_, '_>) -> bool {
        match written {
            Ok(moved) => {
                if moved {
                    cx.events |= Events::TAKEN;
                }
                moved
            }
            Err(error) => {
                self.out.kill();
                self.sender.broke(self.receiving_side(), error);
                true
            }
        }
    }
}

/// Records progress of a packet that had `before` bytes and got `more`.
fn grew(before: usize, more: usize, cx: &mut Cx<'_, '_>) {
    if before / PROGRESS != (before + more) / PROGRESS {
        cx.events |= Events::PROGRESSED;
    }
}
