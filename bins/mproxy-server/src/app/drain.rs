//! How the proxy stops: gently, in time, or at once.

use std::time::Duration;

use mproxy_config::{DrainNotice, DrainWills, Server};
use mproxy_session::{Order, SessionHandle};
use tokio::time::{Instant, interval, sleep_until};

use super::event::{Event, Events};
use super::service_manager;
use super::supervisor::Supervisor;

/// How long sessions get to end after time is up.
const LAST_CALL: Duration = Duration::from_millis(500);

/// The mean time between two orders to end a session, if the drain has time for it.
const PACE: Duration = Duration::from_millis(10);

/// How long clients that have connected get for their CONNACK, but at most a quarter of the time. For
/// a client whose connection is closed before that, connecting has failed.
const CONNECTING: Duration = Duration::from_secs(1);

/// How often such a client is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How the drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every session ended when it was told to.
    Gently,
    /// `server.drain_timeout` was over, and the remaining sessions were cut.
    InTime,
    /// This second signal came, and the remaining sessions were cut.
    Forced { signal: u8 },
}

impl Supervisor {
    /// Stops accepting and ends the sessions, until none is left, time is up, or a second signal comes.
    pub(super) async fn drain(mut self, events: &mut Events) -> Drained {
        service_manager::stopping();
        if let Some(signal) = self.announce_drain(events).await {
            return self.cut(Drained::Forced { signal }).await;
        }
        let timeout = self.config.server.drain_timeout;
        let order = order(&self.config.server);
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            timeout_s = timeout.as_secs_f64(),
            "draining: no new connections; a second signal ends at once"
        );
        self.stop.cancel();
        self.sockets.close();
        self.workers.until_closed().await;
        let drained = tokio::select! {
            () = self.send_away(order, timeout) => Drained::Gently,
            () = tokio::time::sleep(timeout) => Drained::InTime,
            signal = second_stop(events) => Drained::Forced { signal },
        };
        self.cut(drained).await
    }

    /// Says that the proxy is not ready any more, and goes on accepting until load balancers have seen it.
    /// Returns a second signal, if one comes.
    async fn announce_drain(&self, events: &mut Events) -> Option<u8> {
        self.health.set_draining(true);
        let delay = self.config.server.ready_delay;
        if delay.is_zero() {
            return None;
        }
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            ready_delay_s = delay.as_secs_f64(),
            "not ready: accepting until server.ready_delay is over, then draining"
        );
        tokio::select! {
            () = tokio::time::sleep(delay) => None,
            signal = second_stop(events) => Some(signal),
        }
    }

    /// Closes what is left, and says why there is something.
    async fn cut(&self, drained: Drained) -> Drained {
        let why = match drained {
            Drained::Gently => None,
            Drained::InTime => Some(
                "server.drain_timeout is over: closing the remaining sessions; raise it if this is \
                 too soon",
            ),
            Drained::Forced { .. } => {
                Some("received a second signal: closing the remaining sessions")
            }
        };
        if let Some(why) = why {
            tracing::warn!(
                target: "mproxy::server",
                event = "drain",
                sessions = self.registry.len(),
                "{why}"
            );
            self.registry.close_all(order(&self.config.server));
            let _ = tokio::time::timeout(LAST_CALL, self.registry.wait_until_empty()).await;
        }
        let gentle = drained == Drained::Gently;
        tracing::info!(target: "mproxy::server", event = "stop", gentle, "stopped");
        drained
    }

    /// Ends sessions one after the other, so that a fleet does not reconnect all at once, and
    /// waits for the last one.
    async fn send_away(&self, order: Order, timeout: Duration) {
        let begun = Instant::now();
        let (mut established, pending): (Vec<_>, Vec<_>) = self
            .registry
            .running()
            .partition(SessionHandle::is_established);
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
        // sessions that have moved between workers meanwhile
        self.registry.close_all(order);
        self.registry.wait_until_empty().await;
    }
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

/// Waits for a second signal to stop. Reloads are refused from now on.
async fn second_stop(events: &mut Events) -> u8 {
    loop {
        match events.next().await {
            Event::Stop { signal } => return signal,
            Event::Reload(reload) => reload.refuse_because_of_drain(),
        }
    }
}

fn order(server: &Server) -> Order {
    let order = Order::drain(server.drain_wills == DrainWills::Suppress);
    match server.drain_notice {
        DrainNotice::None => order,
        DrainNotice::Disconnect => order.with_notice(),
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
