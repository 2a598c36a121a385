//! How the proxy stops: gently, in time, or at once; and how it drains without stopping.
//!
//! ```text
//! ready_delay:    not ready, still accepting ---.
//! drain_timeout:  sessions are sent away -------+--- an undo goes back, if no signal has come
//! then:           the rest is cut --------------'
//! ```
//! After a signal, the process ends then. After a request of the admin port, it waits for either.

mod request;
mod spread;

use std::time::Duration;

use mproxy_admin::DrainState;
use mproxy_config::{DrainNotice, DrainWills, Server};
use mproxy_session::{Order, When};
use tokio::time::{Instant, sleep, timeout};

use super::event::{Event, Events};
use super::service_manager;
use super::supervisor::Supervisor;

/// How long sessions get to end after time is up.
const LAST_CALL: Duration = Duration::from_millis(500);

/// How the drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every session ended when it was told to.
    Gently,
    /// Its time was over, and the remaining sessions were cut.
    InTime,
    /// This second signal came, and the remaining sessions were cut.
    Forced { signal: u8 },
}

/// The times of a drain.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Since when it is known that the proxy is not ready.
    announced: Instant,
    /// How long it accepts after that.
    delay: Duration,
    /// How long sessions have after that.
    timeout: Duration,
    /// What sets that, for the operator.
    limit: &'static str,
}

impl Supervisor {
    /// Drains and ends: until no session is left, time is up, or a second signal comes.
    pub(super) async fn stop(mut self, events: &mut Events) -> Drained {
        service_manager::stopping();
        self.progress.ends();
        self.sockets.ends();
        let times = self.times(None);
        let drained = tokio::select! {
            drained = self.drain(times, "a second signal ends at once") => drained,
            signal = second_stop(events) => Drained::Forced { signal },
        };
        if let Drained::Forced { .. } = drained {
            self.close();
            self.cut("received a second signal: closing the remaining sessions")
                .await;
        }
        let gentle = drained == Drained::Gently;
        tracing::info!(target: "mproxy::server", event = "stop", gentle, "stopped");
        drained
    }

    /// Since when the proxy is not ready: from now on, unless a drain has begun before.
    fn announced(&mut self) -> Instant {
        self.health.set_draining(true);
        *self.announced.get_or_insert_with(Instant::now)
    }

    /// The times of a drain: of one that may last so long, the time for load balancers included, or what the
    /// configuration says.
    fn times(&mut self, all: Option<Duration>) -> Times {
        let announced = self.announced();
        let server = &self.config.server;
        let (delay, timeout, limit) = match all {
            None => (
                server.ready_delay,
                server.drain_timeout,
                "server.drain_timeout",
            ),
            Some(all) => {
                // at least half of the time is for the sessions
                let delay = server.ready_delay.min(all / 2);
                (delay, all - delay, "the time of this drain")
            }
        };
        Times {
            announced,
            delay,
            timeout,
            limit,
        }
    }

    /// Stops accepting and ends the sessions, until none is left or time is up.
    async fn drain(&mut self, times: Times, way_out: &'static str) -> Drained {
        self.keep_accepting(times, way_out).await;
        self.progress.set(DrainState::Draining);
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            timeout_s = times.timeout.as_secs_f64(),
            "draining: no new connections; {way_out}"
        );
        self.close();
        let order = order(&self.config.server);
        let gently = async {
            self.workers.until_closed().await;
            // unless the process ends
            self.sockets.turn_away();
            spread::send_away(&self.registry, order, times.timeout).await;
        };
        if timeout(times.timeout, gently).await.is_ok() {
            return Drained::Gently;
        }
        let limit = times.limit;
        self.cut(&format!(
            "{limit} is over: closing the remaining sessions; raise it if this is too soon"
        ))
        .await;
        Drained::InTime
    }

    /// Goes on accepting until load balancers have seen that the proxy is not ready.
    async fn keep_accepting(&self, times: Times, way_out: &'static str) {
        let left = times.delay.saturating_sub(times.announced.elapsed());
        if left.is_zero() || self.stop.is_cancelled() {
            return;
        }
        self.progress.set(DrainState::NotReady);
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            ready_delay_s = times.delay.as_secs_f64(),
            "not ready: accepting until server.ready_delay is over, then draining; {way_out}"
        );
        sleep(left).await;
    }

    /// Closes the listening sockets.
    fn close(&mut self) {
        self.stop.cancel();
        self.sockets.close();
        for listener in &self.plan.listeners {
            self.health
                .listener(&listener.name)
                .close("closed by the drain");
        }
    }

    /// Closes the sessions that are left, and says why there are some.
    async fn cut(&self, why: &str) {
        tracing::warn!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            "{why}"
        );
        // a session that was told before is told again, more urgently
        let order = order(&self.config.server).when(When::Now);
        self.registry.close_all(order);
        let _ = timeout(LAST_CALL, self.registry.wait_until_empty()).await;
    }
}

/// Waits for a second signal to stop. Everything else is refused from now on.
async fn second_stop(events: &mut Events) -> u8 {
    loop {
        match events.next().await {
            Event::Stop { signal } => return signal,
            Event::Reload(reload) => reload.refuse_because_of_drain(),
            Event::Drain(request) => request.refuse_because_of_end(),
            Event::Undo(request) => request.refuse_because_of_end(),
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
