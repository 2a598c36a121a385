//! What is counted and measured of a worker. Its pulse is a timer that always runs, and measures how late it fires.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mproxy_admin::{LayerMetrics, Metrics, TrafficCounters};
use tokio::time::{Instant, sleep_until};

/// How often the timer fires: often enough for percentiles, and rarely enough for an idle process. A
/// thread wakes up twice for it, because the runtime sorts a timer in again shortly before it is due.
///
/// The timer has a second use. A runtime whose next timer is later than a new one wakes itself up, by
/// two system calls, and the one that bounds the dialling of a broker is sooner than all those of idle
/// connections; with this one it is not.
const TICK: Duration = Duration::from_millis(500);

/// A worker that was blocked for longer counts as blocked for this many ticks, which is 10 s: a
/// process that was stopped for an hour need not catch up.
const CAUGHT_UP: u32 = 20;

/// What all sessions of a worker share.
#[derive(Debug)]
pub(crate) struct WorkerRecorder {
    pub(crate) traffic: Arc<TrafficCounters>,
    /// Packets that the proxy makes itself.
    pub(crate) own: LayerMetrics,
    /// Counters of rare events.
    pub(crate) metrics: Metrics,
    /// Measure the latency of the next PUBLISH; the worker sets this regularly.
    pub(crate) wants_latency: AtomicBool,
    /// How late the worker is.
    pub(crate) pulse: Pulse,
}

impl WorkerRecorder {
    pub(crate) fn new(metrics: &Metrics, index: usize) -> Arc<Self> {
        Arc::new(Self {
            traffic: metrics.worker(index),
            own: metrics.layer("session"),
            metrics: metrics.clone(),
            wants_latency: AtomicBool::new(true),
            pulse: Pulse::new(),
        })
    }

    /// At each tick, measures how late the worker is, and makes it measure the latency of its broker.
    pub(super) async fn beat(&self) -> Infallible {
        loop {
            let due = Instant::now() + TICK;
            self.pulse.expect(due);
            sleep_until(due).await;
            let late = due.elapsed();
            self.pulse.came(late);
            for lag in lags(late) {
                self.metrics.worker_lagged(lag);
            }
            self.wants_latency.store(true, Ordering::Relaxed);
        }
    }
}

/// How late a worker is, for others to read.
#[derive(Debug)]
pub(crate) struct Pulse {
    started: Instant,
    /// When the next tick is due, in milliseconds since `started`.
    due: AtomicU64,
    /// The worst delay of a tick since it was read, in milliseconds.
    worst: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            due: AtomicU64::new(u64::MAX),
            worst: AtomicU64::new(0),
        }
    }

    fn expect(&self, due: Instant) {
        let due = millis(due.duration_since(self.started));
        self.due.store(due, Ordering::Relaxed);
    }

    fn came(&self, late: Duration) {
        self.worst.fetch_max(millis(late), Ordering::Relaxed);
    }

    /// The worst delay since it was read last, also of a tick that has not come yet: a worker that stands
    /// still says nothing.
    pub(crate) fn lag(&self) -> Duration {
        let now = millis(self.started.elapsed());
        let overdue = now.saturating_sub(self.due.load(Ordering::Relaxed));
        let worst = self.worst.swap(0, Ordering::Relaxed);
        Duration::from_millis(worst.max(overdue))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The delay of each tick that was due meanwhile, if the first is this late. If only the first counted,
/// a worker that stands still for ten seconds would have one sample where a healthy one has twenty,
/// and no percentile would show it.
fn lags(first: Duration) -> impl Iterator<Item = Duration> {
    (0..CAUGHT_UP).map_while(move |tick| first.checked_sub(TICK * tick))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use mproxy_admin::{BuildInfo, Format, Health};

    use super::*;

    #[test]
    fn ticks_that_were_held_up_count_and_are_limited() {
        let of = |millis| lags(Duration::from_millis(millis)).map(|it| it.as_millis());
        assert_eq!(of(1).collect::<Vec<_>>(), [1]);
        assert_eq!(of(1200).collect::<Vec<_>>(), [1200, 700, 200]);
        assert_eq!(of(3_600_000).count(), 20);
        assert_eq!(of(3_600_000).max(), Some(3_600_000));
    }

    /// A worker that one client kept busy looked healthy: others waited a quarter of a second for each
    /// packet, and no metric had a word about it.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stands_still_is_seen() {
        let build = BuildInfo::new("mproxy-server", "0.1.0");
        let metrics = Metrics::new(&build, &Health::new(), NonZeroUsize::MIN);
        let recorder = WorkerRecorder::new(&metrics, 0);
        recorder.wants_latency.store(false, Ordering::Relaxed);
        let seen = |sample: &str| {
            let text = metrics.render(Format::PrometheusText).expect("text");
            let value = text.lines().find_map(|line| line.strip_prefix(sample));
            value.and_then(|it| it.trim().parse::<u32>().ok())
        };
        let all = "mproxy_worker_lag_seconds_count";
        let short = "mproxy_worker_lag_seconds_bucket{le=\"0.001\"}";
        let work = async {
            for _ in 0..4 {
                tokio::time::sleep(TICK).await;
            }
            tokio::task::yield_now().await;
            assert_eq!((seen(all), seen(short)), (Some(4), Some(4)));
            assert!(recorder.wants_latency.load(Ordering::Relaxed));
            // three ticks are due while nothing else gets its turn
            tokio::time::advance(TICK * 3 + Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
            assert_eq!((seen(all), seen(short)), (Some(7), Some(4)));
            let late = TICK * 2 + Duration::from_millis(100);
            assert_eq!(recorder.pulse.lag(), late);
            assert_eq!(recorder.pulse.lag(), Duration::ZERO, "it was read");
            // it still stands
            tokio::time::advance(TICK * 4).await;
            assert_eq!(recorder.pulse.lag(), TICK * 3);
        };
        tokio::select! {
            never = recorder.beat() => match never {},
            () = work => {}
        }
    }
}
