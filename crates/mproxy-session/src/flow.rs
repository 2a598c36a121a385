//! One direction of a session: bytes in, packets found and judged, bytes out.
//!
//! ```text
//! read --> scratch buffer (the thread's) --> scan: head, validate, book
//!                                              |-- untapped: stays in the run of original bytes
//!                                              |-- tapped: Packet -> hooks -> Verdict
//!                                              |      unchanged: stays in the run
//!                                              |      changed, refused, dropped: breaks the run
//!                                              `-- incomplete: kept with the connection
//! run ---------------------------------------> one write
//! ```
//!
//! Rules of the hot path, to which a patch is held:
//!
//! 1. No allocation, lock, clock read, log call, formatting or virtual call per packet in steady
//!    state.
//! 2. An idle connection owns no buffer: reads go to the thread's scratch buffer, only a partial
//!    packet stays.
//! 3. One read, a scan of all whole packets, one write of the untouched run.
//! 4. While the other side is slow this side is not read.
//! 5. Counters are plain integers, handed out a batch at a time.
//! 6. `poll_ready` of a hook is called only with a packet in hand.
//! 7. Nothing is allocated because a length field said so, only as bytes arrive.
//! 8. A PUBLISH larger than the scratch buffer streams through, unless a hook wants its payload.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use mproxy_codec::{
    DecodeError, Direction, Head, Kind, Publish, PublishEdit, PublishLayout, PublishRun, QoS,
    ReasonCode, Version, View, encode_suback, encode_unsuback, normalise,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::BoxError;
use crate::core::Core;
use crate::error::End;
use crate::held::Held;
use crate::hook::{Packet, PacketService, Parts, Refusal, Tap, Verdict};
use crate::ledger::Answer;
use crate::limits::RefusedPublish;
use crate::outbox::Outbox;
use crate::recorder::Batch;
use crate::reply::request_code;
use crate::scratch::{self, SCRATCH_LEN};
use crate::summary::{CloseReason, Side, Traffic};

/// Up to this size a partial packet is copied in front of the next read, so that one read still
/// brings many packets; above, only as long as reads are large compared with it. Fed byte by byte,
/// a packet costs time linear in its size.
const CHEAP_COPY: usize = 4096;

/// Bytes read at once, unless packets are large. What is scanned and written on then stays in the
/// first-level cache; twice as much costs half as much again for a 64-byte packet.
const READ_LEN: usize = 32 * 1024;

/// One direction of a session.
pub(crate) struct Flow<H: PacketService> {
    direction: Direction,
    tap: Tap<H>,
    hook: Hook,
    /// The hook's future, in a box that is reused from packet to packet.
    future: Option<Pin<Box<Option<H::Future>>>>,
    /// Bytes read and not consumed: a partial packet, or what follows one that a hook holds.
    input: Held,
    /// `input` may hold whole packets: scan it before reading.
    rescan: bool,
    /// The next read continues `input` instead of starting from the scratch buffer.
    gather: bool,
    /// A hook of this direction has waited before: its packets are copied, so that the wait does
    /// not keep the thread's buffer.
    hook_waits: bool,
    /// The payload of a PUBLISH that streams through or is thrown away.
    stream: Option<Box<Stream>>,
    /// What is to be written to this direction's receiver.
    pub(crate) out: Outbox,
    /// The sender has closed.
    pub(crate) eof: bool,
    /// The sender has said its last word.
    pub(crate) end: Option<Box<End>>,
    pub(crate) traffic: Traffic,
    /// Bytes came since somebody looked.
    pub(crate) heard: bool,
    /// Whole packets or bytes of a payload came since somebody looked.
    progressed: bool,
    /// The receiver took bytes since somebody looked.
    taken: bool,
    stalled: bool,
}

/// A packet that is with the hooks.
enum Hook {
    Idle,
    /// The service was not ready.
    Waiting(Box<(Packet, Offered)>),
    Running(Box<Offered>),
}

/// What must be known of an offered packet when its verdict comes.
#[derive(Clone, Copy)]
struct Offered {
    kind: Kind,
    /// Where the frame was and how long: the same afterwards means unchanged.
    address: usize,
    len: usize,
    publish: Option<PublishLayout>,
    /// Packet identifier and number of filters of a SUBSCRIBE or UNSUBSCRIBE.
    request: (u16, usize),
    /// Payload bytes that are still to come.
    left: usize,
}

impl Offered {
    fn publish(frame: &Bytes, layout: PublishLayout, left: usize) -> Self {
        Self {
            kind: Kind::Publish,
            address: frame.as_ptr().addr(),
            len: frame.len(),
            publish: Some(layout),
            request: (0, 0),
            left,
        }
    }
}

struct Stream {
    left: usize,
    forward: bool,
    /// What the sender is told when the payload has been thrown away.
    answer: Option<Bytes>,
}

/// What becomes of a packet.
enum Next {
    /// It stays in the run.
    Pass,
    /// These bytes go instead.
    Replace(Bytes),
    /// Nothing goes.
    Drop,
    /// The hooks have not decided.
    Pending,
    /// It is not complete.
    Incomplete,
}

/// What a scan left: the untouched run that is not queued yet, and how far it came.
struct Scan {
    run: Range<usize>,
    consumed: usize,
}

