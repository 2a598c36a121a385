//! Packets and the hooks: a packet is offered, waited for if need be, and its verdict settled.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, PublishLayout, QoS, ReasonCode, Version};
use tokio::time::Instant;

use super::cx::ASKED;
use super::refuse::Outcome;
use super::{Cx, Flow, Next, Wait};
use crate::BoxError;
use crate::cause::{Cause, Denial, End};
use crate::error::packet_name;
use crate::hook::{Packet, PacketService, Refusal, Verdict};
use crate::scratch::{self, FutureBox};

/// A packet that is with the hooks, which have not decided.
pub(super) struct Asked<F> {
    offered: Offered,
    /// When they were first asked, or since when the packet waited to be shown to them.
    pub(super) since: Instant,
    at: At<F>,
}

impl fmt::Display for Offered {
    /// Names the packet for a line of the log: `PUBLISH 7 of the client`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = packet_name(self.kind);
        write!(
            f,
            "{}{}",
            named(&name, self.packet_id()),
            of(self.direction)
        )
    }
}

/// A packet type and, if there is one, the packet identifier.
fn named(name: &str, id: Option<u16>) -> String {
    id.map_or_else(|| name.to_owned(), |id| format!("{name} {id}"))
}

const fn of(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => " of the client",
        Direction::ToClient => " of the broker",
    }
}

impl<F> Asked<F> {
    /// Bytes of the packet.
    pub(super) const fn size(&self) -> usize {
        self.offered.len
    }

    /// What the direction waits for.
    pub(super) const fn waits_for(&self) -> Wait {
        match self.at {
            At::Waiting(_) => Wait::Permit,
            At::Running(_) => Wait::Hook,
        }
    }
}

enum At<F> {
    /// The service was not ready.
    Waiting(Packet),
    Running(FutureBox<F>),
}

/// What must be known of an offered packet when its verdict comes.
#[derive(Clone)]
pub(super) struct Offered {
    pub(super) kind: Kind,
    direction: Direction,
    /// Where the frame was and how long: the same afterwards means unchanged.
    pub(super) address: usize,
    pub(super) len: usize,
    pub(super) publish: Option<PublishLayout>,
    /// Packet identifier, 0 if there is none, and number of filters of a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) request: (u16, usize),
    /// Payload bytes that are still to come.
    pub(super) left: usize,
    /// The frame of a packet that goes to its receiver whatever the hooks say.
    pub(super) kept: Option<Bytes>,
}

impl Offered {
    pub(super) fn publish(
        direction: Direction,
        frame: &Bytes,
        layout: PublishLayout,
        left: usize,
    ) -> Self {
        Self {
            kind: Kind::Publish,
            direction,
            address: frame.as_ptr().addr(),
            len: frame.len(),
            publish: Some(layout),
            request: (0, 0),
            left,
            kept: None,
        }
    }

    /// Any other packet.
    pub(super) fn other(
        direction: Direction,
        kind: Kind,
        frame: &Bytes,
        request: (u16, usize),
    ) -> Self {
        let is_answered = matches!(
            kind,
            Kind::Subscribe | Kind::Unsubscribe | Kind::Connack | Kind::Auth
        );
        Self {
            kind,
            direction,
            address: frame.as_ptr().addr(),
            len: frame.len(),
            publish: None,
            request,
            left: 0,
            kept: (!is_answered).then(|| frame.clone()),
        }
    }

    /// The packet identifier.
    fn packet_id(&self) -> Option<u16> {
        match &self.publish {
            Some(layout) => layout.packet_id(),
            None => Some(self.request.0).filter(|id| *id > 0),
        }
    }

    /// Makes sure that what hooks forward is what they were offered, changed or not: its sender waits
    /// for the answer to this packet, and its receiver must not get another.
    fn check(&self, packet: &Packet, version: Version) -> Result<(), End> {
        let id = packet.packet_id();
        // a hook may make a PUBLISH one of QoS 0
        let is_lowered = self.publish.is_some() && id.is_none();
        let is_same = packet.kind() == self.kind && (id == self.packet_id() || is_lowered);
        let difference = if packet.is_will() {
            ", a will,".to_owned()
        } else if packet.direction() != self.direction {
            of(packet.direction()).to_owned()
        } else if packet.version() != version {
            format!(" of MQTT {}", packet.version())
        } else if !is_same {
            String::new()
        } else if packet.asked() != self.request.1 {
            " with another number of filters".to_owned()
        } else {
            let (Some(layout), Some(publish)) = (&self.publish, packet.publish()) else {
                return Ok(());
            };
            let qos = publish.qos();
            if qos != layout.qos() && qos != QoS::AtMostOnce {
                " with another QoS".to_owned()
            } else if publish.topic_bytes().is_empty() {
                " without a topic name".to_owned()
            } else if !publish.is_followed_by(self.left) {
                // what is on its way follows this head
                " with another payload".to_owned()
            } else {
                return Ok(());
            }
        };
        let forwarded = named(&packet_name(packet.kind()), id);
        Err(Cause::hook(format!(
            "a hook forwarded {forwarded}{difference} in place of {self}"
        )))
    }

