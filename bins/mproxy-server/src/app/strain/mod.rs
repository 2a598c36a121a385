//! Whether the process keeps up with its work, and what that means for new connections.
//!
//! ```text
//! read every second           worker lag, cpu.pressure, memory.pressure of the control group
//! above the threshold         scarce: so many new connections per second, others are refused
//! far above it                critical: no new connections, and those without a session are closed
//! ```
//!
//! Nothing here ends a session: their clients would come back at once, and cost more than before.

mod gauge;
mod psi;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mproxy_admin::{ConnectionLimit, OverloadMetrics};
use mproxy_config::Server;
use mproxy_session::{Order, SessionHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use self::gauge::Level;
use self::gauge::{Gauge, Threshold};
use self::psi::Resource;
use super::gate::Refused;
use super::registry::Registry;
use super::worker_recorder::WorkerRecorder;

/// How often it is read.
const PERIOD: Duration = Duration::from_secs(1);

/// New connections per second, on all listeners together, while the level is scarce. A TLS handshake takes
/// 0.2 ms.
const TRICKLE: u32 = 50;

/// So many times the lag from which on the level is scarce, it is critical.
const CRITICAL_LAG: f64 = 4.0;

/// What is read, in the order of [`SOURCES`].
const SOURCES: [ConnectionLimit; 3] = [
    ConnectionLimit::OverloadLag,
    ConnectionLimit::OverloadCpuPressure,
    ConnectionLimit::OverloadMemoryPressure,
];

/// The thresholds of each source; `None` turns it off.
type Thresholds = [Option<Threshold>; SOURCES.len()];

/// How hard it is for the process to keep up.
#[derive(Debug)]
pub(crate) struct Strain {
    workers: Vec<Arc<WorkerRecorder>>,
    thresholds: Mutex<Thresholds>,
    /// The highest level of all sources.
    level: AtomicU8,
    /// The source that has it.
    source: AtomicU8,
    /// New connections that come in before the next reading, while the level is scarce.
    left: AtomicU32,
    metrics: OverloadMetrics,
}

impl Strain {
    pub(crate) fn new(workers: Vec<Arc<WorkerRecorder>>, metrics: OverloadMetrics) -> Self {
        Self {
            workers,
            thresholds: Mutex::default(),
            level: AtomicU8::new(0),
            source: AtomicU8::new(0),
            left: AtomicU32::new(TRICKLE),
            metrics,
        }
    }

    /// Sets the thresholds.
    pub(crate) fn configure(&self, config: &Server) {
        *self.thresholds() = thresholds(config);
    }

    fn thresholds(&self) -> std::sync::MutexGuard<'_, Thresholds> {
        let thresholds = self.thresholds.lock();
        thresholds.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a new connection comes in.
    ///
    /// # Errors
    /// The key because of which it does not.
    #[inline]
    pub(crate) fn admits(&self) -> Result<(), Refused> {
        match self.level.load(Ordering::Relaxed) {
            NORMAL => Ok(()),
            level => self.lets_in(level),
        }
    }

    #[cold]
    fn lets_in(&self, level: u8) -> Result<(), Refused> {
        let take = |left: u32| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if level == SCARCE && self.left.fetch_update(order, order, take).is_ok() {
            return Ok(());
        }
        let source = usize::from(self.source.load(Ordering::Relaxed));
        let threshold = self.thresholds()[source];
        let threshold = threshold.map_or(0.0, |threshold| threshold.scarce);
        Err(Refused::overloaded(SOURCES[source], threshold))
    }

    /// Reads and judges until `stop`.
    pub(crate) async fn keep(&self, registry: &Registry, stop: CancellationToken) {
        let mut gauges = [Gauge::default(); SOURCES.len()];
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let thresholds = *self.thresholds();
            let readings = self.readings(&thresholds);
            self.judge(&mut gauges, readings, &thresholds, registry);
        }
    }

    /// Reads what has a threshold.
    fn readings(&self, thresholds: &Thresholds) -> [Option<f64>; SOURCES.len()] {
        let lags = self.workers.iter().map(|worker| worker.pulse.lag());
        let lag = lags.max().map(|lag| lag.as_secs_f64());
        let [_, cpu, memory] = thresholds;
        let pressure = |resource: Resource, threshold: &Option<Threshold>| {
            threshold.and_then(|_| resource.pressure())
        };
        [
            lag,
            pressure(Resource::Cpu, cpu),
            pressure(Resource::Memory, memory),
        ]
    }

    fn judge(
        &self,
        gauges: &mut [Gauge; SOURCES.len()],
        readings: [Option<f64>; SOURCES.len()],
        thresholds: &Thresholds,
        registry: &Registry,
    ) {
        let (mut level, mut source) = (Level::Normal, 0);
        for (index, gauge) in gauges.iter_mut().enumerate() {
            let own = gauge.hear(readings[index], thresholds[index]);
            self.metrics.level(SOURCES[index], own as u8);
            if own > level {
                (level, source) = (own, index);
            }
        }
        self.left.store(TRICKLE, Ordering::Relaxed);
        self.source.store(source as u8, Ordering::Relaxed);
        let before = self.level.swap(level as u8, Ordering::Relaxed);
        if level == Level::Critical {
            let waiting = registry.running().filter(|it| !it.is_established());
            waiting.for_each(|it: SessionHandle| it.close(Order::overload()));
        }
        if before != level as u8 {
            tell(level, SOURCES[source], readings[source]);
        }
    }
}

