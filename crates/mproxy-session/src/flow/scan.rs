//! Finds the packets in the bytes that were read and handles each: which bytes stay in the untouched
//! run, and where the run breaks.

use std::ops::Range;
use std::task::Poll;

use bytes::Bytes;
use mproxy_codec::{Direction, Head, Kind, PublishLayout};

use super::classify::Path;
use super::cx::{BYTES_A_UNIT, Events};
use super::inbox::Leftover;
use super::{Cx, Flow, Next};
use crate::cause::End;
use crate::hook::{PacketService, Verdict};

/// The result of a scan.
pub(super) struct Scan {
    /// The untouched run that is not queued yet. Everything before its end is consumed.
    pub(super) run: Range<usize>,
    /// Bytes at the front of the run that belong to a packet from an earlier run.
    pub(super) inside: usize,
    pub(super) leftover: Leftover,
}

impl<H: PacketService> Flow<H> {
    /// Finds packets in `buffer[..filled]` and decides on each. What came before a packet
    /// that ends the session is still forwarded, however the bytes were cut into reads.
    pub(super) fn scan(
        &mut self,
        buffer: &Bytes,
        filled: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scan, End> {
        let mut run = 0..0;
        let inside = self.payload.to_forward();
        let nothing_queued = self.out.is_empty();
        self.begin_scan();
        let outcome = self.scan_packets(buffer, filled, &mut run, cx);
        self.hooks_ran(cx);
        if let Some(memo) = self.tap.memo_mut() {
            memo.tell(std::mem::take(&mut cx.repeated));
        }
        if nothing_queued {
            self.out.begins_inside(inside);
        }
        if outcome.is_err() || !self.out.is_empty() {
            // keep the order: the run goes after the packets that they queued
            self.out.push(&buffer[run.clone()]);
            run.start = run.end;
        }
        if run.end > 0 {
            cx.events |= Events::PROGRESSED;
        }
        let leftover = outcome?;
        Ok(Scan {
            run,
            inside,
            leftover,
        })
    }

    /// Scans; `run` is the untouched run, which ends where the scan is.
    fn scan_packets(
        &mut self,
        buffer: &Bytes,
        filled: usize,
        run: &mut Range<usize>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Leftover, End> {
        while run.end < filled && !self.sender.is_done() {
            if self.asking.is_waiting() || cx.is_spent() {
                return Ok(Leftover::Unscanned);
            }
            if self.payload.is_passing() {
                self.payload.pass(&buffer[..filled], run, &mut self.out, cx);
                continue;
            }
            let Some((next, len)) = self.next_packet(buffer, filled, run, cx)? else {
                continue;
            };
            match next {
                Next::Pass => run.end += len,
                Next::Incomplete { judged } => return Ok(Leftover::Partial { judged }),
                Next::Blocked => {
                    cx.batch.stalls += 1;
                    return Ok(Leftover::Blocked);
                }
                Next::Replace(_) | Next::Drop | Next::Pending => {
                    self.out.push(&buffer[run.clone()]);
                    if let Next::Replace(frame) = next {
                        self.out.push(&frame);
                    }
                    run.end += len;
                    run.start = run.end;
                }
            }
            if let Some(answers) = self.due_answers(cx) {
                self.out.push(&buffer[run.clone()]);
                run.start = run.end;
                self.send_due(&answers, cx);
            }
        }
        // hooks hold the last packet: the packets behind it may already be here
        if self.asking.is_waiting() {
            return Ok(Leftover::Unscanned);
        }
        Ok(Leftover::Partial { judged: false })
    }

    /// Skips ordinary packets, which stay in the run, up to one that does not, and handles that one.
    /// `None` means that none is left, or that other connections must get their turn.
    #[inline(always)]
    fn next_packet(
        &mut self,
        buffer: &Bytes,
        filled: usize,
        run: &mut Range<usize>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Option<(Next, usize)>, End> {
        // ordinary packets never change the lane, so it is computed once
        let lane = self.lane(cx);
        let all = &buffer[..filled];
        while let Some(rest) = all.get(run.end..).filter(|rest| !rest.is_empty()) {
            if cx.is_spent() {
                break;
            }
            let settled = match self.classify(lane, rest, cx)? {
                Path::Run(packets) => {
                    if cx.latency.is_wanted() && self.direction == Direction::ToServer {
                        let version = cx.rules.version();
                        cx.latency.begin_run(rest, packets.len(), version);
                    }
                    cx.batch.read_run(&packets);
                    run.end += packets.len();
                    continue;
                }
                Path::Repeated(layout) => {
                    self.count_ordinary(&layout, cx)?;
                    cx.batch.published(layout.qos());
                    cx.repeated += 1;
                    run.end += layout.total_len();
                    continue;
                }
                Path::Ordinary(layout) => {
                    self.count_ordinary(&layout, cx)?;
                    let (len, at) = (layout.total_len(), run.end);
                    let Some(next) = self.ask_ordinary(layout, buffer, at, cx)? else {
                        run.end += len;
                        continue;
                    };
                    (next, len)
                }
                Path::Full(head) => self.full(head, buffer, run.end, filled, cx)?,
                Path::Incomplete => (Next::Incomplete { judged: false }, 0),
            };
            return Ok(Some(settled));
        }
        Ok(None)
    }

    #[inline]
    fn count_ordinary(&self, layout: &PublishLayout, cx: &mut Cx<'_, '_>) -> Result<(), End> {
        self.begin_flight(layout, cx)?;
        cx.batch.read(Kind::Publish, layout.total_len());
        Ok(())
    }

    /// Offers an ordinary PUBLISH to the hooks. `None` if it stays in the run, as most do: the hooks
    /// forwarded it unchanged.
    #[inline]
    fn ask_ordinary(
        &mut self,
        layout: PublishLayout,
        buffer: &Bytes,
        at: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Option<Next>, End> {
        let bytes = &buffer[at..at + layout.total_len()];
        cx.runs(Kind::Publish);
        let frame = self.frame(buffer, at..at + bytes.len());
        let (packet, offered) = self.publish_packet(frame, layout, 0, None, cx);
        Ok(
            match self.asking.ask(&mut self.tap, packet, &offered, cx)? {
                // hooks that wait get a copy: the same bytes are removed from the run
                Poll::Ready(Verdict::Forward(packet)) if offered.is_untouched(&packet) => {
                    cx.batch.published(layout.qos());
                    if let Some(memo) = self.tap.memo_mut() {
                        memo.remember(bytes[0], layout.topic(bytes));
                    }
                    None
                }
                Poll::Ready(verdict) => Some(self.apply(verdict, &offered, cx)?.or_pass(bytes)),
                Poll::Pending => Some(Next::Pending),
            },
        )
    }

    /// Handles a packet alone. Returns what to do with it and how many bytes it has.
    #[inline(never)] // or what is rare decides what is inlined on the path of ordinary packets
    fn full(
        &mut self,
        head: Head,
        buffer: &Bytes,
        at: usize,
        filled: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(Next, usize), End> {
        let (kind, total) = (head.kind(), head.total_len());
        if kind == Kind::Publish {
            return self.publish(head, buffer, at, filled, cx);
        }
        let is_request = matches!(kind, Kind::Subscribe | Kind::Unsubscribe);
        if is_request && cx.rules.exchanges.is_full() {
            return Ok((Next::Blocked, 0));
        }
        if filled - at < total {
            return Ok((Next::Incomplete { judged: false }, 0));
        }
        cx.worked(u32::try_from(total / BYTES_A_UNIT).unwrap_or(u32::MAX));
        Ok((self.control_packet(head, buffer, at, cx)?, total))
    }

    /// The proxy's own answers to requests that become due after the packet just handled.
    #[inline]
    fn due_answers(&self, cx: &mut Cx<'_, '_>) -> Option<Vec<Bytes>> {
        if self.direction == Direction::ToServer || self.asking.is_waiting() {
            return None;
        }
        cx.rules.exchanges.take_due()
    }

    /// Queues them for the client, the receiver of this direction.
    #[cold]
    fn send_due(&mut self, answers: &[Bytes], cx: &mut Cx<'_, '_>) {
        for answer in answers {
            cx.batch.inject_packet(answer);
            self.out.push(answer);
        }
    }

    /// The same after a packet that hooks have held.
    pub(super) fn follow_up(&mut self, cx: &mut Cx<'_, '_>) {
        if let Some(answers) = self.due_answers(cx) {
            self.send_due(&answers, cx);
        }
    }
}
