//! The deadlines of a session, which share one timer.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mproxy_codec::Direction;
use mproxy_patience::Looks;
use tokio::time::{Instant, Sleep, sleep_until};

use super::moment::Moment;
use crate::flow::Wait;
use crate::limits::Limits;

/// How much longer than the standard's time the broker gets to close a silent client: it enforces the
/// keep alive that it was sent. Brokers check periodically: mosquitto every 5 seconds, EMQX
/// every 30.
const BROKER_FIRST: Duration = Duration::from_secs(30);

/// As good as never, but a time that every clock can represent.
pub(super) const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// How long an [order](crate::Order) waits for the end of a packet in progress, so that it need
/// not be sent again. A client that never completes it must not delay a drain.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);

/// How many AUTHs of the broker begin `connack_timeout` anew: a client must not hold its place at the
/// broker forever.
const CHALLENGES: u8 = 3;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The end of the other side, or a packet border, after one side is done or an order came.
    Linger,
    Connack,
    KeepAlive,
    Hook,
    Permit,
    Write(Direction),
    Packet(Direction),
    Answers,
    /// The client has caught up with the broker.
    Consumer,
    /// The session expires.
    Expiry,
    /// A side that was slowed down is read again; the session does not end.
    Pace,
}

impl Deadline {
    /// True if it is over because of what a peer or a hook has not done: it may have, unseen.
    const fn waits_for_somebody(self) -> bool {
        !matches!(self, Self::Expiry | Self::Pace)
    }
}

/// How much work a poll has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    None,
    /// Some, and now there is no more.
    Some,
    /// More than fits its turn: the client is not silent, it is just not read.
    Busy,
}

/// The parts of the session's state with a deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// An order waits for the end of a packet.
    pub(super) ordered: bool,
    /// The broker has answered CONNECT.
    pub(super) answered: bool,
    /// When the session expires by itself.
    pub(super) expiry: Option<Instant>,
    /// When a side that was slowed down is read again.
    pub(super) resumes: Option<Instant>,
    /// How long the client may be silent while it is read.
    pub(super) silence: Option<Duration>,
    /// How long the client may accept less than what waits for it.
    pub(super) behind: Option<Duration>,
}

/// What is waited for, and since when.
#[derive(Debug)]
pub(super) struct Deadlines {
    started: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// At the sockets, since a deadline was over.
    looks: Looks,
    /// What each direction waits for, and since when.
    waits: [Wait; 2],
    since: [Moment; 2],
    /// When the client last sent something; before CONNACK, when the broker's time to answer began.
    heard: Moment,
    /// How many AUTHs have begun that time anew.
    challenges: u8,
    /// When a side was done, or an order came.
    closing: Option<Moment>,
    /// Since when the client accepts less than what waits for it, if that has a deadline.
    behind: Option<Moment>,
}

impl Deadlines {
    pub(super) fn new(started: Instant) -> Self {
        let now = Moment::now(started);
        Self {
            started,
            timer: None,
            looks: Looks::default(),
            waits: [Wait::Nothing; 2],
            since: [now; 2],
            heard: now,
            challenges: 0,
            closing: None,
            behind: None,
        }
    }

