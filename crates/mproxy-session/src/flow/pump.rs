//! One round of work of a direction: writes, a scan, a read. How much is read at once, and whether a
//! partial packet is copied in front of the next read or gathered where it is, is decided here.
//! Rules named by number are those of [the folder](super).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use mproxy_codec::{Direction, Head, Kind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Cx, Flow, Inbox};
use crate::cause::{Cause, End};
use crate::hook::PacketService;
use crate::scratch::{self, SCRATCH_LEN};

/// Up to this size a partial packet is copied in front of the next read, so that one read still
/// brings many packets; above, only as long as reads are large compared with it. So is a PUBLISH of
/// any size that lacks only payload, because each look at it goes through its properties. Fed byte
/// by byte, a packet costs time linear in its size.
const CHEAP_COPY: usize = 4096;

/// Bytes read at once, unless packets are large. What is scanned and written on then stays in the
/// first-level cache; twice as much costs half as much again for a 64-byte packet.
const READ_LEN: usize = 32 * 1024;

/// So many bytes more of a packet count as progress: a modem of 1,000 bytes a second needs a minute
/// for a packet of 60 KB, and is alive. A peer that only pretends to send one is found by sending
/// less than this within the time for a packet.
const PROGRESS: usize = 512;

impl<H: PacketService> Flow<H> {
    /// Does one round of work: writes, settles a hook, scans, reads once. True when something
    /// moved, so that another round may be worth it.
    ///
    /// # Errors
    /// The end of the session.
    pub(crate) fn pump<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Cx<'_, '_>,
    ) -> Result<bool, End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.age_queue(cx)?;
        let mut moved = self.write(writer, cx.task);
        if self.is_asking() {
            let resumed = self.resume(cx);
            self.hooks_ran(cx);
            match resumed? {
                Poll::Pending => return Ok(moved),
                Poll::Ready(()) => moved = true,
            }
            self.write(writer, cx.task);
        }
        // rule 4; answers of the proxy to this sender count as well
        if !self.out.is_empty() || cx.to_sender.len() > cx.rules.limits.max_replies {
            if !self.stalled {
                self.stalled = true;
                cx.batch.stalls += 1;
            }
            return Ok(moved);
        }
        self.stalled = false;
        if self.blocked {
            if !cx.rules.exchanges.has_room() {
                return Ok(moved);
            }
            self.blocked = false;
        }
        let paused = self.direction == Direction::ToServer
            && !cx.rules.is_established()
            && !cx.rules.authenticates();
        if self.end.is_some() || paused || cx.is_spent() {
            return Ok(moved);
        }
        if self.rescan {
            self.rescan = false;
            if !self.input.is_empty() {
                self.scan_input(SCRATCH_LEN, writer, cx)?;
                return Ok(true);
            }
        }
        if self.eof || cx.ordered && self.payload.is_none() {
            return Ok(moved);
        }
        let read = self.read(reader, writer, cx)?;
        Ok(moved || read)
    }

    /// Reads once and handles what came. True when bytes or the end came.
    fn read<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Cx<'_, '_>,
    ) -> Result<bool, End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut scratch = scratch::take_read();
        let start = if self.gather { 0 } else { self.input.len() };
        let end = match &self.payload {
            _ if self.gather => self.missing().min(SCRATCH_LEN),
            // up to the border, and not into the next packet
            Some(stream) if cx.ordered => stream.left.min(SCRATCH_LEN),
            // packets this large cost more in system calls than in cache misses
            Some(_) => SCRATCH_LEN,
            None if start > CHEAP_COPY => SCRATCH_LEN,
            None => READ_LEN,
        };
        scratch[..start].copy_from_slice(&self.input[..start]);
        let mut buffer = ReadBuf::new(&mut scratch[start..end]);
        let polled = Pin::new(reader).poll_read(cx.task, &mut buffer);
        let read = buffer.filled().len();
        match polled {
            Poll::Pending => {
                scratch::give_read(scratch);
                return Ok(false);
            }
            Poll::Ready(Ok(())) if read > 0 => self.heard = true,
            Poll::Ready(outcome) => {
                scratch::give_read(scratch);
                if let Err(error) = outcome {
                    let sender = self.sender();
                    self.end.get_or_insert_with(|| Cause::broke(sender, error));
                }
                self.eof = true;
                // a partial packet is not forwarded
                drop(self.input.take());
                return Ok(true);
            }
        }
        if self.gather {
            self.grew(self.input.len(), self.input.len() + read);
            self.input.extend(&scratch[..read]);
            scratch::give_read(scratch);
            let max_held = cx.rules.limits.max_held_packet;
            if self.missing() == 0 || !self.judged && self.may_stream(max_held) {
                self.scan_input(read, writer, cx)?;
            }
            return Ok(true);
        }
        let filled = start + read;
        let buffer = scratch.freeze();
        let outcome = self.scan(&buffer, filled, cx).map(|scan| {
            self.write_through(writer, &buffer[scan.run], scan.inside, cx.task);
            scan.consumed
        });
        if let Ok(consumed) = outcome {
            let rest = &buffer[consumed..filled];
            if rest.is_empty() {
                drop(self.input.take());
            } else {
                if consumed == 0 {
                    self.grew(start, rest.len());
                }
                self.input.replace(rest);
                self.input_waits(None);
                self.choose_gather(read);
            }
        }
        if let Ok(scratch) = buffer.try_into_mut() {
            scratch::give_read(scratch);
        }
        outcome.map(|_| true)
    }

    /// Notes progress of a packet of which there are more bytes than before.
    const fn grew(&mut self, before: usize, now: usize) {
        if before / PROGRESS != now / PROGRESS {
            self.progressed = true;
        }
    }

    /// Scans what the connection itself holds, to which the last read added `read` bytes.
    fn scan_input<W: AsyncWrite + Unpin>(
        &mut self,
        read: usize,
        writer: &mut W,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        let waited = self.input.since();
        cx.queued_since = waited;
        let buffer = self.input.take().freeze();
        let scan = self.scan(&buffer, buffer.len(), cx);
        cx.queued_since = None;
        let scan = scan?;
        self.write_through(writer, &buffer[scan.run], scan.inside, cx.task);
        if scan.consumed < buffer.len() {
            self.input = Inbox::new(match buffer.try_into_mut() {
                Ok(mut rest) if scan.consumed < rest.len() / 2 => {
                    rest.advance(scan.consumed);
                    rest
                }
                // or the end of a long buffer would keep all of it
                Ok(long) => BytesMut::from(&long[scan.consumed..]),
                Err(shared) => BytesMut::from(&shared[scan.consumed..]),
            });
        }
        self.input_waits(waited);
        self.choose_gather(read);
        Ok(())
    }

    /// What stands behind a packet that the hooks hold waits as long as that; what stands behind a
    /// request that waits itself, from now on.
    fn input_waits(&mut self, waited: Option<Instant>) {
        if let Some(asked) = &self.asked {
            self.input.wait_since(asked.since);
        } else if self.blocked {
            self.input.wait_since(waited.unwrap_or_else(Instant::now));
        }
    }

    /// Decides how the next read continues a partial packet; see [`CHEAP_COPY`].
    fn choose_gather(&mut self, read: usize) {
        let held = self.input.len();
        let dear = held > CHEAP_COPY || self.judged;
        self.gather = match Head::parse(&self.input) {
            Ok(Some(head)) if !self.rescan => {
                head.total_len() > SCRATCH_LEN || dear && read < held / 2
            }
            _ => false,
        };
    }

    /// Bytes that the packet at the front of `input` lacks.
    fn missing(&self) -> usize {
        match Head::parse(&self.input) {
            Ok(Some(head)) => head.total_len().saturating_sub(self.input.len()),
            _ => 0,
        }
    }

    /// True when the packet at the front of `input` need not, or must not, be gathered whole.
    fn may_stream(&self, max_held: usize) -> bool {
        let Ok(Some(head)) = Head::parse(&self.input) else {
            return false;
        };
        head.kind() == Kind::Publish
            && (!self.tap.kinds().contains(Kind::Publish)
                || self.tap.is_head_only()
                || head.total_len() > max_held)
    }

    fn write<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, task: &mut Context<'_>) -> bool {
        let written = self.out.write(writer, task);
        self.wrote(written)
    }

    fn write_through<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        run: &[u8],
        inside: usize,
        task: &mut Context<'_>,
    ) {
        let written = self.out.write_through(writer, run, inside, task);
        self.wrote(written);
    }

    /// A side that cannot be written to may still have something to say: the other direction goes
    /// on until it has.
    fn wrote(&mut self, written: io::Result<bool>) -> bool {
        match written {
            Ok(moved) => {
                self.taken |= moved;
                moved
            }
            Err(error) => {
                self.out.kill();
                let receiver = self.receiver();
                self.end
                    .get_or_insert_with(|| Cause::broke(receiver, error));
                true
            }
        }
    }
}
