//! Both directions of a session in one task.

mod book;

use std::future::Future;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::{Direction, Kind, ReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use self::book::Book;
use crate::cause::{Cause, End, Overdue};
use crate::control::Running;
use crate::error::Limit;
use crate::flow::{Cx, Flow, WORK, Wait};
use crate::hook::PacketService;
use crate::limits::Rate;
use crate::recorder::{Batch, Recorder};
use crate::rules::{HookTraits, Rules};
use crate::summary::{Side, Traffic};

/// Rounds of both directions before other connections of the thread get their turn. A round reads
/// at most one scratch buffer a direction.
const ROUNDS: usize = 4;

/// How much longer than the standard's time a silent client is left to the broker, which judges the
/// keep alive that it was told. Brokers look every now and then: mosquitto every 5 seconds, EMQX
/// every 30.
const BROKER_FIRST: Duration = Duration::from_secs(30);

/// As good as never, and a time that every clock can count to.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// How long an [order](crate::Order) waits for the end of a packet that is on its way, so that it need
/// not be sent again. A client that never ends it must not hold up a drain.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);

/// The pipe between an admitted client and its broker.
pub(crate) struct Pipe<C, S, U: PacketService, D: PacketService> {
    pub(crate) client: C,
    pub(crate) broker: S,
    pub(crate) to_server: Flow<U>,
    pub(crate) to_client: Flow<D>,
    pub(crate) rules: Rules,
    pub(crate) book: Book,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) control: Running,
    /// Which waker the control has.
    registered: usize,
    /// Bytes that the session and its hooks keep as long as it lasts: names, the upgrade request.
    kept: u32,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the connection was accepted.
    pub(crate) started: Instant,
    /// What each direction waits for, and since when.
    waits: [Wait; 2],
    since: [Moment; 2],
    /// When the client was heard last; before CONNACK, when the broker's time to answer began.
    heard: Moment,
    /// When the client's side was done and the broker was told so.
    closing: Option<Moment>,
    pub(crate) broker_is_shut: bool,
    answered: bool,
    /// Since the first packet of the client that was refused.
    denials: Option<Box<Allowance>>,
}