    /// When the connection was accepted.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn now(&self) -> Moment {
        Moment::now(self.started)
    }

    /// The client sent something, or the broker's time to answer began.
    pub(super) fn heard(&mut self) {
        self.heard = self.now();
    }

    /// The broker sent an AUTH instead of CONNACK: its time to answer begins again.
    pub(super) fn challenged(&mut self) {
        if self.challenges < CHALLENGES {
            self.challenges += 1;
            self.heard();
        }
    }

    /// The session is about to end.
    pub(super) fn begin_closing(&mut self) {
        if self.closing.is_none() {
            self.closing = Some(self.now());
        }
    }

    /// A direction waits for this now. `progressed` says that there was progress since the last call.
    pub(super) fn observe(&mut self, direction: Direction, wait: Wait, progressed: bool) {
        let index = usize::from(direction == Direction::ToClient);
        if self.waits[index] != wait || progressed {
            self.waits[index] = wait;
            // do not read the clock for a connection that waits for nothing
            if wait != Wait::Nothing {
                self.since[index] = self.now();
            }
        }
    }

    /// The client accepts less than what waits for it, or no longer.
    pub(super) fn watch_consumer(&mut self, is_behind: bool) {
        match self.behind {
            None if is_behind => self.behind = Some(self.now()),
            Some(_) if !is_behind => self.behind = None,
            _ => {}
        }
    }

    /// True if nothing is waited for but packets, so that later ones of the client only move the next deadline
    /// away. `is_heard` says that the client is read.
    pub(super) fn settles(&self, facts: Facts, is_heard: bool) -> bool {
        is_heard
            && facts.answered
            && !facts.ordered
            && facts.expiry.is_none()
            && facts.resumes.is_none()
            && self.closing.is_none()
            && self.behind.is_none()
            && self.waits == [Wait::Nothing; 2]
    }

    /// True if the session is about to end, or the timer has fired.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let has_fired = || self.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        self.closing.is_some() || has_fired()
    }

    /// The earliest deadline.
    pub(super) fn next(&self, facts: Facts, limits: &Limits) -> Option<(Instant, Deadline)> {
        let closing = self.closing.map(|closing| {
            let patience = if facts.ordered {
                ORDER_PATIENCE
            } else {
                limits.linger
            };
            (closing, patience, Deadline::Linger)
        });
        let client = if facts.answered {
            let silence = facts.silence;
            silence.map(|silence| (self.heard, silence, Deadline::KeepAlive))
        } else {
            Some((self.heard, limits.connack_timeout, Deadline::Connack))
        };
        let consumer = || Some((self.behind?, facts.behind?, Deadline::Consumer));
        let consumer = if closing.is_none() { consumer() } else { None };
        let waits = [Direction::ToServer, Direction::ToClient].map(|direction| {
            let index = usize::from(direction == Direction::ToClient);
            let (limit, what) = match self.waits[index] {
                Wait::Nothing => return None,
                Wait::Hook => (limits.hook_timeout, Deadline::Hook),
                Wait::Permit => (limits.permit_timeout?, Deadline::Permit),
                Wait::Write => (limits.write_timeout, Deadline::Write(direction)),
                Wait::Packet => (limits.packet_timeout, Deadline::Packet(direction)),
                Wait::Answers => (limits.write_timeout, Deadline::Answers),
            };
            Some((self.since[index], limit, what))
        });
        let all = [closing, client, consumer]
            .into_iter()
            .chain(waits)
            .flatten();
        let expiry = facts.expiry.map(|at| (at, Deadline::Expiry));
        all.map(|(since, limit, what)| (since.after(self.started, limit), what))
            .chain(expiry)
            .chain(facts.resumes.map(|at| (at, Deadline::Pace)))
            .min_by_key(|(at, _)| *at)
    }

    /// Waits for a deadline, and returns the one that has passed: after a look at the sockets, because the
    /// timer may be late.
    pub(super) fn poll(
        &mut self,
        earliest: Option<(Instant, Deadline)>,
        activity: Activity,
        cx: &mut Context<'_>,
    ) -> Poll<Deadline> {
        // until a deadline is over again
        let mut looks = mem::take(&mut self.looks);
        let Some((deadline, what)) = earliest else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = match &mut self.timer {
            // woken by traffic: the timer still has the task's waker
            Some(timer)
                if activity != Activity::None
                    && timer.deadline() <= deadline
                    && !timer.is_elapsed() =>
            {
                return Poll::Pending;
            }
            Some(timer) => timer,
            none => none.insert(Box::pin(sleep_until(deadline))),
        };
        // the timer may be early, which costs one check; it is not moved for every packet
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                if what.waits_for_somebody() {
                    let last = looks.poll_last(cx);
                    self.looks = looks;
                    ready!(last);
                }
                return Poll::Ready(what);
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Another task polls now: wake-ups for the old one would not reach it.
    pub(super) fn forget_waker(&mut self) {
        self.timer = None;
    }
}