    /// True for the frame that was offered, as it was.
    fn is(&self, frame: &[u8]) -> bool {
        frame.as_ptr().addr() == self.address && frame.len() == self.len
    }
}

impl<H: PacketService> Flow<H> {
    /// A frame for the hooks: a slice of the read buffer, or a copy where hooks are known to wait.
    pub(super) fn slice(&self, buffer: &Bytes, range: Range<usize>) -> Bytes {
        if self.hooks_wait {
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        cx.runs(offered.kind);
        match self.ask(packet, &offered, cx)? {
            Poll::Ready(verdict) => match cx.queued_since {
                Some(since) => self.settle_aged(verdict, since, &offered, cx),
                None => self.settle(verdict, &offered, cx),
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
        cx: &mut Cx<'_, '_>,
    ) -> Result<Poll<Verdict>, End> {
        cx.worked(ASKED);
        let tap = &mut self.tap;
        match guarded(offered, || tap.poll_ready_for(packet.kind(), cx.task))? {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return failed(offered, error.into()).map(Poll::Ready),
            Poll::Pending => {
                self.park(offered.clone(), At::Waiting(packet), cx);
                return Ok(Poll::Pending);
            }
        }
        let mut shelf = scratch::take_shelf();
        let mut slot = shelf.take().unwrap_or_else(|| Box::pin(None));
        let polled = guarded(offered, || {
            slot.as_mut().set(Some(tap.service_mut().call(packet)));
            poll_slot(&mut slot, offered, cx.task)
        });
        let verdict = match polled? {
            Poll::Ready(verdict) => {
                *shelf = Some(slot);
                verdict.map(Poll::Ready)
            }
            Poll::Pending => {
                self.park(offered.clone(), At::Running(slot), cx);
                Ok(Poll::Pending)
            }
        };
        scratch::give_shelf(shelf);
        verdict
    }

    #[cold]
    fn park(&mut self, offered: Offered, at: At<H::Future>, cx: &Cx<'_, '_>) {
        self.hooks_wait = true;
        self.asked = Some(Box::new(Asked {
            offered,
            since: cx.queued_since.unwrap_or_else(Instant::now),
            at,
        }));
    }

    /// Goes on with the packet that the hooks hold.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_, '_>) -> Result<Poll<()>, End> {
        let Some(mut asked) = self.asked.take() else {
            return Ok(Poll::Ready(()));
        };
        let (offered, since) = (asked.offered.clone(), asked.since);
        cx.runs(offered.kind);
        let polled = match asked.at {
            At::Waiting(packet) => self.ask(packet, &offered, cx)?,
            At::Running(mut slot) => {
                match guarded(&offered, || poll_slot(&mut slot, &offered, cx.task))? {
                    Poll::Ready(verdict) => Poll::Ready(verdict?),
                    Poll::Pending => {
                        asked.at = At::Running(slot);
                        self.asked = Some(asked);
                        Poll::Pending
                    }
                }
            }
        };
        let Poll::Ready(verdict) = polled else {
            if let Some(asked) = &mut self.asked {
                asked.since = since;
            }
            return Ok(Poll::Pending);
        };
        if let Next::Replace(frame) = self.settle_aged(verdict, since, &offered, cx)? {
            self.out.push(&frame);
        }
        self.follow_up(cx);
        self.rescan = true;
        Ok(Poll::Ready(()))
    }

    /// Turns a verdict into bytes, answers and bookkeeping. A forwarded packet comes back as
    /// `Replace`, changed or not.
    pub(super) fn settle(
        &mut self,
        verdict: Verdict,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        match verdict {
            Verdict::Forward(packet) => self.forward(packet, offered, cx),
            Verdict::Discard => self.refuse(offered, Outcome::Discarded, cx),
            Verdict::Refuse(refusal) => self.refuse(offered, Outcome::Refused(&refusal), cx),
            Verdict::Close(code) => {
                cx.denied();
                Err(Cause::denied(Denial::Session, code))
            }
        }
    }

    fn forward(
        &mut self,
        packet: Packet,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        if packet.is_refused() {
            return Self::refuse_filters(packet, offered, cx);
        }
        let unchanged = packet.is_untouched(offered.address, offered.len);
        let version = cx.rules.version();
        if !unchanged || packet.version() != version {
            offered.check(&packet, version)?;
            cx.batch.modified += 1;
        }
        let mut parts = packet.into_parts();
        let Some(layout) = parts.publish else {
            let is_request = matches!(offered.kind, Kind::Subscribe | Kind::Unsubscribe);
            let maximum = cx.rules.receiver_max_packet(self.direction);
            if is_request && !unchanged && parts.frame.len() > maximum {
                return self.refuse(offered, Outcome::TooLarge, cx);
            }
            let request = (offered.request.0, offered.request.1);
            self.book(offered.kind, &parts.frame, request, Some(&parts), cx)?;
            return Ok(Next::Replace(parts.frame));
        };
        let (layout, told) = self.settle_alias(&mut parts, layout, cx)?;
        let maximum = if offered.is(&parts.frame) {
            cx.rules.untouched_max_packet(self.direction)
        } else {
            cx.rules.receiver_max_packet(self.direction)
        };
        if layout.total_len() > maximum {
            return self.refuse_publish(&layout, offered.left, Outcome::TooLarge, cx);
        }
        // not before it is sure that the packet goes
        if let (Some(alias), Some(aliases)) = (told, cx.rules.aliases(self.direction)) {
            aliases.tell(alias, layout.topic(&parts.frame));
        }
        cx.batch.published(layout.qos());
        let answer = match offered.publish {
            Some(asked) if asked.qos() != layout.qos() => self.answer_lowered(&asked, cx),
            _ => None,
        };
        match answer {
            Some(answer) if offered.left == 0 => cx.reply(&answer),
            answer => self.begin_stream(offered.left, true, answer),
        }
        Ok(Next::Replace(parts.frame))
    }

    /// The answer to the sender of a PUBLISH that a hook made QoS 0: its receiver will not answer.
    fn answer_lowered(&self, asked: &PublishLayout, cx: &mut Cx<'_, '_>) -> Option<Bytes> {
        let id = asked.packet_id()?;
        let rules = &mut *cx.rules;
        let kind = match (asked.qos(), self.direction) {
            (QoS::ExactlyOnce, Direction::ToServer) => {
                rules.exchanges.answer_locally(id);
                Kind::Pubrec
            }
            (QoS::ExactlyOnce, Direction::ToClient) => {
                rules.exchanges.drop_delivery(id);
                Kind::Pubrec
            }
            (_, Direction::ToServer) => {
                rules.end_flight(id);
                Kind::Puback
            }
            (_, Direction::ToClient) => Kind::Puback,
        };
        rules.replies.ack(kind, id, ReasonCode::SUCCESS, None)
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

fn poll_slot<F, E>(
    slot: &mut FutureBox<F>,
    offered: &Offered,
    task: &mut Context<'_>,
) -> Poll<Result<Verdict, End>>
where
    F: Future<Output = Result<Verdict, E>>,
    E: Into<BoxError>,
{
    let Some(future) = slot.as_mut().as_pin_mut() else {
        return Poll::Ready(Err(Cause::hook("a hook lost its future")));
    };
    let verdict = std::task::ready!(future.poll(task));
    slot.as_mut().set(None);
    Poll::Ready(verdict.or_else(|error| failed(offered, error.into())))
}

/// Runs what a hook does. If that panics the session ends as for any packet that may not pass: what
/// stood before it in the same read goes on.
fn guarded<T>(offered: &Offered, run: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Cause::panic(offered, &*panic))
}

/// What a hook that failed decided: an error that is a refusal is one.
#[cold]
fn failed(offered: &Offered, error: BoxError) -> Result<Verdict, End> {
    let refusal = Refusal::in_error(&*error).map(Verdict::Refuse);
    refusal.ok_or_else(|| Cause::hook_failed(format_args!("a hook failed over {offered}"), error))
}