impl<C, S, U, D> Pipe<C, S, U, D>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    U: PacketService,
    D: PacketService,
{
    pub(crate) fn new(
        (client, broker): (C, S),
        (to_server, to_client): (Flow<U>, Flow<D>),
        rules: Rules,
        recorder: Arc<dyn Recorder>,
        control: Running,
        started: Instant,
        (received, kept): (Traffic, usize),
    ) -> Self {
        let begun = Moment::now(started);
        Self {
            client,
            broker,
            to_server,
            to_client,
            rules,
            book: Book::new(received),
            recorder,
            control,
            registered: 0,
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
            timer: None,
            started,
            waits: [Wait::Nothing; 2],
            since: [begun; 2],
            heard: begun,
            closing: None,
            broker_is_shut: false,
            answered: false,
            denials: None,
        }
    }

    /// Moves bytes until the session ends. A panic ends this session only.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_inner(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Cause::defect("it moved packets", &*panic)));
        if polled.is_pending() && self.control.hold(self.size()).is_err() {
            return Poll::Ready(Cause::overload());
        }
        polled
    }

    /// Bytes that it holds because of what the peers sent.
    fn size(&self) -> usize {
        self.to_server.size() + self.to_client.size() + self.rules.size() + self.kept as usize
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // the control keeps the waker, and so nobody else can have its address
        let waker = cx.waker().data().addr();
        if self.registered != waker {
            self.registered = waker;
            self.control.register(cx);
            // what wakes the task that polled before would not wake this one
            self.timer = None;
        }
        let mut moved_any = false;
        let mut work = [WORK; 2];
        for _ in 0..ROUNDS {
            let order = self.control.order();
            if let Some(order) = order {
                if order.at_once
                    || !self.to_client.out.is_mid_packet()
                        && !self.to_server.out.is_mid_packet()
                        && !self.to_client.holds_packets()
                {
                    return Poll::Ready(order.into());
                }
                self.closing
                    .get_or_insert_with(|| Moment::now(self.started));
            }
            let moved = match self.round(cx, order.is_some(), &mut work) {
                Ok(moved) => moved,
                Err(end) => return Poll::Ready(end),
            };
            if let Some(end) = self.finished(cx) {
                return Poll::Ready(end);
            }
            if !moved && !work.contains(&0) {
                return self.poll_timer(cx, Activity::of(moved_any));
            }
            moved_any = true;
            if !moved || work == [0; 2] {
                break;
            }
        }
        // who is always busy has deadlines as well
        let polled = self.poll_timer(cx, Activity::Busy);
        if polled.is_pending() {
            yield_turn(cx);
        }
        polled
    }

    /// One turn of each direction.
    fn round(
        &mut self,
        task: &mut Context<'_>,
        ordered: bool,
        [work_up, work_down]: &mut [u32; 2],
    ) -> Result<bool, End> {
        let (to_server, to_client) = (self.to_server.tap(), self.to_client.tap());
        let judges_identity = to_server.judges_identity() || to_client.judges_identity();
        let to_server = to_server.kinds();
        let hooks = HookTraits {
            growth: self.to_server.tap().growth(),
            follow_aliases: to_server.contains(Kind::Publish),
            blind_to_auth: judges_identity && !to_server.contains(Kind::Auth),
        };
        let mut batch = Batch::default();
        let mut cx = Cx {
            rules: &mut self.rules,
            to_sender: &mut self.to_client.out,
            batch: &mut batch,
            recorder: &*self.recorder,
            queued_since: None,
            task,
            hooks,
            ordered,
            running: None,
            work: work_up,
        };
        let up = self
            .to_server
            .pump(&mut self.client, &mut self.broker, &mut cx);
        self.book
            .enter(Direction::ToServer, &batch, &*self.recorder);
        let up = up?;
        if batch.publishes[1] > 0 && self.rules.latency.is_idle() && self.recorder.wants_latency() {
            self.rules.latency.want();
        }
        if batch.denied > 0 {
            self.allow_denials(batch.denied)?;
        }

        let mut batch = Batch::default();
        let mut cx = Cx {
            rules: &mut self.rules,
            to_sender: &mut self.to_server.out,
            batch: &mut batch,
            recorder: &*self.recorder,
            queued_since: None,
            task,
            hooks,
            ordered,
            running: None,
            work: work_down,
        };
        let down = self
            .to_client
            .pump(&mut self.broker, &mut self.client, &mut cx);
        self.book
            .enter(Direction::ToClient, &batch, &*self.recorder);
        let connack = self.rules.connack.filter(|_| !self.answered);
        if let Some(reason) = connack {
            self.answered = true;
            if reason == ReasonCode::SUCCESS {
                self.control.establish();
            }
            // the client may have waited for it before it said anything
            self.heard = Moment::now(self.started);
            self.recorder
                .connack(Some(&self.rules.session), self.rules.version(), reason);
        }
        let down = down?;

        let heard = std::mem::take(&mut self.to_server.heard) && self.rules.keep_alive > 0;
        let exchanged = std::mem::take(&mut self.to_server.exchanged)
            | std::mem::take(&mut self.to_client.exchanged);
        if heard && self.answered || exchanged {
            self.heard = Moment::now(self.started);
        }
        Ok(up || down)
    }

    /// So many packets of the client were refused.
    ///
    /// # Errors
    /// They are more than may be.
    #[cold]
    fn allow_denials(&mut self, count: u32) -> Result<(), End> {
        let Some(rate) = self.rules.limits.max_denials else {
            return Ok(());
        };
        let now = Moment::now(self.started);
        let fresh = || Box::new(Allowance::new(rate, now));
        let allowance = self.denials.get_or_insert_with(fresh);
        if allowance.take(count, rate, now) {
            return Ok(());
        }
        Err(Box::new(Cause::Denials(rate)))
    }

    /// The end of the session, if everything that was to be passed on has been.
    fn finished(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let client_done = self.to_server.is_finished();
        if self.to_client.is_finished() {
            // a client that cannot be written to may have sent more before it went
            if !self.to_client.out.is_dead() || client_done {
                return Some(self.end());
            }
        }
        if client_done && !self.broker_is_shut {
            // [MQTT-3.14.4-3]: the end of the stream, not a DISCONNECT, so that the will fires
            match Pin::new(&mut self.broker).poll_shutdown(cx) {
                Poll::Pending => {}
                Poll::Ready(_) => self.broker_is_shut = true,
            }
            self.closing
                .get_or_insert_with(|| Moment::now(self.started));
        }
        if self.to_client.is_finished() {
            self.closing
                .get_or_insert_with(|| Moment::now(self.started));
        }
        None
    }

    /// Why it ended, now that it has ended.
    fn end(&mut self) -> End {
        if let Some(end) = self.to_server.end.take() {
            return match self.to_client.end.take() {
                // a broker that could not be written to has said why
                Some(last_word) if end.account(true, None).side == Side::Upstream => last_word,
                _ => end,
            };
        }
        if self.to_server.eof {
            return Box::new(Cause::Closed(Side::Client));
        }
        let end = self.to_client.end.take();
        end.unwrap_or_else(|| Box::new(Cause::Closed(Side::Upstream)))
    }

    /// Looks at the deadlines, which all share one timer.
    fn poll_timer(&mut self, cx: &mut Context<'_>, activity: Activity) -> Poll<End> {
        loop {
            let Some((deadline, what)) = self.next_deadline(activity) else {
                self.timer = None;
                return Poll::Pending;
            };
            // woken by traffic: the timer still has the task's waker and wakes it when it is due
            if activity != Activity::None
                && self
                    .timer
                    .as_ref()
                    .is_some_and(|timer| timer.deadline() <= deadline && !timer.is_elapsed())
            {
                return Poll::Pending;
            }
            match &mut self.timer {
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
                // a timer that is early costs one look; it is not moved for every packet
                Some(timer) if timer.deadline() > deadline => timer.as_mut().reset(deadline),
                Some(_) => {}
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(self.expired(what));
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// The earliest deadline and what it is for.
    fn next_deadline(&mut self, activity: Activity) -> Option<(Instant, Deadline)> {
        let limits = &self.rules.limits;
        let mut earliest: Option<(Instant, Deadline)> = None;
        let mut consider = |at: Instant, what| {
            if earliest.is_none_or(|(other, _)| at < other) {
                earliest = Some((at, what));
            }
        };
        if let Some(closing) = self.closing {
            let patience = match self.control.order() {
                Some(_) => ORDER_PATIENCE,
                None => limits.linger,
            };
            consider(closing.after(self.started, patience), Deadline::Linger);
        }
        if self.rules.connack.is_none() {
            consider(
                self.heard.after(self.started, limits.connack_timeout),
                Deadline::Connack,
            );
        } else if self.rules.keep_alive > 0
            && activity != Activity::Busy
            && self.to_server.is_listening()
        {
            let silence = f64::from(self.rules.keep_alive) * limits.keep_alive_grace;
            let silence = Duration::try_from_secs_f64(silence).unwrap_or(NEVER);
            let is_own = limits.max_keep_alive > 0 || self.rules.is_strict();
            let first = if is_own { Duration::ZERO } else { BROKER_FIRST };
            let silence = silence.saturating_add(first);
            consider(self.heard.after(self.started, silence), Deadline::KeepAlive);
        }
        let waits = [self.to_server.waits_for(), self.to_client.waits_for()];
        let answered = waits[0] == Wait::Answers && self.rules.exchanges.take_progress();
        let now_waits = [
            (waits[0], self.to_server.progress(waits[0]) || answered),
            (waits[1], self.to_client.progress(waits[1])),
        ];
        for (index, (wait, progress)) in now_waits.into_iter().enumerate() {
            if self.waits[index] != wait || progress {
                self.waits[index] = wait;
                if wait != Wait::Nothing {
                    self.since[index] = Moment::now(self.started);
                }
            }
            let direction = if index == 0 {
                Direction::ToServer
            } else {
                Direction::ToClient
            };
            let (limit, what) = match wait {
                Wait::Nothing => continue,
                Wait::Hook => (limits.hook_timeout, Deadline::Hook),
                Wait::Permit => match limits.permit_timeout {
                    Some(limit) => (limit, Deadline::Permit),
                    None => continue,
                },
                Wait::Write => (limits.write_timeout, Deadline::Write(direction)),
                Wait::Packet => (limits.packet_timeout, Deadline::Packet(direction)),
                Wait::Answers => (limits.write_timeout, Deadline::Answers),
            };
            consider(self.since[index].after(self.started, limit), what);
        }
        earliest
    }

    #[cold]
    fn expired(&mut self, what: Deadline) -> End {
        Box::new(Cause::Overdue(match what {
            Deadline::Linger => {
                return match self.control.order() {
                    Some(order) => order.into(),
                    None => self.end(),
                };
            }
            Deadline::Permit => {
                let detail = "the hooks had no permit for a packet in time";
                return Cause::hook_late(detail, Limit::PermitTimeout);
            }
            Deadline::Hook => return Cause::hook_late("a hook took too long", Limit::HookTimeout),
            Deadline::Connack => Overdue::Connack,
            Deadline::KeepAlive => Overdue::KeepAlive,
            Deadline::Write(direction) => Overdue::Write(direction),
            // it is stuck, and the client cannot be heard behind it
            Deadline::Answers => Overdue::Answers,
            Deadline::Packet(direction) => Overdue::Packet(direction),
        }))
    }
}

/// A point in time, as hundredths of a second since the session began, rounded up, for more than a
/// year: a quarter of the size of an `Instant`, of which a pipe would have four more.
#[derive(Clone, Copy, Debug)]
struct Moment(NonZeroU32);

impl Moment {
    const UNIT: u32 = 10;

    fn now(start: Instant) -> Self {
        let passed = start.elapsed().as_millis().div_ceil(Self::UNIT.into());
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        Self(NonZeroU32::MIN.saturating_add(passed))
    }

    /// The instant that lies `duration` after this one.
    fn after(self, start: Instant, duration: Duration) -> Instant {
        let passed = u64::from(self.0.get() - 1) * u64::from(Self::UNIT);
        let moment = start + Duration::from_millis(passed);
        // a limit of more than any clock counts is none
        moment.checked_add(duration).unwrap_or(moment + NEVER)
    }
}

/// What is left of a [`Rate`]: its number at once, and again in each of its periods.
#[derive(Debug)]
struct Allowance {
    /// In parts of which one comes in each [`UNIT`](Moment::UNIT).
    left: f64,
    at: Moment,
}

impl Allowance {
    fn new(rate: Rate, at: Moment) -> Self {
        let left = f64::from(rate.count.get());
        Self { left, at }
    }

    /// Takes so many; false when there are not as many left.
    fn take(&mut self, count: u32, rate: Rate, now: Moment) -> bool {
        let most = f64::from(rate.count.get());
        let passed = f64::from(now.0.get() - self.at.0.get()) * f64::from(Moment::UNIT) / 1000.0;
        let period = rate.period.as_secs_f64().max(1e-9);
        self.left = (passed / period).mul_add(most, self.left).min(most) - f64::from(count);
        self.at = now;
        self.left >= 0.0
    }
}

/// Has the task polled again when the other tasks of the thread, and sockets that became ready, had
/// their turn. A task that wakes itself is polled again before the runtime looks at any socket.
fn yield_turn(cx: &mut Context<'_>) {
    let turn = std::pin::pin!(tokio::task::yield_now());
    // pending at the first poll, which has the waker called
    let _ = turn.poll(cx);
}

/// What a poll has found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    None,
    /// Something, and now there is nothing more.
    Some,
    /// More than its turn was for: the client is not silent, it is not read.
    Busy,
}

impl Activity {
    const fn of(moved: bool) -> Self {
        if moved { Self::Some } else { Self::None }
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    Linger,
    Connack,
    KeepAlive,
    Hook,
    Permit,
    Write(Direction),
    Packet(Direction),
    Answers,
}
