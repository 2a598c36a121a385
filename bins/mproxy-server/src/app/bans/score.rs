//! The points of each subject, forgotten with time.

use std::time::Duration;

use mproxy_admin::Offence;
use mproxy_config as config;

use super::Scored;
use super::table::Subject;
use crate::app::recent::{Recent, nanos};

/// Subjects with points: 28 MiB at most, with the longest names that are remembered.
const MOST_SCORES: usize = 65_536;

/// Where a subject stands after an offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Fine,
    /// At three quarters of the threshold: its session ends, and it may connect again.
    Close,
    /// At the threshold. Its points are forgotten.
    Ban,
}

/// The points of all subjects.
///
/// A score is stored as the time at which all of it is forgotten: the threshold is forgotten in a fixed time,
/// so that a point is a stretch of it. It needs no update while nothing happens.
#[derive(Debug)]
pub(super) struct Scores {
    /// Nanoseconds in which the threshold is forgotten.
    forgive: u64,
    threshold: u64,
    costs: config::BanPoints,
    /// When a subject has no points any more.
    clean: Recent<Subject>,
}

impl Scores {
    pub(super) fn new(settings: &config::Bans) -> Self {
        Self {
            forgive: nanos(settings.forgive),
            threshold: settings.threshold.get() as u64,
            costs: settings.points.clone(),
            clean: Recent::new(MOST_SCORES),
        }
    }

    /// Takes new settings. Points stay, unless they are forgotten at another pace.
    pub(super) fn configure(&mut self, settings: &config::Bans) {
        let mut new = Self::new(settings);
        if (new.forgive, new.threshold) == (self.forgive, self.threshold) {
            std::mem::swap(&mut new.clean, &mut self.clean);
        }
        *self = new;
    }

    /// Adds what an offence costs.
    pub(super) fn add(&mut self, subject: &Subject, offence: Offence, at: Duration) -> Standing {
        let now = nanos(at);
        let Some(points) = self.cost(offence) else {
            return Standing::Fine;
        };
        let stretch = u128::from(self.forgive) * u128::from(points) / u128::from(self.threshold);
        let stretch = u64::try_from(stretch).unwrap_or(u64::MAX);
        let clean = self.clean.get(subject).unwrap_or(0).max(now);
        let clean = clean.saturating_add(stretch);
        let points = self.points(clean - now);
        if points >= self.threshold {
            self.clean.remove(subject);
            return Standing::Ban;
        }
        self.clean.set(subject.clone(), clean, now, self.forgive);
        match points >= (self.threshold * 3).div_ceil(4) {
            true => Standing::Close,
            false => Standing::Fine,
        }
    }

    /// A stretch of time in points, rounded up: five offences of 20 points are 100, though a
    /// moment passes between them.
    fn points(&self, stretch: u64) -> u64 {
        let points = u128::from(stretch) * u128::from(self.threshold);
        let points = points.div_ceil(u128::from(self.forgive.max(1)));
        u64::try_from(points).unwrap_or(u64::MAX)
    }

    /// Forgets the points of a subject. False if it had none.
    pub(super) fn forgive(&mut self, subject: &Subject) -> bool {
        self.clean.remove(subject).is_some()
    }

    /// All subjects with points.
    pub(super) fn iter(&self, at: Duration) -> impl Iterator<Item = Scored> {
        let now = nanos(at);
        let all = self
            .clean
            .iter()
            .map(move |(subject, clean)| (subject, clean.saturating_sub(now)));
        all.filter(|(_, level)| *level > 0)
            .map(|(subject, level)| Scored {
                subject: subject.clone(),
                points: level as f64 / self.forgive as f64 * self.threshold as f64,
            })
    }

    fn cost(&self, offence: Offence) -> Option<u64> {
        let costs = &self.costs;
        let points = match offence {
            Offence::ProtocolError => costs.protocol_error,
            Offence::AuthFailed => costs.auth_failed,
            Offence::BrokerRefusal => costs.broker_refusal,
            Offence::Denials => costs.denials,
            Offence::Reconnect => costs.reconnect,
            Offence::Pings => costs.pings,
            _ => None,
        };
        points.map(|points| points.get() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::bans::tests::settings;

    const SECOND: Duration = Duration::from_secs(1);

    fn subject(number: u32) -> Subject {
        Subject::client_id(&format!("c{number}"))
    }

    /// How many offences of 20 points until it is closed, and until it is banned.
    #[test]
    fn three_quarters_close_and_all_ban() {
        let mut scores = Scores::new(&settings("enforce"));
        let mut add = |at| scores.add(&subject(1), Offence::ProtocolError, SECOND * at);
        use Standing::{Ban, Close, Fine};
        assert_eq!(
            [0, 0, 0, 0, 0].map(&mut add),
            [Fine, Fine, Fine, Close, Ban]
        );
        // the points are forgotten with the ban
        assert_eq!(add(0), Fine);
    }

    /// 100 points are forgotten in 600 seconds: one every six.
    #[test]
    fn points_are_forgotten_with_time() {
        let mut scores = Scores::new(&settings("enforce"));
        for number in 0..1000 {
            let standing = scores.add(&subject(1), Offence::ProtocolError, SECOND * 120 * number);
            assert_eq!(standing, Standing::Fine, "{number}");
        }
        let at = SECOND * 120 * 999;
        let points = |at| scores.iter(at).next().map(|it| it.points.round());
        assert_eq!(points(at), Some(20.0));
        assert_eq!(points(at + SECOND * 60), Some(10.0));
        assert_eq!(points(at + SECOND * 120), None);
    }

    /// 5 times 20 points were never 100, because time passes.
    #[test]
    fn a_moment_between_offences_is_no_discount() {
        let mut scores = Scores::new(&settings("enforce"));
        let mut add = |millis| {
            let at = Duration::from_millis(millis);
            scores.add(&subject(1), Offence::ProtocolError, at)
        };
        use Standing::{Ban, Close, Fine};
        let standings = [0, 900, 1800, 2700, 3600].map(&mut add);
        assert_eq!(standings, [Fine, Fine, Fine, Close, Ban]);
    }

    #[test]
    fn each_subject_has_points_of_its_own_and_can_be_forgiven() {
        let mut scores = Scores::new(&settings("enforce"));
        for _ in 0..3 {
            scores.add(&subject(1), Offence::ProtocolError, SECOND);
        }
        assert_eq!(
            scores.add(&subject(2), Offence::AuthFailed, SECOND),
            Standing::Fine
        );
        assert!(scores.forgive(&subject(1)) && !scores.forgive(&subject(1)));
        assert_eq!(scores.iter(SECOND).count(), 1);
    }
}
