//! Both directions of a session in one task.

mod allowance;
mod busy;
mod deadlines;
mod end;
mod moment;
mod pace;
mod slow;

use std::net::{IpAddr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mproxy_codec::{Direction, Kind, ReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::allowance::Allowance;
use self::busy::{Busy, Share};
use self::deadlines::{Activity, Deadline, Deadlines, Facts, silence};
use self::pace::{Throttle, Throttles};
use crate::cause::{Cause, End};
use crate::flow::{Cx, Events, Flow, Heard, Intake, WORK, Wait};
use crate::handle::{Running, When};
use crate::hook::{PacketService, Tap};
use crate::latency::Latency;
use crate::recorder::{Batch, Recorder};
use crate::rules::{HookTraits, Rules};

/// A connection to a side.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Why a pipe stops.
pub(crate) enum Stop {
    /// The session ends.
    End(End),
    /// The session must be judged again: it is at a packet border, and no packet is with the hooks.
    Renewal,
}

/// The pipe between an admitted client and its broker.
pub(crate) struct Pipe<C, S, U: PacketService, D: PacketService> {
    pub(crate) client: C,
    pub(crate) broker: S,
    pub(crate) to_server: Flow<U>,
    pub(crate) to_client: Flow<D>,
    pub(crate) rules: Rules,
    latency: Latency,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) handle: Running,
    /// The waker that the handle has.
    registered: usize,
    /// Bytes that the session and its hooks keep for its whole life: names, the upgrade request.
    kept: u32,
    deadlines: Deadlines,
    pub(crate) broker_is_shut: bool,
    answered: bool,
    /// Messages are dropped for the client, because it is slow.
    sheds: bool,
    /// The timer fires no later than the next deadline, as long as nothing but packets is waited for.
    settled: bool,
    rare: Option<Box<Rare>>,
    /// The paces of the client and of the broker, if limited.
    throttles: Throttles,
}

/// What few pipes have at a time.
#[derive(Default)]
struct Rare {
    /// `Some` since the first refused packet of the client.
    denials: Option<Allowance>,
    /// `Some` while both sides have more to move than the pipe may move at once.
    busy: Option<Busy>,
}

impl<C: Io, S: Io, U: PacketService, D: PacketService> Pipe<C, S, U, D> {
    pub(crate) fn new(
        (client, broker): (C, S),
        (to_server, to_client): (Flow<U>, Flow<D>),
        rules: Rules,
        recorder: Arc<dyn Recorder>,
        handle: Running,
        started: Instant,
        kept: usize,
    ) -> Self {
        let limits = &rules.limits;
        let throttles = Throttle::both([limits.pace_to_server, limits.pace_to_client]);
        Self {
            client,
            broker,
            to_server,
            to_client,
            rules,
            latency: Latency::default(),
            recorder,
            handle,
            registered: 0,
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
            deadlines: Deadlines::new(started),
            broker_is_shut: false,
            answered: false,
            sheds: false,
            settled: false,
            rare: None,
            throttles,
        }
    }

    /// When the connection was accepted.
    pub(crate) const fn started(&self) -> Instant {
        self.deadlines.started()
    }

    /// Replaces the hooks for all later packets; the new ones keep `held` bytes.
    pub(crate) fn renew(&mut self, to_server: Tap<U>, to_client: Tap<D>, kept: usize) {
        self.to_server.renew(to_server);
        self.to_client.renew(to_client);
        // the limits may have changed
        self.settled = false;
        self.kept = u32::try_from(kept).unwrap_or(u32::MAX);
    }

    /// Moves bytes until the session ends, or must be judged again. A panic ends only this session.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let polled =
            catch_unwind(AssertUnwindSafe(|| self.poll_inner(cx))).unwrap_or_else(|panic| {
                Poll::Ready(Stop::End(Cause::defect(
                    "mproxy or its recorder panicked while it moved packets",
                    &*panic,
                )))
            });
        let polled = match polled.is_pending() && self.handle.hold(self.size()).is_err() {
            true => Poll::Ready(Stop::End(Cause::overload())),
            false => polled,
        };
        if polled.is_ready()
            && let Some(rare) = &mut self.rare
        {
            // others have its turn while it closes
            rare.busy = None;
        }
        polled
    }

    /// Bytes that it holds because of what peers sent.
    fn size(&self) -> usize {
        self.to_server.size() + self.to_client.size() + self.rules.size() + self.kept as usize
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        // the handle keeps the waker alive, so no other waker can have its address
        let waker = cx.waker().data().addr();
        if self.registered != waker {
            self.registered = waker;
            self.handle.register(cx);
            // wake-ups for the task that polled before would not reach this one
            self.deadlines.forget_waker();
            self.settled = false;
        }
        if let Some(paces) = self.handle.take_paces() {
            self.throttles = Throttle::both(paces);
        }
        let mut share = ready!(self.share(cx));
        let mut seen = [Events::default(); 2];
        let mut work = [WORK; 2];
        let mut dry = [false; 2];
        while share.may_go_on(|| client(&self.rules)) {
            let intake = match self.intake() {
                Ok(intake) => intake,
                Err(stop) => return Poll::Ready(stop),
            };
            let [up, down] = match self.round(cx, intake, &mut work, dry) {
                Ok(events) => events,
                Err(end) => return Poll::Ready(Stop::End(end)),
            };
            dry = [up, down].map(|events| events.has(Events::DRY));
            seen[0] |= up;
            seen[1] |= down;
            let moved = up.has(Events::MOVED) || down.has(Events::MOVED);
            if let Some(end) = self.finished(cx) {
                return Poll::Ready(Stop::End(end));
            }
            if !moved && !work.contains(&0) {
                if let Some(busy) = share.end(cx) {
                    self.rare.get_or_insert_default().busy = Some(busy);
                }
                let has_moved = seen.iter().any(|events| events.has(Events::MOVED));
                if has_moved && dry == [true; 2] && self.is_settled(seen[1]) {
                    return Poll::Pending;
                }
                let activity = if has_moved {
                    Activity::Some
                } else {
                    Activity::None
                };
                return self.poll_deadlines(seen, activity, cx).map(Stop::End);
            }
            if !moved || work == [0; 2] {
                break;
            }
            share.moved([up, down]);
        }
        // a session that is always busy has deadlines, too
        let polled = self.poll_deadlines(seen, Activity::Busy, cx).map(Stop::End);
        if polled.is_pending() {
            self.rare.get_or_insert_default().busy = Some(share.go_on(work.contains(&0), cx));
        }
        polled
    }

    /// What it may do in this poll. Pending while a busy pipe waits for its turn and has nothing urgent to do.
    #[inline]
    fn share(&mut self, cx: &mut Context<'_>) -> Poll<Share> {
        let Some(rare) = &mut self.rare else {
            return Poll::Ready(Share::default());
        };
        let share = match &mut rare.busy {
            None => Share::default(),
            Some(_)
                if self.handle.order().is_some()
                    || self.handle.wants_renewal()
                    || self.deadlines.is_due() =>
            {
                Share::urgent()
            }
            Some(busy) => ready!(busy.poll_next(client(&self.rules), cx)),
        };
        rare.busy = None;
        if rare.denials.is_none() {
            self.rare = None;
        }
        Poll::Ready(share)
    }

    /// How far both directions may go. `Err` means that an order or a renewal stops the pipe here.
    #[inline]
    fn intake(&mut self) -> Result<Intake, Stop> {
        if let Some(order) = self.handle.order() {
            if order.when > When::Border
                || !self.to_client.out.is_mid_packet()
                    && !self.to_server.out.is_mid_packet()
                    && !self.to_client.holds_packets()
            {
                return Err(Stop::End(order.into()));
            }
            self.deadlines.begin_closing();
            return Ok(Intake::Finish);
        }
        // before CONNACK, no packet passes that new hooks would judge
        if !self.handle.wants_renewal() || !self.rules.phase.is_established() {
            return Ok(Intake::Free);
        }
        if self.to_server.is_asking() || self.to_client.is_asking() {
            Ok(Intake::Hold)
        } else {
            Err(Stop::Renewal)
        }
    }

    /// One turn of each direction. An order keeps new packets from being started, and a renewal keeps
    /// packets from being judged. `dry` says whose sender had nothing to read in the last round, and wakes this
    /// task when it has.
    fn round(
        &mut self,
        task: &mut Context<'_>,
        intake: Intake,
        [work_up, work_down]: &mut [u32; 2],
        dry: [bool; 2],
    ) -> Result<[Events; 2], End> {
        let [up, down] = match &mut self.throttles {
            Some(throttles) if intake == Intake::Free => throttles.each_mut().map(Throttle::intake),
            _ => [intake; 2],
        };
        let up = self.pump_up((&mut *task, work_up), up, dry[0])?;
        let down = self.pump_down((task, work_down), down, dry[1])?;
        let is_alive = up.has(Events::HEARD) && self.rules.negotiated.keep_alive > 0;
        if is_alive && self.answered {
            self.deadlines.heard();
        }
        if down.has(Events::CHALLENGED) {
            self.deadlines.challenged();
        }
        Ok([up, down])
    }

    /// True if packets pass freely, and nothing waits to be written to either side.
    #[inline]
    fn is_calm(&self, intake: Intake) -> bool {
        intake == Intake::Free
            && self.rules.phase.is_established()
            && self.to_server.out.is_flushed()
            && self.to_client.out.is_flushed()
    }

    const fn hook_traits(&self) -> HookTraits {
        let (up, down) = (self.to_server.tap(), self.to_client.tap());
        let judges_identity = up.judges_identity() || down.judges_identity();
        HookTraits {
            growth: up.growth(),
            follow_aliases: up.kinds().contains(Kind::Publish),
            blind_to_auth: judges_identity && !up.kinds().contains(Kind::Auth),
        }
    }

    /// A turn of the direction to the server.
    fn pump_up(
        &mut self,
        turn: (&mut Context<'_>, &mut u32),
        intake: Intake,
        is_dry: bool,
    ) -> Result<Events, End> {
        let rests = self.is_calm(intake) && self.to_server.rests() && *turn.1 > 0;
        let heard = match listen_first(rests, is_dry, &self.to_server, &mut self.client, turn.0) {
            Poll::Ready(heard) => heard,
            Poll::Pending => return Ok(Events::DRY),
        };
        let bounds = (self.hook_traits(), intake);
        let mut batch = Batch::default();
        let watched = (&mut self.latency, &*self.recorder);
        let out = &mut self.to_client.out;
        let mut cx = Cx::new(&mut self.rules, out, &mut batch, watched, turn, bounds);
        let (client, broker) = (&mut self.client, &mut self.broker);
        let pumped = self.to_server.pump(heard, (client, broker), &mut cx);
        // count before returning the error: the bytes were read
        self.book(Direction::ToServer, &batch);
        let events = pumped?;
        if batch.publishes[1] > 0 && self.latency.is_idle() && self.recorder.wants_latency() {
            self.latency.want();
        }
        if batch.denied > 0 {
            self.allow_denials(batch.denied)?;
        }
        Ok(events)
    }

    /// A turn of the direction to the client.
    fn pump_down(
        &mut self,
        turn: (&mut Context<'_>, &mut u32),
        intake: Intake,
        is_dry: bool,
    ) -> Result<Events, End> {
        let rests = self.is_calm(intake) && self.to_client.rests() && *turn.1 > 0;
        let heard = match listen_first(rests, is_dry, &self.to_client, &mut self.broker, turn.0) {
            Poll::Ready(heard) => heard,
            Poll::Pending => return Ok(Events::DRY),
        };
        let bounds = (self.hook_traits(), intake);
        let mut batch = Batch::default();
        let watched = (&mut self.latency, &*self.recorder);
        let out = &mut self.to_server.out;
        let mut cx = Cx::new(&mut self.rules, out, &mut batch, watched, turn, bounds);
        let (client, broker) = (&mut self.client, &mut self.broker);
        let pumped = self.to_client.pump(heard, (broker, client), &mut cx);
        self.book(Direction::ToClient, &batch);
        if let (false, Some(reason)) = (self.answered, self.rules.phase.connack) {
            self.answered = true;
            if reason == ReasonCode::SUCCESS {
                self.handle.establish();
            }
            // the client may have waited for CONNACK before sending anything
            self.deadlines.heard();
            self.recorder
                .connack(Some(&self.rules.session), self.rules.version(), reason);
        }
        pumped
    }

    /// Counts the reads of a turn.
    fn book(&mut self, direction: Direction, batch: &Batch) {
        if let Some(throttles) = &mut self.throttles {
            throttles[usize::from(direction == Direction::ToClient)].spend(batch);
        }
        self.handle.enter(direction, batch, &*self.recorder);
    }

    /// `count` packets of the client were refused.
    ///
    /// # Errors
    /// This exceeds its allowance.
    #[cold]
    fn allow_denials(&mut self, count: u32) -> Result<(), End> {
        let Some(rate) = self.rules.limits.max_denials else {
            return Ok(());
        };
        let now = self.deadlines.now();
        let denials = &mut self.rare.get_or_insert_default().denials;
        let allowance = denials.get_or_insert_with(|| Allowance::new(rate, now));
        if allowance.take(count, rate, now) {
            return Ok(());
        }
        Err(Box::new(Cause::Denials(rate)))
    }

    /// True if nothing is waited for but packets, and the timer fires no later than the next deadline. `down` is what
    /// happened in the direction to the client.
    #[inline]
    fn is_settled(&self, down: Events) -> bool {
        self.settled
            && !self.deadlines.is_due()
            && self.to_server.rests()
            && self.to_client.rests()
            && self.throttles.is_none()
            && !down.has(Events::CAUGHT_UP)
            && !self.handle.expires()
    }

    /// Checks the deadlines.
    fn poll_deadlines(
        &mut self,
        [up, down]: [Events; 2],
        activity: Activity,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        let rules = &mut self.rules;
        // a side that is not read because of its pace cannot be late
        let resumes = match &self.throttles {
            Some(throttles) => throttles.each_ref().map(Throttle::resumes_at),
            None => [None; 2],
        };
        let wait = waits(self.to_server.waits_for(), resumes[0]);
        let answered = wait == Wait::Answers && rules.exchanges.take_progress();
        let progressed = up.progressed(wait) || answered;
        self.deadlines
            .observe(Direction::ToServer, wait, progressed);
        let wait = waits(self.to_client.waits_for(), resumes[1]);
        self.deadlines
            .observe(Direction::ToClient, wait, down.progressed(wait));
        let behind = self.watch_consumer(down.has(Events::CAUGHT_UP));
        let rules = &self.rules;
        let limits = &*rules.limits;
        let is_heard =
            activity != Activity::Busy && self.to_server.is_listening() && resumes[0].is_none();
        let is_own = limits.max_keep_alive > 0 || rules.is_strict();
        let facts = Facts {
            ordered: self.handle.order().is_some(),
            answered: rules.phase.connack.is_some(),
            expiry: self.handle.expiry(),
            resumes: resumes.into_iter().flatten().min(),
            silence: silence(rules.negotiated.keep_alive, is_own, limits).filter(|_| is_heard),
            behind,
        };
        let earliest = self.deadlines.next(facts, limits);
        self.settled = self.deadlines.settles(facts, is_heard);
        let overdue = ready!(self.deadlines.poll(earliest, activity, cx));
        if overdue == Deadline::Pace {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if overdue == Deadline::Expiry {
            // wakes this task, which then finds the order
            self.handle.expire();
            return Poll::Pending;
        }
        if overdue == Deadline::Consumer && self.sheds_for_consumer() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.expired(overdue))
    }
}

/// Listens to the sender of a direction that rests. Pending if it is silent; `None` if the direction does not rest,
/// and must be pumped.
#[inline]
fn listen_first<H: PacketService>(
    rests: bool,
    is_dry: bool,
    flow: &Flow<H>,
    sender: &mut impl Io,
    task: &mut Context<'_>,
) -> Poll<Option<Heard>> {
    match (rests, is_dry) {
        (false, _) => Poll::Ready(None),
        (true, true) => Poll::Pending,
        (true, false) => flow.listen(sender, task, Intake::Free).map(Some),
    }
}

/// Whose turns a pipe has; `None` for a client without an address.
fn client(rules: &Rules) -> Option<IpAddr> {
    let address = rules.session.peer().address?.ip();
    Some(client_at(address, rules.limits.ipv6_prefix))
}

/// What stands for the client at an address: that, or of an IPv6 address the first `prefix` bits.
fn client_at(address: IpAddr, prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(prefix.into()).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & !rest).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// What a direction waits for: not for its sender while that is slowed down.
const fn waits(wait: Wait, resumes: Option<Instant>) -> Wait {
    match wait {
        Wait::Packet if resumes.is_some() => Wait::Nothing,
        wait => wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client with a /48 had 65,536 times the turns of others, although the operator had said what one client has.
    #[test]
    fn a_client_has_as_much_of_an_ipv6_address_as_was_said() {
        for (address, prefix, expected) in [
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
            ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
            ("2001:db8:1:2:3:4:5:6", 255, "2001:db8:1:2:3:4:5:6"),
            ("2001:db8:1:2:3:4:5:6", 0, "::"),
            ("::ffff:192.0.2.1", 64, "192.0.2.1"),
            ("192.0.2.1", 0, "192.0.2.1"),
        ] {
            let client = client_at(address.parse().unwrap(), prefix);
            assert_eq!(
                client,
                expected.parse::<IpAddr>().unwrap(),
                "{address}/{prefix}"
            );
        }
    }
}
