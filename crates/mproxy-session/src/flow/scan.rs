//! Finds the packets in what was read and decides on each: which bytes stay in the untouched run,
//! and where it breaks.

use std::ops::Range;
use std::task::Poll;

use bytes::Bytes;
use mproxy_codec::{DecodeError, Direction, Head, Kind, PublishLayout, PublishRun, QoS, Version};

use super::offer::{Offered, as_run};
use super::{Flow, Next, Turn};
use crate::error::End;
use crate::hook::{Packet, PacketService, Verdict};

/// What a scan left: the untouched run that is not queued yet, and how far it came.
pub(super) struct Scan {
    pub(super) run: Range<usize>,
    /// Bytes at the front of the run that belong to a packet which was begun in an earlier one.
    pub(super) inside: usize,
    pub(super) consumed: usize,
}

impl<H: PacketService> Flow<H> {
    /// Finds packets in `buffer[..filled]` and decides on each. What stood in front of a packet
    /// that ends the session is still forwarded, however the bytes were cut into reads.
    pub(super) fn scan(
        &mut self,
        buffer: &Bytes,
        filled: usize,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Scan, End> {
        let mut scan = Scan {
            run: 0..0,
            inside: self.to_forward(),
            consumed: 0,
        };
        let nothing_queued = self.out.is_empty();
        self.judged = false;
        let outcome = self.scan_packets(buffer, filled, &mut scan.run, turn);
        if nothing_queued {
            self.out.begins_inside(scan.inside);
        }
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
        let version = turn.core.version();
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
        if total > turn.core.sender_max_packet(direction) && !may_be_larger {
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
        // what waited may have grown older
        if turn.behind.is_some() && core.version().is_v5() {
            return Ok(None);
        }
        let own_limit = match self.direction {
            Direction::ToServer => core.sender_max_packet(Direction::ToServer),
            Direction::ToClient => usize::MAX,
        };
        let max_packet = core.untouched_max_packet(self.direction).min(own_limit);
        let version = core.version();
        if self.tap.kinds().contains(Kind::Publish) {
            return self.offer_ordinary(buffer, at, filled, (version, max_packet), turn);
        }
        let run = PublishRun::scan(&buffer[*at..filled], version, max_packet);
        let answered = run.of_qos(QoS::AtLeastOnce) + run.of_qos(QoS::ExactlyOnce);
        if self.direction == Direction::ToServer && !turn.core.begin_flights(answered) {
            return Ok(None); // one by one, up to the one too many
        }
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
            if let Err(end) = turn.core.begin_flight(self.direction, layout.qos()) {
                break Err(end);
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
}
