//! Packets and the hooks: a packet is offered, waited for if need be, and its verdict settled.

use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, PublishLayout, QoS, ReasonCode};
use tokio::time::Instant;

use super::refuse::{Outcome, reply};
use super::{Flow, Next, Turn};
use crate::BoxError;
use crate::error::End;
use crate::hook::{Packet, PacketService, Verdict};
use crate::scratch::{self, FutureBox};
use crate::summary::{CloseReason, Side};

/// A packet that is with the hooks, which have not decided.
pub(super) struct Hooked<F> {
    offered: Offered,
    /// When they were first asked, or since when the packet waited to be shown to them.
    pub(super) since: Instant,
    at: At<F>,
}

enum At<F> {
    /// The service was not ready.
    Waiting(Packet),
    Running(FutureBox<F>),
}

/// What must be known of an offered packet when its verdict comes.
#[derive(Clone, Copy)]
pub(super) struct Offered {
    pub(super) kind: Kind,
    /// Where the frame was and how long: the same afterwards means unchanged.
    pub(super) address: usize,
    pub(super) len: usize,
    pub(super) publish: Option<PublishLayout>,
    /// Packet identifier and number of filters of a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) request: (u16, usize),
    /// Payload bytes that are still to come.
    pub(super) left: usize,
}

impl Offered {
    pub(super) fn publish(frame: &Bytes, layout: PublishLayout, left: usize) -> Self {
        Self {
            kind: Kind::Publish,
            address: frame.as_ptr().addr(),
            len: frame.len(),
            publish: Some(layout),
            request: (0, 0),
            left,
        }
    }

    /// True for the frame that was offered, as it was.
    fn is(&self, frame: &[u8]) -> bool {
        frame.as_ptr().addr() == self.address && frame.len() == self.len
    }
}

impl<H: PacketService> Flow<H> {
    /// A frame for the hooks: a slice of the read buffer, or a copy where hooks are known to wait.
    pub(super) fn slice(&self, buffer: &Bytes, range: Range<usize>) -> Bytes {
        if self.hook_waits {
            Bytes::copy_from_slice(&buffer[range])
        } else {
            buffer.slice(range)
        }
    }

    /// Gives a packet to the hooks and settles their verdict if it is ready.
    pub(super) fn offer(
        &mut self,
        packet: Packet,
        offered: Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        match self.ask(packet, &offered, turn)? {
            Poll::Ready(verdict) => match turn.behind {
                Some(since) => self.settle_aged(verdict, since, &offered, turn),
                None => self.settle(verdict, &offered, turn),
            },
            Poll::Pending => Ok(Next::Pending),
        }
    }

    /// Asks the hooks about a packet, which stays with them if they do not answer at once.
    #[inline]
    pub(super) fn ask(
        &mut self,
        packet: Packet,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Poll<Verdict>, End> {
        let tap = &mut self.tap;
        match guarded(|| tap.poll_ready_for(packet.kind(), turn.task))? {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(hook_failed(error.into())),
            Poll::Pending => {
                self.hold(*offered, At::Waiting(packet), turn);
                return Ok(Poll::Pending);
            }
        }
        let mut shelf = scratch::take_shelf();
        let mut slot = shelf.take().unwrap_or_else(|| Box::pin(None));
        let polled = guarded(|| {
            slot.as_mut().set(Some(tap.service_mut().call(packet)));
            poll_slot(&mut slot, turn.task)
        });
        let verdict = match polled? {
            Poll::Ready(verdict) => {
                *shelf = Some(slot);
                verdict.map(Poll::Ready)
            }
            Poll::Pending => {
                self.hold(*offered, At::Running(slot), turn);
                Ok(Poll::Pending)
            }
        };
        scratch::give_shelf(shelf);
        verdict
    }

    #[cold]
    fn hold(&mut self, offered: Offered, at: At<H::Future>, turn: &Turn<'_, '_>) {
        self.hook_waits = true;
        self.hook = Some(Box::new(Hooked {
            offered,
            since: turn.behind.unwrap_or_else(Instant::now),
            at,
        }));
    }

    /// Goes on with the packet that the hooks hold.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_, '_>) -> Result<Poll<()>, End> {
        let Some(mut hooked) = self.hook.take() else {
            return Ok(Poll::Ready(()));
        };
        let (offered, since) = (hooked.offered, hooked.since);
        let polled = match hooked.at {
            At::Waiting(packet) => self.ask(packet, &offered, turn)?,
            At::Running(mut slot) => match guarded(|| poll_slot(&mut slot, turn.task))? {
                Poll::Ready(verdict) => Poll::Ready(verdict?),
                Poll::Pending => {
                    hooked.at = At::Running(slot);
                    self.hook = Some(hooked);
                    Poll::Pending
                }
            },
        };
        let Poll::Ready(verdict) = polled else {
            if let Some(hooked) = &mut self.hook {
                hooked.since = since;
            }
            return Ok(Poll::Pending);
        };
        if let Next::Replace(frame) = self.settle_aged(verdict, since, &offered, turn)? {
            self.out.push(&frame);
        }
        self.follow_up(turn);
        self.rescan = true;
        Ok(Poll::Ready(()))
    }