/// What a direction works with while it is polled.
pub(crate) struct Turn<'a, 'b> {
    pub(crate) core: &'a mut Core,
    /// The outbox towards this direction's sender: answers of the proxy.
    pub(crate) reverse: &'a mut Outbox,
    pub(crate) batch: &'a mut Batch,
    pub(crate) task: &'a mut Context<'b>,
    /// Hooks see publications of the client.
    pub(crate) tapped_to_server: bool,
    /// The session is to end: what was read is finished, nothing new is begun.
    pub(crate) ordered: bool,
    /// Set while a hook runs, so that a panic is blamed on the right party.
    pub(crate) in_hook: &'a mut bool,
}

/// What a direction waits for, with a deadline each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Nothing that has a deadline.
    Nothing,
    /// A hook's verdict.
    Hook,
    /// The receiver to take bytes.
    Write,
    /// The sender to finish a packet.
    Packet,
}

impl<H: PacketService> Flow<H> {
    pub(crate) fn new(direction: Direction, tap: Tap<H>, input: BytesMut, out: Outbox) -> Self {
        Self {
            direction,
            tap,
            hook: Hook::Idle,
            future: None,
            rescan: true,
            input: Held::new(input),
            gather: false,
            hook_waits: false,
            stream: None,
            out,
            eof: false,
            end: None,
            traffic: Traffic {
                packets: 0,
                bytes: 0,
                publishes: 0,
                denied: 0,
            },
            heard: false,
            progressed: false,
            taken: false,
            stalled: false,
        }
    }

    pub(crate) const fn kinds(&self) -> mproxy_codec::KindSet {
        self.tap.kinds()
    }

    /// What this direction waits for.
    pub(crate) fn waits_for(&self) -> Wait {
        if self.is_hooked() {
            Wait::Hook
        } else if !self.out.is_empty() {
            Wait::Write
        } else if self.stream.is_some() || !self.input.is_empty() && !self.rescan {
            Wait::Packet
        } else {
            Wait::Nothing
        }
    }

    /// True when, since the last call, that happened for which this direction waits.
    pub(crate) fn progress(&mut self, wait: Wait) -> bool {
        let progressed = std::mem::take(&mut self.progressed);
        let taken = std::mem::take(&mut self.taken);
        if wait == Wait::Write {
            taken
        } else {
            progressed
        }
    }

    /// True when the sender is listened to: whatever it sends is heard at once.
    pub(crate) fn is_listening(&self) -> bool {
        !self.is_hooked() && !self.stalled && !self.eof && self.end.is_none()
    }

    const fn is_hooked(&self) -> bool {
        !matches!(self.hook, Hook::Idle)
    }

    /// True while packets that were read are not through the hooks.
    pub(crate) fn holds_packets(&self) -> bool {
        self.is_hooked() || self.rescan && !self.input.is_empty()
    }

    /// True when nothing of this direction is left to do: the sender is done and everything it
    /// sent has been written.
    pub(crate) fn is_finished(&self) -> bool {
        (self.eof || self.end.is_some()) && !self.is_hooked() && self.out.is_empty()
    }

    const fn sender(&self) -> Side {
        match self.direction {
            Direction::ToServer => Side::Client,
            Direction::ToClient => Side::Upstream,
        }
    }

    const fn receiver(&self) -> Side {
        match self.direction {
            Direction::ToServer => Side::Upstream,
            Direction::ToClient => Side::Client,
        }
    }

