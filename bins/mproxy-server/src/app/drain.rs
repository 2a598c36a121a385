//! How the proxy stops: gently, in time, or at once.

use std::time::Duration;

use mproxy_config::{DrainNotice, DrainWills, Server};
use mproxy_session::Order;

use super::event::{Event, Events};
use super::service_manager;
use super::sockets::Sockets;
use super::supervisor::Supervisor;

/// How long sessions get to end after time is up.
const LAST_CALL: Duration = Duration::from_millis(500);

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
        // dropping the last handle closes the socket
        self.sockets = Sockets::default();
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
        let controls: Vec<_> = self.registry.running().collect();
        // half of the time to spread the orders, half for the sessions to follow them; a few
        // sessions go quickly
        let count = u32::try_from(controls.len()).unwrap_or(u32::MAX).max(1);
        let pause = (timeout / 2 / count).min(Duration::from_millis(10));
        let mut ticks = tokio::time::interval(pause.max(Duration::from_micros(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        for control in controls {
            ticks.tick().await;
            control.close(order);
        }
        // connections that were accepted at the last moment
        self.registry.close_all(order);
        self.registry.wait_until_empty().await;
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