    /// Turns a verdict into bytes, answers and bookkeeping. A forwarded packet comes back as
    /// `Replace`, changed or not.
    pub(super) fn settle(
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
        let unchanged = offered.is(&parts.frame);
        if !unchanged {
            turn.batch.modified += 1;
        }
        let Some(layout) = parts.publish else {
            let is_request = matches!(offered.kind, Kind::Subscribe | Kind::Unsubscribe);
            let maximum = turn.core.receiver_max_packet(self.direction);
            if is_request && !unchanged && parts.frame.len() > maximum {
                return self.refuse(offered, Outcome::TooLarge, turn);
            }
            let request = (offered.request.0, offered.request.1);
            self.book(offered.kind, &parts.frame, request, Some(&parts), turn)?;
            return Ok(Next::Replace(parts.frame));
        };
        let (layout, told) = self.settle_alias(&mut parts, layout, turn)?;
        let maximum = if offered.is(&parts.frame) {
            turn.core.untouched_max_packet(self.direction)
        } else {
            turn.core.receiver_max_packet(self.direction)
        };
        if layout.total_len() > maximum {
            return self.refuse_publish(&layout, offered.left, Outcome::TooLarge, turn);
        }
        // not before it is sure that the packet goes
        if let (Some(alias), Some(aliases)) = (told, turn.core.aliases(self.direction)) {
            aliases.tell(alias, layout.topic(&parts.frame));
        }
        turn.batch.published(layout.qos());
        let answer = match offered.publish {
            Some(asked) if asked.qos() != layout.qos() => self.answer_lowered(&asked, turn),
            _ => None,
        };
        match answer {
            Some(answer) if offered.left == 0 => reply(turn, &answer),
            answer => self.begin_stream(offered.left, true, answer),
        }
        Ok(Next::Replace(parts.frame))
    }

    /// The answer to the sender of a PUBLISH that a hook made QoS 0: its receiver will not answer.
    fn answer_lowered(&self, asked: &PublishLayout, turn: &mut Turn<'_, '_>) -> Option<Bytes> {
        let id = asked.packet_id()?;
        let core = &mut *turn.core;
        let kind = match (asked.qos(), self.direction) {
            (QoS::ExactlyOnce, Direction::ToServer) => {
                core.ledger.answer_locally(id);
                Kind::Pubrec
            }
            (QoS::ExactlyOnce, Direction::ToClient) => {
                core.ledger.drop_delivery(id);
                Kind::Pubrec
            }
            (_, Direction::ToServer) => {
                core.end_flight(id);
                Kind::Puback
            }
            (_, Direction::ToClient) => Kind::Puback,
        };
        core.replies.ack(kind, id, ReasonCode::SUCCESS, None)
    }
}

/// A packet that comes back as it was stays in the run.
pub(super) fn as_run(next: Next, original: &[u8]) -> Next {
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

fn poll_slot<F, E>(slot: &mut FutureBox<F>, cx: &mut Context<'_>) -> Poll<Result<Verdict, End>>
where
    F: Future<Output = Result<Verdict, E>>,
    E: Into<BoxError>,
{
    let Some(future) = slot.as_mut().as_pin_mut() else {
        return Poll::Ready(Err(End::hook("a hook lost its future")));
    };
    let verdict = std::task::ready!(future.poll(cx));
    slot.as_mut().set(None);
    Poll::Ready(verdict.map_err(|error| hook_failed(error.into())))
}

/// Runs what a hook does. If that panics the session ends as for any packet that may not pass: what
/// stood before it in the same read goes on.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| End::hook("a hook panicked").panicked())
}

#[cold]
fn hook_failed(error: BoxError) -> End {
    End::hook(format!("a hook failed: {error}"))
}
