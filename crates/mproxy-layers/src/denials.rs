//! Log lines about denials, limited so that they can be read.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use mproxy_session::SessionInfo;
use tracing::warn;

use crate::{cut::cut, observe::Action};

/// How long a session does not log further denials of the same kind: a denied device tends to try again
/// at once.
const QUIET: Duration = Duration::from_secs(10);

/// How many kinds of denials a session limits separately. Further ones share the last place:
/// a client that meets a thousand rules must not write a thousand lines.
const KINDS: usize = 16;

/// The denials of one session. Of each kind, which is an action and the rule that denied it, the first
/// is logged at once, and then at most one in ten seconds, with the number of those in between. What
/// is left over at the end is in the totals of the session.
///
/// Boxed: hardly any session has one.
#[derive(Debug, Default)]
pub(crate) struct Denials(OnceLock<Box<Mutex<Vec<Kind>>>>);

#[derive(Debug)]
struct Kind {
    action: Action,
    /// The number of a rule, or of another reason.
    rule: u32,
    logged: Instant,
    suppressed: u64,
}

impl Denials {
    /// Counts a denial by this rule, and logs it if it is time.
    ///
    /// Only denials pay for the lock and the clock.
    pub(crate) fn note(
        &self,
        session: &SessionInfo,
        action: Action,
        rule: u32,
        topic: &str,
        why: &dyn fmt::Display,
    ) {
        let Some(suppressed) = self.due(action, rule, Instant::now()) else {
            return;
        };
        warn!(
            target: "mproxy::access",
            event = "deny",
            listener = &*session.peer().listener,
            peer = %session.peer(),
            client_id = &*cut(session.client_id()),
            username = session.user_name().map(cut).as_deref(),
            version = session.version().as_str(),
            action = action.as_str(),
            topic = &*cut(topic),
            detail = &*cut(&why.to_string()),
            suppressed = (suppressed > 0).then_some(suppressed),
            "denied"
        );
    }

    /// Returns how many denials of its kind before this one were not logged, `None` if this one is
    /// not logged either.
    fn due(&self, action: Action, rule: u32, now: Instant) -> Option<u64> {
        let kinds = self.0.get_or_init(Box::default);
        let mut kinds = kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |kind: &Kind| now.saturating_duration_since(kind.logged) < QUIET;
        let same = |kind: &Kind| kind.action == action && kind.rule == rule;
        let Some(place) = kinds.iter().position(same) else {
            // what nobody would miss makes room
            kinds.retain(|kind| quiet(kind) || kind.suppressed > 0);
            if kinds.len() >= KINDS
                && let Some(last) = kinds.last_mut()
            {
                return again(last, quiet(last), now);
            }
            kinds.push(Kind {
                action,
                rule,
                logged: now,
                suppressed: 0,
            });
            return Some(0);
        };
        let kind = kinds.get_mut(place)?;
        again(kind, quiet(kind), now)
    }
}

/// Counts a denial of a kind that was logged before.
fn again(kind: &mut Kind, quiet: bool, now: Instant) -> Option<u64> {
    if quiet {
        kind.suppressed += 1;
        return None;
    }
    kind.logged = now;
    Some(std::mem::take(&mut kind.suppressed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_denial_is_logged_and_then_one_in_ten_seconds() {
        let (denials, start) = (Denials::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let due = |seconds| denials.due(Action::Publish, 1, at(seconds));
        assert_eq!(due(0), Some(0));
        assert_eq!((due(0), due(3), due(9)), (None, None, None));
        assert_eq!(due(10), Some(3));
        assert_eq!(due(19), None);
        assert_eq!(due(60), Some(1));
        assert_eq!(due(120), Some(0));
    }

    /// There was one limit for a session: a device that published to a wrong topic all the time hid
    /// that its SUBSCRIBE was refused by another rule.
    #[test]
    fn each_action_and_rule_has_a_limit_of_its_own() {
        let (denials, start) = (Denials::default(), Instant::now());
        let due =
            |action, rule, seconds| denials.due(action, rule, start + Duration::from_secs(seconds));
        assert_eq!(due(Action::Publish, 1, 0), Some(0));
        assert_eq!(due(Action::Publish, 1, 1), None);
        assert_eq!(due(Action::Subscribe, 1, 1), Some(0));
        assert_eq!(due(Action::Publish, 2, 2), Some(0));
        assert_eq!(due(Action::Publish, 2, 3), None);
        assert_eq!(due(Action::Publish, 1, 10), Some(1));
        assert_eq!(due(Action::Publish, 2, 12), Some(1));
    }

    #[test]
    fn a_client_that_meets_many_rules_does_not_write_many_lines() {
        let (denials, start) = (Denials::default(), Instant::now());
        let lines = |seconds| {
            let at = start + Duration::from_secs(seconds);
            let due = (0..1000).filter_map(|rule| denials.due(Action::Publish, rule, at));
            due.fold((0, 0), |(lines, suppressed), more| {
                (lines + 1, suppressed + more)
            })
        };
        assert_eq!(lines(0), (16, 0));
        assert_eq!(lines(5), (0, 0));
        let (count, suppressed) = lines(10);
        assert_eq!(count, 16);
        // those of the two rounds before that were not written
        assert_eq!(suppressed, 2000 - 16);
    }
}
