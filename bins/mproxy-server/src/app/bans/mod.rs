//! Clients that may not connect: because they misbehaved again and again, or because an operator says so.
//!
//! ```text
//! offence -> points of its address, user name, client id -> three quarters: the session ends
//!                                                        -> threshold: a ban
//! accept: is the address banned?        CONNECT, after the layers: is the user name, the client id?
//! ```
//!
//! Anybody can claim a name, so a name gets points only for what its client does after the broker has let it
//! in. For what comes before, only the address does.

mod offence;
mod score;
mod table;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mproxy_admin::{BanMetrics, BanSource, Offence};
use mproxy_config::{self as config, BanMode};

pub(crate) use self::offence::{Offender, of_end, of_tls, of_websocket};
use self::score::{Scores, Standing};
use self::table::Table;
pub(crate) use self::table::{Ban, Full, Subject};

/// All bans of the process, and the scores that lead to them.
#[derive(Debug)]
pub(crate) struct Bans {
    started: Instant,
    state: Mutex<State>,
    /// How many bans there are, so that a connection takes no lock where there are none.
    count: AtomicUsize,
    /// Whether offences count.
    counts: AtomicBool,
    metrics: BanMetrics,
}

#[derive(Debug)]
struct State {
    settings: Arc<config::Bans>,
    scores: Scores,
    table: Table,
}

/// A ban that keeps a client out.
#[derive(Clone, Debug)]
pub(crate) struct Banned {
    pub(crate) subject: Subject,
    pub(crate) ban: Ban,
    /// How much longer; `None` = until it is lifted.
    pub(crate) remaining: Option<Duration>,
}

/// A score, for the operator.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    pub(crate) subject: Subject,
    pub(crate) points: f64,
}

impl Bans {
    pub(crate) fn new(settings: config::Bans, metrics: BanMetrics) -> Arc<Self> {
        let bans = Arc::new(Self {
            started: Instant::now(),
            count: AtomicUsize::new(0),
            counts: AtomicBool::new(settings.mode != BanMode::Off),
            state: Mutex::new(State {
                scores: Scores::new(&settings),
                settings: Arc::new(settings),
                table: Table::default(),
            }),
            metrics,
        });
        let source = Arc::downgrade(&bans);
        bans.metrics.watch(move |kind| {
            let bans = source.upgrade();
            bans.map_or(0, |bans| bans.lock().table.current(kind, Instant::now()))
        });
        bans
    }

    /// Takes new settings. Bans and points stay, unless the time in which points are forgotten has changed.
    pub(crate) fn configure(&self, settings: &config::Bans) {
        let mut state = self.lock();
        if *state.settings == *settings {
            return;
        }
        state.scores.configure(settings);
        self.counts
            .store(settings.mode != BanMode::Off, Ordering::Relaxed);
        state.settings = Arc::new(settings.clone());
    }

    /// Whether offences count.
    pub(crate) fn counts(&self) -> bool {
        self.counts.load(Ordering::Relaxed)
    }

    /// The ban of this address.
    pub(crate) fn address(&self, address: IpAddr) -> Option<Banned> {
        self.find(|table, now| table.address(address, now))
    }

    /// The ban of one of these names.
    pub(crate) fn names(&self, username: Option<&str>, client_id: &str) -> Option<Banned> {
        self.find(|table, now| table.names(username, client_id, now))
    }