/// How long a client with this keep alive may be silent; `None` if it has none. `is_own` says that the
/// proxy enforces it, not the broker first.
pub(super) fn silence(keep_alive: u16, is_own: bool, limits: &Limits) -> Option<Duration> {
    if keep_alive == 0 {
        return None;
    }
    let silence = f64::from(keep_alive) * limits.keep_alive_grace;
    // NaN, or a grace too long for a clock, means no deadline
    let silence = Duration::try_from_secs_f64(silence).unwrap_or(NEVER);
    let first = if is_own { Duration::ZERO } else { BROKER_FIRST };
    Some(silence.saturating_add(first))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const OPEN: Facts = Facts {
        ordered: false,
        answered: true,
        expiry: None,
        resumes: None,
        silence: None,
        behind: None,
    };

    fn next(deadlines: &Deadlines, facts: Facts, limits: &Limits) -> Option<(u64, Deadline)> {
        let next = deadlines.next(facts, limits);
        next.map(|(at, what)| ((at - deadlines.started).as_secs(), what))
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_counts_from_the_last_progress() {
        let limits = Limits::default();
        let mut deadlines = Deadlines::new(Instant::now());
        assert_eq!(next(&deadlines, OPEN, &limits), None);
        let opening = Facts {
            answered: false,
            ..OPEN
        };
        assert_eq!(
            next(&deadlines, opening, &limits),
            Some((30, Deadline::Connack))
        );
        let (up, down) = (Direction::ToServer, Direction::ToClient);
        deadlines.observe(up, Wait::Packet, false);
        advance(Duration::from_secs(7)).await;
        deadlines.observe(down, Wait::Hook, false);
        assert_eq!(next(&deadlines, OPEN, &limits), Some((12, Deadline::Hook)));
        deadlines.observe(down, Wait::Nothing, false);
        let packet = Deadline::Packet(up);
        assert_eq!(next(&deadlines, OPEN, &limits), Some((120, packet)));
        deadlines.observe(up, Wait::Packet, true);
        assert_eq!(next(&deadlines, OPEN, &limits), Some((127, packet)));
        let silent = Facts {
            silence: silence(60, true, &limits),
            ..OPEN
        };
        assert_eq!(
            next(&deadlines, silent, &limits),
            Some((90, Deadline::KeepAlive))
        );
        deadlines.begin_closing();
        assert_eq!(
            next(&deadlines, silent, &limits),
            Some((9, Deadline::Linger))
        );
        advance(Duration::from_secs(1)).await;
        deadlines.begin_closing();
        let ordered = Facts {
            ordered: true,
            ..OPEN
        };
        assert_eq!(
            next(&deadlines, ordered, &limits),
            Some((12, Deadline::Linger))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_waits_for_nothing_but_packets_is_settled() {
        let mut deadlines = Deadlines::new(Instant::now());
        assert!(deadlines.settles(OPEN, true));
        assert!(
            !deadlines.settles(OPEN, false),
            "its silence has no deadline now"
        );
        let now = Some(Instant::now());
        for facts in [
            Facts {
                answered: false,
                ..OPEN
            },
            Facts {
                ordered: true,
                ..OPEN
            },
            Facts {
                expiry: now,
                ..OPEN
            },
            Facts {
                resumes: now,
                ..OPEN
            },
        ] {
            assert!(!deadlines.settles(facts, true), "{facts:?}");
        }
        deadlines.observe(Direction::ToClient, Wait::Packet, false);
        assert!(!deadlines.settles(OPEN, true));
        deadlines.observe(Direction::ToClient, Wait::Nothing, false);
        deadlines.watch_consumer(true);
        assert!(!deadlines.settles(OPEN, true));
        deadlines.watch_consumer(false);
        assert!(deadlines.settles(OPEN, true) && !deadlines.is_due());
        deadlines.begin_closing();
        assert!(!deadlines.settles(OPEN, true) && deadlines.is_due());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_has_fired_is_looked_at() {
        let mut deadlines = Deadlines::new(Instant::now());
        let at = Instant::now() + Duration::from_secs(1);
        let due = Some((at, Deadline::KeepAlive));
        let mut timer = tokio_test::task::spawn(std::future::poll_fn(|cx| {
            deadlines.poll(due, Activity::Some, cx)
        }));
        assert!(timer.poll().is_pending());
        drop(timer);
        assert!(!deadlines.is_due());
        advance(Duration::from_secs(2)).await;
        assert!(deadlines.is_due());
    }

    /// Each public limit, and a timer that is really set to it.
    #[tokio::test(start_paused = true)]
    async fn a_limit_that_no_clock_counts_to_is_none() {
        let forever = Duration::MAX;
        let opening = Facts {
            answered: false,
            ..OPEN
        };
        let (base, up) = (Limits::default(), Direction::ToServer);
        for (limits, facts, wait) in [
            (base.clone().linger(forever), OPEN, Wait::Nothing),
            (
                base.clone().connack_timeout(forever),
                opening,
                Wait::Nothing,
            ),
            (base.clone().hook_timeout(forever), OPEN, Wait::Hook),
            (
                base.clone().permit_timeout(Some(forever)),
                OPEN,
                Wait::Permit,
            ),
            (base.clone().write_timeout(forever), OPEN, Wait::Write),
            (base.clone().packet_timeout(forever), OPEN, Wait::Packet),
            (base.clone().write_timeout(forever), OPEN, Wait::Answers),
        ] {
            let mut deadlines = Deadlines::new(Instant::now());
            deadlines.observe(up, wait, false);
            if limits.linger == forever {
                deadlines.begin_closing();
            }
            let next = deadlines.next(facts, &limits);
            assert!(next.unwrap().0 >= Instant::now() + NEVER, "{wait:?}");
            let mut timer = tokio_test::task::spawn(std::future::poll_fn(|cx| {
                deadlines.poll(next, Activity::None, cx)
            }));
            assert!(timer.poll().is_pending());
        }
        let mut limits = base;
        for grace in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, f64::MAX] {
            limits.keep_alive_grace = grace;
            assert_eq!(silence(60, true, &limits), Some(NEVER), "{grace}");
        }
        assert_eq!(silence(0, true, &limits), None);
    }
}
