//! Log lines about denials, few enough to be read.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use mproxy_session::SessionInfo;
use tracing::warn;

use crate::{cut::cut, observe::Action};

/// How long a session is quiet about further denials: a device that is denied tends to try again at
/// once.
const QUIET: Duration = Duration::from_secs(10);

/// The denials of one session: the first is logged at once, and then at most one in ten seconds,
/// with the number of those in between. What is left over at the end is in the totals of the
/// session.
///
/// Boxed: hardly any session has one.
#[derive(Debug, Default)]
pub(crate) struct Denials(OnceLock<Box<Mutex<State>>>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    suppressed: u64,
}

impl Denials {
    /// Notes a denial, and logs it if it is time.
    ///
    /// The lock and the look at the clock are only paid for what is denied.
    pub(crate) fn note(
        &self,
        session: &SessionInfo,
        action: Action,
        topic: &str,
        why: &dyn fmt::Display,
    ) {
        let Some(suppressed) = self.due(Instant::now()) else {
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

    /// Returns how many denials before this one were not logged, `None` if this one is not logged either.
    fn due(&self, now: Instant) -> Option<u64> {
        let state = self.0.get_or_init(Box::default);
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .logged
            .is_some_and(|logged| now.saturating_duration_since(logged) < QUIET)
        {
            state.suppressed += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_denial_is_logged_and_then_one_in_ten_seconds() {
        let (denials, start) = (Denials::default(), Instant::now());
        let due = |seconds| denials.due(start + Duration::from_secs(seconds));
        assert_eq!(due(0), Some(0));
        assert_eq!((due(0), due(3), due(9)), (None, None, None));
        assert_eq!(due(10), Some(3));
        assert_eq!(due(19), None);
        assert_eq!(due(60), Some(1));
        assert_eq!(due(120), Some(0));
    }
}