    fn find(&self, find: impl FnOnce(&Table, Instant) -> Option<(Subject, Ban)>) -> Option<Banned> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = Instant::now();
        let (subject, ban) = find(&self.lock().table, now)?;
        Some(Banned {
            subject,
            remaining: ban.remaining(now),
            ban,
        })
    }

    /// Counts an offence. True if the session of the offender, if it still runs, must end.
    pub(crate) fn note(&self, offence: Offence, offender: &Offender<'_>) -> bool {
        if !self.counts() {
            return false;
        }
        self.metrics.offence(offence);
        let mut state = self.lock();
        let settings = Arc::clone(&state.settings);
        if settings.mode == BanMode::Off || offender.is_exempt(&settings.exempt) {
            return false;
        }
        let now = Instant::now();
        let at = now.saturating_duration_since(self.started);
        let mut must_end = false;
        for subject in offender.subjects(settings.subjects) {
            match state.scores.add(&subject, offence, at) {
                Standing::Fine => continue,
                Standing::Close => must_end = true,
                Standing::Ban if settings.mode == BanMode::Enforce => {
                    must_end = true;
                    let ban = Ban::by_points(offence, settings.duration, now);
                    let made = state.table.insert(subject.clone(), ban, now);
                    self.announce(&subject, offence, &settings, made);
                }
                Standing::Ban => self.announce(&subject, offence, &settings, Ok(())),
            }
        }
        self.tell(&state);
        must_end && settings.mode == BanMode::Enforce
    }

    /// Bans a subject for this time, or until it is lifted.
    ///
    /// # Errors
    /// There are too many bans.
    pub(crate) fn ban(
        &self,
        subject: Subject,
        term: Option<Duration>,
        reason: Option<&str>,
    ) -> Result<(), Full> {
        let now = Instant::now();
        let ban = Ban::by_operator(reason, term, now);
        let mut state = self.lock();
        state.table.insert(subject.clone(), ban, now)?;
        self.tell(&state);
        drop(state);
        self.metrics.banned(subject.kind(), BanSource::Admin);
        tracing::info!(
            target: "mproxy::server",
            event = "ban",
            subject = subject.kind().as_str(),
            banned = subject.value(),
            by = BanSource::Admin.as_str(),
            ban_s = term.map(|it| it.as_secs_f64()),
            detail = reason,
            "banned through the admin port"
        );
        Ok(())
    }

    /// Lifts a ban, and forgets the points of its subject. False if there was neither.
    pub(crate) fn lift(&self, subject: &Subject) -> bool {
        let mut state = self.lock();
        let had_points = state.scores.forgive(subject);
        let was_banned = state.table.remove(subject, Instant::now());
        self.tell(&state);
        drop(state);
        if was_banned {
            tracing::info!(
                target: "mproxy::server",
                event = "ban",
                subject = subject.kind().as_str(),
                banned = subject.value(),
                by = BanSource::Admin.as_str(),
                "ban lifted through the admin port"
            );
        }
        was_banned || had_points
    }

    /// All bans, those that end last first, and all scores, the largest first.
    pub(crate) fn list(&self) -> (Vec<Banned>, Vec<Scored>) {
        let now = Instant::now();
        let state = self.lock();
        let bans = state.table.iter(now).map(|(subject, ban)| Banned {
            subject,
            remaining: ban.remaining(now),
            ban,
        });
        let mut bans: Vec<_> = bans.collect();
        let at = now.saturating_duration_since(self.started);
        let mut scores: Vec<_> = state.scores.iter(at).collect();
        drop(state);
        bans.sort_by_key(|it| std::cmp::Reverse(it.remaining.unwrap_or(Duration::MAX)));
        scores.sort_by(|a, b| b.points.total_cmp(&a.points));
        (bans, scores)
    }

    /// How long a ban lasts if nobody says otherwise.
    pub(crate) fn usual_term(&self) -> Duration {
        self.lock().settings.duration
    }

    /// The threshold, in points.
    pub(crate) fn threshold(&self) -> usize {
        self.lock().settings.threshold.get()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // nothing that can panic lies between two changes that belong together
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the number of bans known without the lock.
    fn tell(&self, state: &State) {
        self.count.store(state.table.len(), Ordering::Relaxed);
    }

    /// One line about a subject that has reached the threshold.
    fn announce(
        &self,
        subject: &Subject,
        offence: Offence,
        settings: &config::Bans,
        made: Result<(), Full>,
    ) {
        let threshold = settings.threshold;
        let detail = format!(
            "{threshold} points in {:?}, the last ones for {}",
            settings.forgive,
            offence.as_str()
        );
        macro_rules! line {
            ($message:literal, $remedy:expr) => {
                tracing::warn!(
                    target: "mproxy::server",
                    event = "ban",
                    subject = subject.kind().as_str(),
                    banned = subject.value(),
                    by = BanSource::Points.as_str(),
                    ban_s = settings.duration.as_secs_f64(),
                    detail,
                    remedy = $remedy,
                    $message
                )
            };
        }
        match (settings.mode, made) {
            (BanMode::Enforce, Ok(())) => {
                self.metrics.banned(subject.kind(), BanSource::Points);
                line!(
                    "banned: misbehaved again and again",
                    format!(
                        "if this is yours, repair it and lift the ban with mproxy-server bans remove {}; \
                         networks that must not be banned belong in bans.exempt",
                        subject.as_argument()
                    )
                );
            }
            (BanMode::Enforce, Err(Full)) => line!(
                "not banned, although it misbehaved again and again: there is no room for more bans",
                "many addresses attack: limit them all with listeners.*.limits.connection_rate and deny \
                 their networks"
            ),
            _ => line!(
                "would be banned: misbehaved again and again",
                "set bans.mode to \"enforce\" to ban it; if it is yours, repair it, or raise \
                 bans.threshold"
            ),
        }
    }
}

