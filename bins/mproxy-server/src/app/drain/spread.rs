//! How sessions are sent away: not all at once, and not in the middle of connecting.

use std::time::Duration;

use mproxy_session::{Order, SessionHandle};
use tokio::time::{Instant, interval, sleep_until};

use crate::app::registry::Registry;

/// The mean time between two orders to end a session, if the drain has time for it.
const PACE: Duration = Duration::from_millis(10);

/// How long clients that have connected get for their CONNACK, but at most a quarter of the time. For
/// a client whose connection is closed before that, connecting has failed.
const CONNECTING: Duration = Duration::from_secs(1);

/// How often such a client is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Ends sessions one after the other, so that a fleet does not reconnect all at once, and waits for the
/// last one. Those that are not told yet stay when this is dropped.
pub(super) async fn send_away(registry: &Registry, order: Order, timeout: Duration) {
    let begun = Instant::now();
    let (mut established, pending): (Vec<_>, Vec<_>) =
        registry.running().partition(SessionHandle::is_established);
    // the workers list their sessions in the order in which they came
    fastrand::shuffle(&mut established);
    for (handle, at) in established.iter().zip(moments(timeout, established.len())) {
        sleep_until(begun + at).await;
        handle.close(order);
    }
    let until = begun + CONNECTING.min(timeout / 4);
    for handle in pending {
        settled(&handle, until).await;
        handle.close(order);
    }
    registry.wait_until_empty().await;
}

/// When each of so many sessions is told to end: half of the time to spread the orders, half for the
/// sessions to follow them; a few sessions go quickly. At random, because clients that are sent away at
/// a fixed pace come back at a fixed pace, together with those of other proxies that restart.
fn moments(timeout: Duration, sessions: usize) -> impl Iterator<Item = Duration> {
    let count = u32::try_from(sessions).unwrap_or(u32::MAX).max(1);
    let half = timeout / 2;
    let pause = (half / count).min(PACE);
    (0..count).map(move |number| (pause * number + pause.mul_f64(fastrand::f64())).min(half))
}

/// Waits until a client has its CONNACK, or is gone.
async fn settled(handle: &SessionHandle, until: Instant) {
    let mut looks = interval(LOOK);
    while !handle.is_established() && !handle.is_closed() && Instant::now() < until {
        looks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_spread_at_random_over_half_of_the_time() {
        let timeout = Duration::from_secs(30);
        for sessions in [0, 1, 2, 500, 100_000] {
            let moments: Vec<_> = moments(timeout, sessions).collect();
            assert!(moments.is_sorted(), "{sessions}");
            assert!(moments.iter().all(|it| *it <= timeout / 2), "{sessions}");
            assert!(moments.len() >= sessions);
        }
        let few: Vec<_> = moments(timeout, 100).collect();
        assert!(few[99] <= PACE * 100, "a few sessions go quickly");
        let pauses: Vec<_> = few.windows(2).map(|it| it[1] - it[0]).collect();
        assert!(pauses.windows(2).any(|it| it[0] != it[1]), "no jitter");
        assert!(moments(Duration::ZERO, 3).all(|it| it.is_zero()));
    }
}
