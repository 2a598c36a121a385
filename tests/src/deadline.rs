//! How long tests wait.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long anything may take that is to happen: far longer than it takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often something is looked at that cannot be waited for.
pub(crate) const GLANCE: Duration = Duration::from_millis(10);

/// Waits for `future`.
///
/// # Panics
/// When it takes longer than [`PATIENCE`]: `what` did not happen.
#[track_caller]
pub fn within<F: Future>(what: impl Display, future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        timeout(PATIENCE, future)
            .await
            .unwrap_or_else(|_| panic!("{caller}: waited {PATIENCE:?} for {what}"))
    }
}

/// Looks again and again until `look` finds something. For what tells nobody that it happened: the
/// memory of another process, a page of another server.
///
/// # Panics
/// When it finds nothing in [`PATIENCE`].
#[track_caller]
pub fn until<T>(
    what: impl Display,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    within(what, async move {
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            glances.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    })
}