impl Banned {
    /// Why a client is kept out, and for how long.
    pub(crate) fn detail(&self) -> String {
        let subject = &self.subject;
        let (kind, why) = (subject.kind().as_str(), self.ban.why());
        match self.remaining {
            Some(remaining) => {
                let remaining = match remaining.as_secs() {
                    0 => "less than a second".to_owned(),
                    seconds => format!("{seconds}s"),
                };
                format!("{kind} {subject} is banned for {remaining} more: {why}")
            }
            None => format!("{kind} {subject} is banned: {why}"),
        }
    }

    /// How to let it in again.
    pub(crate) fn remedy(&self) -> String {
        let argument = self.subject.as_argument();
        format!("if this is your client, lift the ban: mproxy-server bans remove {argument}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use mproxy_config::Subjects;

    /// The default settings, in this mode.
    pub(crate) fn settings(mode: &str) -> config::Bans {
        let config = config::from_text(&format!("[bans]\nmode = \"{mode}\"\n"));
        config.expect("a valid configuration").bans
    }

    fn bans(mode: &str) -> Arc<Bans> {
        let build = crate::app::build_info();
        let health = mproxy_admin::Health::new();
        let metrics = mproxy_admin::Metrics::new(&build, &health, std::num::NonZeroUsize::MIN);
        Bans::new(settings(mode), metrics.bans())
    }

    fn from(address: &str) -> Offender<'static> {
        Offender {
            address: Some(address.parse().unwrap()),
            ipv6_prefix: 64,
            session: None,
        }
    }

    #[test]
    fn an_address_that_offends_again_and_again_is_banned() {
        let bans = bans("enforce");
        let offender = from("[2001:db8::1]:1");
        let ends: Vec<_> = (0..5)
            .map(|_| bans.note(Offence::ProtocolError, &offender))
            .collect();
        assert_eq!(ends, [false, false, false, true, true]);
        // all of the prefix, and nobody else
        let is_banned = |address: &str| bans.address(address.parse().unwrap()).is_some();
        assert!(is_banned("2001:db8::2") && !is_banned("2001:db8:0:1::1"));
        let (list, scores) = bans.list();
        assert_eq!((list.len(), scores.len()), (1, 0));
        let subject = &list[0].subject;
        assert_eq!(subject.value(), "2001:db8::/64");
        assert!(bans.lift(subject) && !bans.lift(subject));
        assert!(!is_banned("2001:db8::2"));
    }

    #[test]
    fn who_is_exempt_or_only_observed_is_not_banned() {
        let observing = bans("observe");
        let enforcing = bans("enforce");
        let mut settings = settings("enforce");
        settings.exempt = vec!["192.0.2.0/24".parse().unwrap()];
        enforcing.configure(&settings);
        let off = bans("off");
        for bans in [&observing, &enforcing, &off] {
            for _ in 0..50 {
                assert!(!bans.note(Offence::ProtocolError, &from("192.0.2.7:1")));
            }
            assert!(bans.list().0.is_empty());
        }
        // an operator bans in every mode
        let network = Subject::Address("192.0.2.7".parse().unwrap());
        off.ban(network, None, Some("stolen")).unwrap();
        let mut banned = off.address("192.0.2.7".parse().unwrap()).unwrap();
        assert_eq!(banned.detail(), "address 192.0.2.7 is banned: stolen");
        for (left, words) in [(300, "less than a second"), (61_900, "61s")] {
            banned.remaining = Some(Duration::from_millis(left));
            let detail = format!("address 192.0.2.7 is banned for {words} more: stolen");
            assert_eq!(banned.detail(), detail);
        }
    }

    #[test]
    fn a_kind_that_is_not_banned_has_no_points() {
        let bans = bans("enforce");
        let mut settings = settings("enforce");
        settings.subjects = Subjects::default();
        bans.configure(&settings);
        for _ in 0..50 {
            bans.note(Offence::ProtocolError, &from("192.0.2.7:1"));
        }
        let (list, scores) = bans.list();
        assert_eq!((list.len(), scores.len()), (0, 0));
    }
}
