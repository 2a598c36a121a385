//! Finds the packets in what was read and decides on each: which bytes stay in the untouched run,
//! and where it breaks.

use std::ops::Range;
use std::task::Poll;

use bytes::Bytes;
use mproxy_codec::{
    DecodeError, Direction, Head, Kind, PublishLayout, PublishRun, QoS, Version, tolerance,
};

use super::asking::{Offered, as_run};
use super::cx::{BYTES_A_UNIT, PACKET};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, End};
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scan, End> {
        let mut scan = Scan {
            run: 0..0,
            inside: self.to_forward(),
            consumed: 0,
        };
        let nothing_queued = self.out.is_empty();
        self.judged = false;
        let outcome = self.scan_packets(buffer, filled, &mut scan.run, cx);
        self.hooks_ran(cx);
        if nothing_queued {
            self.out.begins_inside(scan.inside);
        }
        if self.is_asking() || self.blocked {
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        let Range {
            start: run,
            end: at,
        } = span;
        while *at < filled && self.end.is_none() && !self.is_asking() {
            if cx.is_spent() {
                self.rescan = true;
                break;
            }
            if self.payload.is_some() {
                let from = *at;
                *at += self.skip_payload(filled - *at, cx);
                self.end_stream(buffer, run, from, *at, cx);
                continue;
            }
            let (next, consumed) = match self.ordinary(buffer, at, filled, cx)? {
                Some(settled) => settled,
                None if *at == filled => break,
                None if cx.is_spent() => continue,
                None => self.packet(buffer, *at, filled, cx)?,
            };
            match next {
                Next::Pass => *at += consumed,
                Next::Incomplete => break,
                Next::Blocked => {
                    self.blocked = true;
                    cx.batch.stalls += 1;
                    break;
                }
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
            if let Some(answers) = self.due_answers(cx) {
                self.out.push(&buffer[*run..*at]);
                *run = *at;
                self.send_due(&answers, cx);
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<(Next, usize), End> {
        let direction = self.direction;
        let version = cx.rules.version();
        let bytes = &buffer[at..filled];
        let first = if cx.rules.is_strict() {
            bytes[0]
        } else {
            tolerance::first_byte(bytes[0], version)
        };
        let malformed = |error| Cause::malformed(direction, Kind::from_first_byte(first), error);
        let kind = match Head::check_first_byte(first, version, direction) {
            Ok(kind) => kind,
            Err(error) => return Err(cx.rules.not_connack(direction, bytes, malformed(error))),
        };
        if let Err(end) = cx.rules.check_phase(direction, kind) {
            return Err(cx.rules.not_connack(direction, bytes, end));
        }
        let Some(head) = Head::parse(bytes).map_err(malformed)? else {
            return Ok((Next::Incomplete, 0));
        };
        let head = head.with_first_byte(first);
        if version.is_v5() && !head.is_minimal() {
            return Err(malformed(DecodeError::NotMinimal));
        }
        let total = head.total_len();
        cx.worked(PACKET);
        cx.rules.check_size(direction, kind, total)?;
        let is_request = matches!(kind, Kind::Subscribe | Kind::Unsubscribe);
        if kind == Kind::Publish {
            self.publish(head, buffer, at, filled, cx)
        } else if is_request && cx.rules.exchanges.is_full() {
            Ok((Next::Blocked, 0))
        } else if bytes.len() < total {
            Ok((Next::Incomplete, 0))
        } else {
            cx.worked(u32::try_from(total / BYTES_A_UNIT).unwrap_or(u32::MAX));
            Ok((self.control(head, buffer, at, cx)?, total))
        }
    }

    /// The proxy's own answers to requests that may follow what was just handled.
    #[inline]
    fn due_answers(&self, cx: &mut Cx<'_, '_>) -> Option<Vec<Bytes>> {
        if self.direction == Direction::ToServer || self.is_asking() {
            return None;
        }
        cx.rules.exchanges.take_due()
    }

    /// Queues them for the client, to which this direction leads.
    #[cold]
    fn send_due(&mut self, answers: &[Bytes], cx: &mut Cx<'_, '_>) {
        for answer in answers {
            cx.batch.inject_packet(answer);
            self.out.push(answer);
        }
    }

    /// The same behind a packet that hooks have held.
    pub(super) fn follow_up(&mut self, cx: &mut Cx<'_, '_>) {
        if let Some(answers) = self.due_answers(cx) {
            self.send_due(&answers, cx);
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<Option<(Next, usize)>, End> {
        let rules = &*cx.rules;
        if !rules.is_established() || rules.exchanges.answers_locally() {
            return Ok(None);
        }
        // what waited may have grown older
        if cx.queued_since.is_some() && rules.version().is_v5() {
            return Ok(None);
        }
        let max_packet = rules
            .untouched_max_packet(self.direction)
            .min(rules.sender_max_packet(self.direction));
        let version = rules.version();
        if self.tap.kinds().contains(Kind::Publish) {
            return self.offer_ordinary(buffer, at, filled, (version, max_packet), cx);
        }
        if rules.counts_flights() && self.direction == Direction::ToServer {
            return Ok(None); // one by one, up to the one too many
        }
        let run = PublishRun::scan(&buffer[*at..filled], version, max_packet);
        if cx.rules.latency.is_wanted()
            && self.direction == Direction::ToServer
            && run.of_qos(QoS::AtLeastOnce) > 0
        {
            cx.rules.latency.begin_run(&buffer[*at..filled], version);
        }
        cx.batch.read_run(&run);
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<Option<(Next, usize)>, End> {
        let mut repeated = 0;
        cx.runs(Kind::Publish);
        let outcome = loop {
            if cx.is_spent() {
                break Ok(None);
            }
            let bytes = &buffer[*at..filled];
            let Some(layout) = PublishLayout::ordinary(bytes, version) else {
                break Ok(None);
            };
            let len = layout.total_len();
            if len > max_packet {
                break Ok(None);
            }
            if let Err(end) = cx.rules.begin_flight(self.direction, &layout) {
                break Err(end);
            }
            cx.batch.read(Kind::Publish, len);
            let memo = self.tap.memo_mut();
            if memo.is_some_and(|memo| memo.knows(bytes[0], layout.topic(bytes))) {
                cx.batch.published(layout.qos());
                repeated += 1;
                *at += len;
                continue;
            }
            if cx.rules.limits.is_too_deep(layout.topic(bytes)) {
                break Ok(None); // to where it is refused
            }
            let frame = self.slice(buffer, *at..*at + len);
            let offered = Offered::publish(self.direction, &frame, layout, 0);
            let packet = Packet::new(
                Kind::Publish,
                version,
                self.direction,
                frame,
                Some(layout),
                None,
            );
            let verdict = match self.ask(packet, &offered, cx) {
                Ok(verdict) => verdict,
                Err(end) => break Err(end),
            };
            match verdict {
                // hooks that wait get a copy: the same bytes go from the run
                Poll::Ready(Verdict::Forward(packet))
                    if packet.is_untouched(offered.address, len) =>
                {
                    cx.batch.published(layout.qos());
                    if let Some(memo) = self.tap.memo_mut() {
                        memo.remember(bytes[0], layout.topic(bytes));
                    }
                    *at += len;
                }
                Poll::Ready(verdict) => {
                    let next = self.settle(verdict, &offered, cx);
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