const NORMAL: u8 = Level::Normal as u8;
const SCARCE: u8 = Level::Scarce as u8;

fn thresholds(config: &Server) -> Thresholds {
    let lag = config.overload_lag.map(|lag| Threshold {
        scarce: lag.as_secs_f64(),
        critical: lag.as_secs_f64() * CRITICAL_LAG,
    });
    // half-way from there to all of the time
    let pressure = |percent: Option<NonZeroUsize>| {
        let scarce = percent?.get() as f64;
        Some(Threshold {
            scarce,
            critical: f64::midpoint(scarce, 100.0),
        })
    };
    [
        lag,
        pressure(config.overload_cpu_pressure),
        pressure(config.overload_memory_pressure),
    ]
}

fn tell(level: Level, source: ConnectionLimit, reading: Option<f64>) {
    let remedy = "give the process more CPU or memory, or send it fewer clients: another replica behind \
        the load balancer; raise the key if this is usual here, and 0 turns it off";
    let message = match level {
        Level::Normal => {
            tracing::info!(
                target: "mproxy::server",
                event = "overload",
                "mproxy keeps up again, and accepts all connections"
            );
            return;
        }
        Level::Scarce => {
            "mproxy does not keep up: it accepts 50 new connections per second, and refuses the others"
        }
        Level::Critical => {
            "mproxy does not keep up at all: it accepts no new connections, and closes those without a \
             session"
        }
    };
    tracing::warn!(
        target: "mproxy::server",
        event = "overload",
        limit = source.as_str(),
        value = reading,
        remedy,
        "{message}"
    );
}

#[cfg(test)]
mod tests {
    use mproxy_admin::{BuildInfo, Format, Health, Metrics};

    use super::*;

    fn strain() -> (Strain, Metrics) {
        let build = BuildInfo::new("mproxy-server", "0.1.0");
        let metrics = Metrics::new(&build, &Health::new(), NonZeroUsize::MIN);
        (Strain::new(Vec::new(), metrics.overload()), metrics)
    }

    const THRESHOLDS: Thresholds = [
        Some(Threshold {
            scarce: 1.0,
            critical: 4.0,
        }),
        None,
        Some(Threshold {
            scarce: 50.0,
            critical: 75.0,
        }),
    ];

    fn seconds(strain: &Strain, gauges: &mut [Gauge; 3], count: usize, lag: f64, memory: f64) {
        let registry = Registry::new(1);
        *strain.thresholds() = THRESHOLDS;
        for _ in 0..count {
            let readings = [Some(lag), Some(99.0), Some(memory)];
            strain.judge(gauges, readings, &THRESHOLDS, &registry);
        }
    }

    #[test]
    fn new_connections_come_in_slowly_and_then_not_at_all() {
        let (strain, metrics) = strain();
        let gauges = &mut [Gauge::default(); 3];
        let come_in = |count: u32| (0..count).filter(|_| strain.admits().is_ok()).count();
        seconds(&strain, gauges, 2, 9.0, 0.0);
        assert_eq!(come_in(1000), 1000, "it may be over in a second");
        seconds(&strain, gauges, 9, 2.0, 0.0);
        assert_eq!(come_in(1000), 50);
        let refused = strain.admits().unwrap_err();
        assert_eq!(refused.limit, ConnectionLimit::OverloadLag);
        seconds(&strain, gauges, 1, 2.0, 0.0);
        assert_eq!(come_in(1000), 50, "and again in the next second");
        seconds(&strain, gauges, 3, 5.0, 80.0);
        assert_eq!(come_in(1000), 0);
        let text = metrics.render(Format::PrometheusText).expect("text");
        for sample in [
            "mproxy_overload_level{source=\"server.overload_lag\"} 2",
            "mproxy_overload_level{source=\"server.overload_cpu_pressure\"} 0",
            "mproxy_overload_level{source=\"server.overload_memory_pressure\"} 2",
        ] {
            assert!(text.contains(sample), "{text}");
        }
        seconds(&strain, gauges, 5, 0.1, 80.0);
        let refused = strain.admits().unwrap_err();
        assert_eq!(refused.limit, ConnectionLimit::OverloadMemoryPressure);
        seconds(&strain, gauges, 5, 0.1, 10.0);
        assert_eq!(come_in(1000), 1000);
    }

    #[test]
    fn connections_without_a_session_make_way_when_nothing_else_helps() {
        let (strain, _) = strain();
        let registry = Registry::new(1);
        let waiting = SessionHandle::new();
        let sessions = Arc::clone(&registry.workers()[0]);
        let _entered = sessions.enter(waiting.clone());
        let gauges = &mut [Gauge::default(); 3];
        for (lag, ends) in [(2.0, false), (9.0, true)] {
            for _ in 0..3 {
                strain.judge(gauges, [Some(lag), None, None], &THRESHOLDS, &registry);
            }
            assert_eq!(waiting.ends_at_once(), ends, "{lag}");
        }
    }
}