    /// Does one round of work: writes, settles a hook, scans, reads once. True when something
    /// moved, so that another round may be worth it.
    ///
    /// # Errors
    /// The end of the session.
    pub(crate) fn turn<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        turn: &mut Turn<'_, '_>,
    ) -> Result<bool, End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut moved = self.write(writer, turn.task);
        if self.is_hooked() {
            match self.resume(turn)? {
                Poll::Pending => return Ok(moved),
                Poll::Ready(()) => moved = true,
            }
            self.write(writer, turn.task);
        }
        // rule 4; answers of the proxy to this sender count as well
        if !self.out.is_empty() || turn.reverse.len() > turn.core.limits.max_replies {
            if !self.stalled {
                self.stalled = true;
                turn.batch.stalls += 1;
            }
            return Ok(moved);
        }
        self.stalled = false;
        let paused = self.direction == Direction::ToServer
            && !turn.core.is_established()
            && !turn.core.authenticates;
        if self.end.is_some() || paused {
            return Ok(moved);
        }
        if self.rescan {
            self.rescan = false;
            if !self.input.is_empty() {
                self.scan_input(writer, turn)?;
                return Ok(true);
            }
        }
        if self.eof || turn.ordered && self.stream.is_none() {
            return Ok(moved);
        }
        let read = self.read(reader, writer, turn)?;
        Ok(moved || read)
    }

    /// Reads once and handles what came. True when bytes or the end came.
    fn read<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        turn: &mut Turn<'_, '_>,
    ) -> Result<bool, End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut scratch = scratch::take_read();
        let start = if self.gather { 0 } else { self.input.len() };
        let end = match &self.stream {
            _ if self.gather => self.missing().min(SCRATCH_LEN),
            // up to the border, and not into the next packet
            Some(stream) if turn.ordered => stream.left.min(SCRATCH_LEN),
            // packets this large cost more in system calls than in cache misses
            Some(_) => SCRATCH_LEN,
            None if start > CHEAP_COPY => SCRATCH_LEN,
            None => READ_LEN,
        };
        scratch[..start].copy_from_slice(&self.input[..start]);
        let mut buffer = ReadBuf::new(&mut scratch[start..end]);
        let polled = Pin::new(reader).poll_read(turn.task, &mut buffer);
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
                    self.end
                        .get_or_insert_with(|| Box::new(End::io(sender, &error)));
                }
                self.eof = true;
                // a partial packet is not forwarded
                drop(self.input.take());
                return Ok(true);
            }
        }
        if self.gather {
            self.input.extend(&scratch[..read], BytesMut::new);
            scratch::give_read(scratch);
            if self.missing() == 0 || self.may_stream(turn.core.limits.max_packet_size) {
                self.scan_input(writer, turn)?;
            }
            return Ok(true);
        }
        let filled = start + read;
        let buffer = scratch.freeze();
        let outcome = self.scan(&buffer, filled, turn).map(|scan| {
            self.write_through(writer, &buffer[scan.run], turn.task);
            scan.consumed
        });
        if let Ok(consumed) = outcome {
            let rest = &buffer[consumed..filled];
            if rest.is_empty() {
                drop(self.input.take());
            } else {
                self.input.replace(rest);
                self.choose_gather(read);
            }
        }
        if let Ok(scratch) = buffer.try_into_mut() {
            scratch::give_read(scratch);
        }
        outcome.map(|_| true)
    }

    /// Scans what the connection itself holds.
    fn scan_input<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(), End> {
        let buffer = self.input.take().freeze();
        let scan = self.scan(&buffer, buffer.len(), turn)?;
        self.write_through(writer, &buffer[scan.run], turn.task);
        if scan.consumed < buffer.len() {
            self.input = Held::new(match buffer.try_into_mut() {
                Ok(mut rest) => {
                    rest.advance(scan.consumed);
                    rest
                }
                Err(shared) => BytesMut::from(&shared[scan.consumed..]),
            });
        }
        self.choose_gather(SCRATCH_LEN);
        Ok(())
    }

    /// Decides how the next read continues a partial packet; see [`CHEAP_COPY`].
    fn choose_gather(&mut self, read: usize) {
        let held = self.input.len();
        self.gather = match Head::parse(&self.input) {
            Ok(Some(head)) if !self.rescan => {
                head.total_len() > SCRATCH_LEN || held > CHEAP_COPY && read < held / 2
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
    fn may_stream(&self, max_packet_size: usize) -> bool {
        let Ok(Some(head)) = Head::parse(&self.input) else {
            return false;
        };
        head.kind() == Kind::Publish
            && (!self.tap.kinds().contains(Kind::Publish)
                || self.tap.is_head_only()
                || head.total_len() > max_packet_size)
    }

    fn write<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, cx: &mut Context<'_>) -> bool {
        let written = self.out.write(writer, cx);
        self.wrote(written)
    }

    fn write_through<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        run: &[u8],
        cx: &mut Context<'_>,
    ) {
        let written = self.out.write_through(writer, run, cx);
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
                    .get_or_insert_with(|| Box::new(End::io(receiver, &error)));
                true
            }
        }
    }

    /// Finds packets in `buffer[..filled]` and decides on each. What stood in front of a packet
    /// that ends the session is still forwarded, however the bytes were cut into reads.
    fn scan(
        &mut self,
        buffer: &Bytes,
        filled: usize,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Scan, End> {
        let mut scan = Scan {
            run: 0..0,
            consumed: 0,
        };
        let outcome = self.scan_packets(buffer, filled, &mut scan.run, turn);
        if self.is_hooked() {
            self.rescan = true;
        }
        if outcome.is_err() || !self.out.is_empty() {
            // what is queued goes first
            self.out.push(&buffer[scan.run.clone()]);
            scan.run.start = scan.run.end;
        }
        scan.consumed = scan.run.end;
        self.progressed |= scan.consumed > 0;
        outcome.map(|()| scan)
    }

    /// Scans; `span` is the untouched run, which ends where the scan has come to.
    fn scan_packets(
        &mut self,
        buffer: &Bytes,
        filled: usize,
        span: &mut Range<usize>,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(), End> {
        let Range {
            start: run,
            end: at,
        } = span;
        while *at < filled && self.end.is_none() && !self.is_hooked() {
            if self.stream.is_some() {
                let from = *at;
                *at += self.skip_payload(filled - *at, turn);
                self.end_stream(buffer, run, from, *at, turn);
                continue;
            }
            let (next, consumed) = match self.ordinary(buffer, at, filled, turn)? {
                Some(settled) => settled,
                None if *at == filled => break,
                None => self.packet(buffer, *at, filled, turn)?,
            };
            match next {
                Next::Pass => *at += consumed,
                Next::Incomplete => break,
                Next::Replace(frame) => {
                    self.out.push(&buffer[*run..*at]);
                    self.out.push(&frame);
                    *at += consumed;
                    *run = *at;
                }
                Next::Drop | Next::Pending => {
                    self.out.push(&buffer[*run..*at]);
                    *at += consumed;
                    *run = *at;
                }
            }
        }
        Ok(())
    }

    /// Judges the packet at `at` and handles it, whatever it is. Returns what becomes of it and how
    /// many bytes it took.
    fn packet(
        &mut self,
        buffer: &Bytes,
        at: usize,
        filled: usize,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(Next, usize), End> {
        let direction = self.direction;
        let version = turn.core.version;
        let bytes = &buffer[at..filled];
        let malformed = |error| End::malformed(direction, error);
        let kind = Head::check_first_byte(bytes[0], version, direction).map_err(malformed)?;
        turn.core.check_phase(direction, kind)?;
        let Some(head) = Head::parse(bytes).map_err(malformed)? else {
            return Ok((Next::Incomplete, 0));
        };
        if version.is_v5() && !head.is_minimal() {
            return Err(malformed(DecodeError::NotMinimal));
        }
        let total = head.total_len();
        // a PUBLISH of the broker is not gathered if it is larger
        let may_be_larger = direction == Direction::ToClient && kind == Kind::Publish;
        if total > turn.core.limits.max_packet_size && !may_be_larger {
            return Err(malformed(DecodeError::PacketTooLarge));
        }
        if kind == Kind::Publish {
            self.publish(head, buffer, at, filled, turn)
        } else if bytes.len() < total {
            Ok((Next::Incomplete, 0))
        } else {
            Ok((self.control(head, buffer, at, turn)?, total))
        }
    }

    /// Handles the ordinary PUBLISH packets at `*at`, of which there are mostly many: where nobody
    /// looks, by finding where their run ends; where hooks look, one by one as long as they are
    /// forwarded as they came. `Some` is the outcome of the packet at which that ended.
    #[inline]
    fn ordinary(
        &mut self,
        buffer: &Bytes,
        at: &mut usize,
        filled: usize,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Option<(Next, usize)>, End> {
        let core = &*turn.core;
        if !core.is_established() || core.ledger.answers_locally() {
            return Ok(None);
        }
        let own_limit = match self.direction {
            Direction::ToServer => core.limits.max_packet_size,
            Direction::ToClient => usize::MAX,
        };
        let max_packet = core.receiver_max_packet(self.direction).min(own_limit);
        let version = core.version;
        if self.tap.kinds().contains(Kind::Publish) {
            return self.offer_ordinary(buffer, at, filled, (version, max_packet), turn);
        }
        let run = PublishRun::scan(&buffer[*at..filled], version, max_packet);
        turn.batch.read_run(&run);
        self.traffic.packets += u64::from(run.packets());
        self.traffic.publishes += u64::from(run.packets());
        self.traffic.bytes += run.len() as u64;
        *at += run.len();
        Ok(None)
    }

    /// See [`ordinary`](Self::ordinary).
    fn offer_ordinary(
        &mut self,
        buffer: &Bytes,
        at: &mut usize,
        filled: usize,
        (version, max_packet): (Version, usize),
        turn: &mut Turn<'_, '_>,
    ) -> Result<Option<(Next, usize)>, End> {
        let mut repeated = 0;
        let outcome = loop {
            let bytes = &buffer[*at..filled];
            let Some(layout) = PublishLayout::ordinary(bytes, version) else {
                break Ok(None);
            };
            let len = layout.total_len();
            if len > max_packet {
                break Ok(None);
            }
            turn.batch.read(Kind::Publish, len);
            self.traffic.packets += 1;
            self.traffic.publishes += 1;
            self.traffic.bytes += len as u64;
            let memo = self.tap.memo_mut();
            if memo.is_some_and(|memo| memo.knows(bytes[0], layout.topic(bytes))) {
                turn.batch.published(layout.qos());
                repeated += 1;
                *at += len;
                continue;
            }
            let frame = self.slice(buffer, *at..*at + len);
            let offered = Offered::publish(&frame, layout, 0);
            let packet = Packet::new(
                Kind::Publish,
                version,
                self.direction,
                frame,
                Some(layout),
                None,
            );
            let verdict = match self.ask(packet, &offered, turn) {
                Ok(verdict) => verdict,
                Err(end) => break Err(end),
            };
            match verdict {
                // hooks that wait get a copy: the same bytes go from the run
                Poll::Ready(Verdict::Forward(packet))
                    if packet.is_untouched(offered.address, len) =>
                {
                    turn.batch.published(layout.qos());
                    if let Some(memo) = self.tap.memo_mut() {
                        memo.remember(bytes[0], layout.topic(bytes));
                    }
                    *at += len;
                }
                Poll::Ready(verdict) => {
                    let next = self.settle(verdict, &offered, turn);
                    break next.map(|next| Some((as_run(next, &bytes[..len]), len)));
                }
                Poll::Pending => break Ok(Some((Next::Pending, len))),
            }
        };
        if let Some(memo) = self.tap.memo_mut() {
            memo.tell(repeated);
        }
        outcome
    }

    /// Takes up to `available` bytes of the payload that streams through.
    fn skip_payload(&mut self, available: usize, turn: &mut Turn<'_, '_>) -> usize {
        let Some(stream) = &mut self.stream else {
            return 0;
        };
        let taken = stream.left.min(available);
        stream.left -= taken;
        turn.batch.bytes += taken as u64;
        self.traffic.bytes += taken as u64;
        taken
    }

    /// The bytes `from..at` were payload: they stay in the run or are cut out of it. Ends the
    /// streaming once all of it has passed.
    fn end_stream(
        &mut self,
        buffer: &Bytes,
        run: &mut usize,
        from: usize,
        at: usize,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if !stream.forward {
            self.out.push(&buffer[*run..from]);
            *run = at;
        }
        if stream.left > 0 {
            return;
        }
        if stream.forward {
            if self.out.has_held() {
                self.out.push(&buffer[*run..at]);
                *run = at;
            }
            self.out.end_packet();
        } else if let Some(answer) = stream.answer.take() {
            reply(turn, &answer);
        }
        self.stream = None;
    }

    /// Handles a PUBLISH, of which the payload may still be on its way.
    fn publish(
        &mut self,
        head: Head,
        buffer: &Bytes,
        at: usize,
        filled: usize,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(Next, usize), End> {
        let direction = self.direction;
        let version = turn.core.version;
        let bytes = &buffer[at..filled];
        let layout = PublishLayout::parse(head, version, direction, bytes)
            .map_err(|error| End::malformed(direction, error))?;
        let Some(layout) = layout else {
            // topic and properties are held until they are whole
            if bytes.len() > turn.core.limits.max_packet_size {
                return Err(End::malformed(direction, DecodeError::PacketTooLarge));
            }
            return Ok((Next::Incomplete, 0));
        };
        let total = layout.total_len();
        let tapped = self.tap.kinds().contains(Kind::Publish);
        let whole = bytes.len() >= total;
        let wants_payload = tapped && !self.tap.is_head_only();
        let too_large_to_gather = total > turn.core.limits.max_packet_size;
        if !whole && (total <= SCRATCH_LEN || wants_payload && !too_large_to_gather) {
            return Ok((Next::Incomplete, 0));
        }
        let len = if whole { total } else { layout.payload_at() };
        let left = total - len;
        turn.batch.read(Kind::Publish, len);
        self.traffic.packets += 1;
        self.traffic.publishes += 1;
        self.traffic.bytes += len as u64;

        let topic = match turn.core.aliases(direction) {
            Some(aliases) => aliases.receive(&layout, bytes, tapped)?,
            None => None,
        };
        // A repetition of a PUBLISH that the proxy has answered itself [MQTT-4.3.3-2]: it is
        // answered again and reaches neither hooks nor broker.
        if direction == Direction::ToServer
            && layout.qos() == QoS::ExactlyOnce
            && let Some(id) = layout.packet_id()
            && turn.core.ledger.is_answered_locally(id)
        {
            let answer = turn
                .core
                .replies
                .ack(Kind::Pubrec, id, ReasonCode::SUCCESS, None);
            return Ok((self.answer_with(answer, left, turn), len));
        }
        let undeliverable = total > turn.core.receiver_max_packet(direction)
            || wants_payload && !whole && too_large_to_gather;
        if undeliverable {
            if let (false, Some(aliases)) = (tapped, turn.core.aliases(direction)) {
                aliases.unbind(&layout);
            }
            let next = self.refuse_publish(&layout, left, Outcome::TooLarge, turn)?;
            return Ok((next, len));
        }
        if !tapped && head.is_minimal() {
            turn.batch.published(layout.qos());
            self.begin_stream(left, true, None);
            return Ok((Next::Pass, len));
        }
        let frame = if head.is_minimal() {
            self.slice(buffer, at..at + len)
        } else {
            self.normalised(head, &bytes[..len])?
        };
        if !tapped {
            turn.batch.published(layout.qos());
            self.begin_stream(left, true, None);
            return Ok((Next::Replace(frame), len));
        }
        let layout = if head.is_minimal() {
            layout
        } else {
            relayout(&frame, turn.core, direction)?
        };
        let offered = Offered::publish(&frame, layout, left);
        let packet = Packet::new(
            Kind::Publish,
            version,
            direction,
            frame,
            Some(layout),
            topic,
        );
        let next = self.offer(packet, offered, turn)?;
        Ok((as_run(next, &buffer[at..at + len]), len))
    }

    /// Handles any whole packet but PUBLISH.
    fn control(
        &mut self,
        head: Head,
        buffer: &Bytes,
        at: usize,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        let direction = self.direction;
        let version = turn.core.version;
        let kind = head.kind();
        let range = at..at + head.total_len();
        let packet = &buffer[range.clone()];
        turn.batch.read(kind, packet.len());
        self.traffic.packets += 1;
        self.traffic.bytes += packet.len() as u64;
        // a broker that knows no MQTT 5.0 answers in the form of 3.1.1 (section 3.1.2.2)
        if kind == Kind::Connack && version.is_v5() && matches!(packet, [0x20, 2, 0, 1..=5]) {
            let code = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
            return Err(
                End::told(Side::Upstream, CloseReason::UpstreamRefused, code)
                    .with_detail("the broker does not speak MQTT 5.0"),
            );
        }
        let view = View::of_whole(head, version, direction, packet)
            .map_err(|error| End::malformed(direction, error))?;
        let mut request = (0, 0);
        let mut instead = None;
        match &view {
            View::Ack(ack) if kind == Kind::Pubrel => {
                let own = match direction {
                    Direction::ToServer => turn.core.ledger.release(ack.packet_id),
                    Direction::ToClient => turn.core.ledger.release_delivery(ack.packet_id),
                };
                if own {
                    let replies = turn.core.replies;
                    let id = ack.packet_id;
                    let answer = replies.ack(Kind::Pubcomp, id, ReasonCode::SUCCESS, None);
                    return Ok(self.answer_with(answer, 0, turn));
                }
            }
            View::Subscribe(subscribe) => {
                request = (subscribe.packet_id(), subscribe.len());
                turn.core.ledger.check_free(request.0)?;
            }
            View::Unsubscribe(unsubscribe) => {
                request = (unsubscribe.packet_id(), unsubscribe.len());
                turn.core.ledger.check_free(request.0)?;
            }
            View::Suback(suback) | View::Unsuback(suback) => {
                let asked = if kind == Kind::Suback {
                    Kind::Subscribe
                } else {
                    Kind::Unsubscribe
                };
                let has_codes = kind == Kind::Suback || version.is_v5();
                let id = suback.packet_id;
                match turn
                    .core
                    .ledger
                    .answer(asked, id, suback.codes, has_codes)?
                {
                    Answer::AsIs => {}
                    Answer::Unknown => return Ok(Next::Drop),
                    Answer::Codes(codes) => {
                        let properties = suback.properties.as_bytes();
                        let merged = if kind == Kind::Suback {
                            encode_suback(version, id, properties, &codes)
                        } else {
                            encode_unsuback(version, id, properties, &codes)
                        };
                        instead = Some(merged.map_err(internal)?);
                    }
                }
            }
            View::Disconnect(disconnect) if direction == Direction::ToServer => {
                turn.core.check_disconnect(disconnect)?;
            }
            View::Connack(connack) => {
                let tapped = turn.tapped_to_server;
                instead = turn.core.receive_connack(connack, tapped)?;
            }
            _ => {}
        }
        let lax = !head.is_minimal() || head.first_byte() & 0x08 != 0;
        if instead.is_none() && lax {
            instead = Some(self.normalised(head, packet)?);
        }
        if self.tap.kinds().contains(kind) {
            let frame = match &instead {
                Some(frame) => frame.clone(),
                None => self.slice(buffer, range.clone()),
            };
            let address = frame.as_ptr().addr();
            let offered = Offered {
                kind,
                address,
                len: frame.len(),
                publish: None,
                request,
                left: 0,
            };
            let packet = Packet::new(kind, version, direction, frame, None, None);
            let next = self.offer(packet, offered, turn)?;
            return Ok(as_run(next, &buffer[range]));
        }
        self.book(
            kind,
            instead.as_deref().unwrap_or(packet),
            request,
            None,
            turn,
        )?;
        Ok(instead.map_or(Next::Pass, Next::Replace))
    }

    /// Takes note of a packet other than PUBLISH that goes to its receiver.
    fn book(
        &mut self,
        kind: Kind,
        frame: &[u8],
        request: (u16, usize),
        parts: Option<&Parts>,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(), End> {
        match kind {
            Kind::Subscribe | Kind::Unsubscribe => {
                let entries = parts.and_then(|parts| parts.entries.as_deref());
                let forwarded = entries.map_or(request.1, |entries| {
                    entries
                        .iter()
                        .filter(|entry| entry.refused.is_none())
                        .count()
                });
                turn.core
                    .ledger
                    .request(kind, request.0, forwarded, entries)?;
            }
            Kind::Connack | Kind::Disconnect => {
                let version = turn.core.version;
                let view = View::parse(version, self.direction, frame)
                    .map_err(|error| End::malformed(self.direction, error))?;
                match view {
                    Some(View::Connack(connack)) => {
                        let reason = connack.reason(version);
                        turn.core.connack = Some(reason);
                        if !connack.is_success() {
                            let mut end = End::quiet(Side::Upstream, CloseReason::UpstreamRefused);
                            end.code = reason;
                            self.end = Some(Box::new(end));
                        }
                    }
                    Some(View::Disconnect(disconnect)) => {
                        self.end = Some(Box::new(self.disconnected(disconnect.reason)));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn disconnected(&self, reason: ReasonCode) -> End {
        let mut end = match (self.direction, reason) {
            (Direction::ToServer, ReasonCode::DISCONNECT_WITH_WILL) => {
                End::quiet(Side::Client, CloseReason::DisconnectWithWill)
            }
            (Direction::ToServer, _) => End::quiet(Side::Client, CloseReason::Disconnect),
            (Direction::ToClient, ReasonCode::SESSION_TAKEN_OVER) => {
                End::quiet(Side::Upstream, CloseReason::SessionTakenOver)
            }
            (Direction::ToClient, _) => End::quiet(Side::Upstream, CloseReason::UpstreamDisconnect),
        };
        end.code = reason;
        end
    }

    /// A frame for the hooks: a slice of the read buffer, or a copy where hooks are known to wait.
    fn slice(&self, buffer: &Bytes, range: Range<usize>) -> Bytes {
        if self.hook_waits {
            Bytes::copy_from_slice(&buffer[range])
        } else {
            buffer.slice(range)
        }
    }

    fn normalised(&self, head: Head, bytes: &[u8]) -> Result<Bytes, End> {
        normalise(head, bytes).map_err(internal)
    }

    /// Gives a packet to the hooks and settles their verdict if it is ready.
    fn offer(
        &mut self,
        packet: Packet,
        offered: Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        match self.ask(packet, &offered, turn)? {
            Poll::Ready(verdict) => self.settle(verdict, &offered, turn),
            Poll::Pending => Ok(Next::Pending),
        }
    }

    /// Asks the hooks about a packet, which stays with them if they do not answer at once.
    #[inline]
    fn ask(
        &mut self,
        packet: Packet,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Poll<Verdict>, End> {
        *turn.in_hook = true;
        match self.tap.poll_ready_for(packet.kind(), turn.task) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(hook_failed(error.into())),
            Poll::Pending => {
                *turn.in_hook = false;
                self.hook_waits = true;
                self.hook = Hook::Waiting(Box::new((packet, *offered)));
                return Ok(Poll::Pending);
            }
        }
        let slot = self.future.get_or_insert_with(|| Box::pin(None));
        slot.as_mut().set(Some(self.tap.service_mut().call(packet)));
        let polled = self.poll_future(turn.task);
        *turn.in_hook = false;
        match polled {
            Poll::Ready(verdict) => verdict.map(Poll::Ready),
            Poll::Pending => {
                self.hook_waits = true;
                self.hook = Hook::Running(Box::new(*offered));
                Ok(Poll::Pending)
            }
        }
    }

    #[inline]
    fn poll_future(&mut self, cx: &mut Context<'_>) -> Poll<Result<Verdict, End>> {
        let Some(slot) = &mut self.future else {
            return Poll::Ready(Err(End::hook("a hook lost its future")));
        };
        let Some(future) = slot.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(End::hook("a hook lost its future")));
        };
        let verdict = std::task::ready!(future.poll(cx));
        slot.as_mut().set(None);
        Poll::Ready(verdict.map_err(|error| hook_failed(error.into())))
    }

    /// Goes on with the packet that the hooks hold.
    fn resume(&mut self, turn: &mut Turn<'_, '_>) -> Result<Poll<()>, End> {
        let next = match std::mem::replace(&mut self.hook, Hook::Idle) {
            Hook::Idle => return Ok(Poll::Ready(())),
            Hook::Waiting(held) => {
                let (packet, offered) = *held;
                self.offer(packet, offered, turn)?
            }
            Hook::Running(offered) => {
                *turn.in_hook = true;
                let polled = self.poll_future(turn.task);
                *turn.in_hook = false;
                match polled {
                    Poll::Ready(verdict) => self.settle(verdict?, &offered, turn)?,
                    Poll::Pending => {
                        self.hook = Hook::Running(offered);
                        return Ok(Poll::Pending);
                    }
                }
            }
        };
        if self.is_hooked() {
            return Ok(Poll::Pending);
        }
        if let Next::Replace(frame) = next {
            self.out.push(&frame);
        }
        self.rescan = true;
        Ok(Poll::Ready(()))
    }

    /// Turns a verdict into bytes, answers and bookkeeping. A forwarded packet comes back as
    /// `Replace`, changed or not.
    fn settle(
        &mut self,
        verdict: Verdict,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        match verdict {
            Verdict::Forward(packet) => self.forward(packet, offered, turn),
            Verdict::Discard => self.refuse(offered, Outcome::Discarded, turn),
            Verdict::Refuse(refusal) => self.refuse(offered, Outcome::Refused(&refusal), turn),
            Verdict::Close(code) => Err(End::told(Side::Proxy, CloseReason::AclDenied, code)
                .with_detail("a hook closed the session")),
        }
    }

    fn forward(
        &mut self,
        packet: Packet,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        if packet.is_refused() {
            return self.refuse_filters(packet, offered, turn);
        }
        let mut parts = packet.into_parts();
        let unchanged =
            parts.frame.as_ptr().addr() == offered.address && parts.frame.len() == offered.len;
        if !unchanged {
            turn.batch.modified += 1;
        }
        let Some(layout) = parts.publish else {
            let request = (offered.request.0, offered.request.1);
            self.book(offered.kind, &parts.frame, request, Some(&parts), turn)?;
            return Ok(Next::Replace(parts.frame));
        };
        let (layout, told) = self.settle_alias(&mut parts, layout, turn)?;
        if layout.total_len() > turn.core.receiver_max_packet(self.direction) {
            return self.refuse_publish(&layout, offered.left, Outcome::TooLarge, turn);
        }
        // not before it is sure that the packet goes
        if let (Some(alias), Some(aliases)) = (told, turn.core.aliases(self.direction)) {
            aliases.tell(alias, layout.topic(&parts.frame));
        }
        turn.batch.published(layout.qos());
        self.begin_stream(offered.left, true, None);
        Ok(Next::Replace(parts.frame))
    }

    /// Makes sure that the receiver understands the topic alias of a PUBLISH as the sender meant
    /// it: an alias that it was not told stands for nothing, or for something else.
    ///
    /// Returns the alias that the packet, once it is sent, binds to its topic.
    fn settle_alias(
        &self,
        parts: &mut Parts,
        layout: PublishLayout,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(PublishLayout, Option<u16>), End> {
        let direction = self.direction;
        let version = turn.core.version;
        let (Some(alias), Some(aliases)) = (layout.topic_alias(), turn.core.aliases(direction))
        else {
            return Ok((layout, None));
        };
        if !layout.topic(&parts.frame).is_empty() {
            return Ok((layout, Some(alias)));
        }
        let Some(topic) = parts.topic.clone() else {
            return Ok((layout, None));
        };
        if aliases.is_told(alias, &topic) {
            return Ok((layout, None));
        }
        let topic = core::str::from_utf8(&topic).unwrap_or_default();
        let edit = PublishEdit::new().topic(topic);
        let frame = Publish::new(layout, &parts.frame)
            .edit(version, &edit)
            .map_err(internal)?;
        let layout = relayout(&frame, turn.core, direction)?;
        parts.frame = frame;
        Ok((layout, Some(alias)))
    }

    /// A packet that does not go to its receiver.
    fn refuse(
        &mut self,
        offered: &Offered,
        outcome: Outcome<'_>,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        if let Some(layout) = &offered.publish {
            return self.refuse_publish(layout, offered.left, outcome, turn);
        }
        self.denied(turn);
        match offered.kind {
            Kind::Subscribe | Kind::Unsubscribe => {
                let (id, count) = offered.request;
                let code = request_code(offered.kind, outcome.reason());
                let codes = vec![code; count];
                let answer = turn
                    .core
                    .replies
                    .request(offered.kind, id, &codes, outcome.text());
                Ok(self.answer_with(answer, 0, turn))
            }
            Kind::Connack => {
                // the client must not be left without an answer
                Err(
                    End::told(Side::Proxy, CloseReason::AuthDenied, outcome.reason())
                        .with_detail("a hook refused the broker's CONNACK"),
                )
            }
            _ => Ok(Next::Drop),
        }
    }

    /// A SUBSCRIBE or UNSUBSCRIBE of which every filter was refused is answered, not forwarded:
    /// an empty one must not exist [MQTT-3.8.3-2].
    fn refuse_filters(
        &mut self,
        packet: Packet,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        self.denied(turn);
        let entries = packet.into_parts().entries.unwrap_or_default();
        let codes: Vec<u8> = entries
            .iter()
            .filter(|entry| !entry.added)
            .filter_map(|entry| entry.refused)
            .map(|reason| request_code(offered.kind, reason))
            .collect();
        let answer = turn
            .core
            .replies
            .request(offered.kind, offered.request.0, &codes, None);
        Ok(self.answer_with(answer, 0, turn))
    }

    /// A PUBLISH that does not go to its receiver: its sender is answered as if it had, or told.
    fn refuse_publish(
        &mut self,
        layout: &PublishLayout,
        left: usize,
        outcome: Outcome<'_>,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        self.denied(turn);
        let replies = turn.core.replies;
        let Some(id) = layout.packet_id() else {
            return Ok(self.answer_with(None, left, turn));
        };
        let kind = if layout.qos() == QoS::AtLeastOnce {
            Kind::Puback
        } else {
            Kind::Pubrec
        };
        // A delivery is acknowledged, or the broker would wait for ever. Success, not a failure
        // code: of a shared subscription that would discard the message for all [MQTT-4.8.2-6].
        if self.direction == Direction::ToClient {
            if kind == Kind::Pubrec {
                turn.core.ledger.drop_delivery(id);
            }
            let answer = replies.ack(kind, id, ReasonCode::SUCCESS, None);
            return Ok(self.answer_with(answer, left, turn));
        }
        let tells = turn.core.version.is_v5() && outcome.is_told();
        if tells {
            let reason = outcome.reason();
            let reason = if reason.is_error() {
                reason
            } else {
                ReasonCode::NOT_AUTHORIZED
            };
            let answer = replies.ack(kind, id, reason, outcome.text());
            return Ok(self.answer_with(answer, left, turn));
        }
        let policy = turn.core.limits.refused_publish;
        if outcome.is_told() && policy == RefusedPublish::Disconnect {
            return Err(
                End::told(Side::Proxy, CloseReason::AclDenied, outcome.reason())
                    .with_detail("PUBLISH refused and the policy is to disconnect"),
            );
        }
        if kind == Kind::Pubrec {
            turn.core.ledger.answer_locally(id);
        }
        let answer = replies.ack(kind, id, ReasonCode::SUCCESS, None);
        Ok(self.answer_with(answer, left, turn))
    }

    fn denied(&mut self, turn: &mut Turn<'_, '_>) {
        turn.batch.denied += 1;
        self.traffic.denied += 1;
    }

    /// Answers the sender, after the rest of its payload has been thrown away.
    fn answer_with(&mut self, answer: Option<Bytes>, left: usize, turn: &mut Turn<'_, '_>) -> Next {
        if left > 0 {
            self.begin_stream(left, false, answer);
        } else if let Some(answer) = answer {
            reply(turn, &answer);
        }
        Next::Drop
    }

    fn begin_stream(&mut self, left: usize, forward: bool, answer: Option<Bytes>) {
        if left == 0 {
            return;
        }
        if forward {
            self.out.begin_packet();
        }
        self.stream = Some(Box::new(Stream {
            left,
            forward,
            answer,
        }));
    }
}

/// Why a packet does not go to its receiver.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Refused(&'a Refusal),
    Discarded,
    TooLarge,
}

impl Outcome<'_> {
    const fn reason(&self) -> ReasonCode {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Discarded => ReasonCode::NOT_AUTHORIZED,
            Self::TooLarge => ReasonCode::QUOTA_EXCEEDED,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.text.as_deref(),
            Self::Discarded => None,
            Self::TooLarge => Some("larger than the receiver's maximum packet size"),
        }
    }

    const fn is_told(&self) -> bool {
        !matches!(self, Self::Discarded)
    }
}

/// A packet that comes back as it was stays in the run.
fn as_run(next: Next, original: &[u8]) -> Next {
    match next {
        Next::Replace(frame)
            if frame.as_ptr() == original.as_ptr() && frame.len() == original.len() =>
        {
            Next::Pass
        }
        // hooks that wait get a copy: the same bytes may as well go from the run
        next => next,
    }
}

fn reply(turn: &mut Turn<'_, '_>, packet: &Bytes) {
    if let Some(kind) = packet
        .first()
        .and_then(|first| Kind::from_first_byte(*first))
    {
        turn.batch.inject(kind);
    }
    turn.reverse.push_reply(packet);
}

fn relayout(frame: &[u8], core: &Core, direction: Direction) -> Result<PublishLayout, End> {
    let malformed = |error| End::malformed(direction, error);
    let head = Head::parse(frame)
        .map_err(malformed)?
        .ok_or(DecodeError::Truncated);
    let head = head.map_err(malformed)?;
    PublishLayout::parse(head, core.version, direction, frame)
        .map_err(malformed)?
        .ok_or(DecodeError::Truncated)
        .map_err(malformed)
}

#[cold]
fn internal(error: mproxy_codec::EncodeError) -> End {
    End::told(
        Side::Proxy,
        CloseReason::Internal,
        ReasonCode::UNSPECIFIED_ERROR,
    )
    .with_detail(error.to_string())
}

#[cold]
fn hook_failed(error: BoxError) -> End {
    End::hook(format!("a hook failed: {error}"))
}
