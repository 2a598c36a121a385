//! What is counted per client connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::labels::{Reason, RefuseReason, Side, Version};

/// The counters of one listener; clones share them.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    series: Arc<Series>,
}

impl ListenerMetrics {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        Self {
            series: Arc::new(Series::new(families, name)),
        }
    }

    /// Counts an accepted connection and starts its clock.
    ///
    /// Each accepted connection ends as either refused or closed, so accepted is the sum of
    /// refused, closed and those that are still there.
    #[must_use = "dropping it counts the connection as closed by an internal error"]
    pub fn accepted(&self) -> ConnectionMetrics {
        self.series.accepted.inc();
        ConnectionMetrics {
            series: Arc::clone(&self.series),
            accepted_at: Instant::now(),
            version: None,
            ended: false,
        }
    }
}

/// Counts one client connection exactly once, however it ends.
///
/// Dropped without [`refused`](Self::refused), [`closed`](Self::closed) or
/// [`panicked`](Self::panicked), the connection counts as closed by the proxy for the reason
/// `internal`, and as a panic if the thread is unwinding.
pub struct ConnectionMetrics {
    series: Arc<Series>,
    accepted_at: Instant,
    /// Set while the connection is in the gauge of open connections.
    version: Option<Version>,
    ended: bool,
}

impl ConnectionMetrics {
    /// The time since the connection was accepted.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.accepted_at.elapsed()
    }

    /// The connection's CONNECT was read: it counts as open from here on.
    pub fn opened(&mut self, version: Version) {
        if let Some(before) = self.version.replace(version) {
            self.series.open[before as usize].dec();
        }
        self.series.open[version as usize].inc();
    }

    /// A CONNACK was sent. `reason_code` is the standard's name in snake case, as
    /// `not_authorized`.
    pub fn connack(&self, version: Version, reason_code: &'static str) {
        self.series
            .connect_duration
            .observe(self.age().as_secs_f64());
        self.series
            .connacks
            .get_or_create(&ConnackLabels {
                listener: Arc::clone(&self.series.name),
                version,
                reason_code,
            })
            .inc();
    }

    /// The connection was refused before its CONNECT was read.
    pub fn refused(mut self, reason: RefuseReason) {
        self.ended = true;
        self.series.refused[reason as usize].inc();
    }

    /// The connection was closed, by `side` and for `reason`.
    pub fn closed(mut self, side: Side, reason: Reason) {
        self.end(side, reason);
    }

    /// The connection ended with a panic, caught outside of it.
    pub fn panicked(mut self) {
        self.series.panics.inc();
        self.end(Side::Proxy, Reason::Internal);
    }

    fn end(&mut self, side: Side, reason: Reason) {
        self.ended = true;
        self.series.duration.observe(self.age().as_secs_f64());
        self.series
            .closed
            .get_or_create(&ClosedLabels {
                listener: Arc::clone(&self.series.name),
                side,
                reason,
            })
            .inc();
    }
}

impl Drop for ConnectionMetrics {
    fn drop(&mut self) {
        if !self.ended {
            if std::thread::panicking() {
                self.series.panics.inc();
            }
            self.end(Side::Proxy, Reason::Internal);
        }
        if let Some(version) = self.version {
            self.series.open[version as usize].dec();
        }
    }
}

impl fmt::Debug for ConnectionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionMetrics")
            .field("listener", &self.series.name)
            .field("accepted_at", &self.accepted_at)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Handles into the families with the listener's name resolved.
#[derive(Debug)]
struct Series {
    name: Arc<str>,
    open: [Gauge; Version::ALL.len()],
    accepted: Counter,
    refused: [Counter; RefuseReason::ALL.len()],
    // Few of the combinations ever occur, so they are made when they do.
    closed: Family<ClosedLabels, Counter>,
    connacks: Family<ConnackLabels, Counter>,
    duration: Histogram,
    connect_duration: Histogram,
    panics: Counter,
}

impl Series {
    fn new(families: &Families, name: &str) -> Self {
        let name: Arc<str> = name.into();
        let listener = ListenerLabels {
            listener: Arc::clone(&name),
        };
        Self {
            open: std::array::from_fn(|i| {
                families.open.get_or_create_owned(&OpenLabels {
                    listener: Arc::clone(&name),
                    version: Version::ALL[i],
                })
            }),
            accepted: families.accepted.get_or_create_owned(&listener),
            refused: std::array::from_fn(|i| {
                families.refused.get_or_create_owned(&RefusedLabels {
                    listener: Arc::clone(&name),
                    reason: RefuseReason::ALL[i],
                })
            }),
            closed: families.closed.clone(),
            connacks: families.connacks.clone(),
            duration: families.duration.get_or_create_owned(&listener),
            connect_duration: families.connect_duration.get_or_create_owned(&listener),
            panics: families.panics.get_or_create_owned(&listener),
            name,
        }
    }
}

/// The families of all listeners.
#[derive(Debug)]
pub(super) struct Families {
    open: Family<OpenLabels, Gauge>,
    accepted: Family<ListenerLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    closed: Family<ClosedLabels, Counter>,
    connacks: Family<ConnackLabels, Counter>,
    duration: Family<ListenerLabels, Histogram, Buckets>,
    connect_duration: Family<ListenerLabels, Histogram, Buckets>,
    panics: Family<ListenerLabels, Counter>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            open: Family::default(),
            accepted: Family::default(),
            refused: Family::default(),
            closed: Family::default(),
            connacks: Family::default(),
            duration: Family::new_with_constructor(Buckets(&CONNECTION_SECONDS)),
            connect_duration: Family::new_with_constructor(Buckets(&NETWORK_SECONDS)),
            panics: Family::default(),
        };
        registry.register(
            "mproxy_connections",
            "Open client connections",
            families.open.clone(),
        );
        registry.register(
            "mproxy_connections_accepted",
            "Transport connections accepted",
            families.accepted.clone(),
        );
        registry.register(
            "mproxy_connections_refused",
            "Transport connections refused before CONNECT",
            families.refused.clone(),
        );
        registry.register(
            "mproxy_connections_closed",
            "Connections closed, by who closed and why",
            families.closed.clone(),
        );
        registry.register(
            "mproxy_connection_duration_seconds",
            "Life of a client connection",
            families.duration.clone(),
        );
        registry.register(
            "mproxy_connect_duration_seconds",
            "Time from accept to CONNACK sent",
            families.connect_duration.clone(),
        );
        registry.register(
            "mproxy_connacks",
            "CONNACK packets sent to clients",
            families.connacks.clone(),
        );
        registry.register(
            "mproxy_session_panics",
            "Connections ended by a panic in a hook or in the proxy",
            families.panics.clone(),
        );
        families
    }
}

/// Upper bounds of a histogram.
#[derive(Debug, Clone)]
pub(super) struct Buckets(pub(super) &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    listener: Arc<str>,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: Arc<str>,
    reason: RefuseReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabels {
    listener: Arc<str>,
    side: Side,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnackLabels {
    listener: Arc<str>,
    version: Version,
    reason_code: &'static str,
}

/// 1 s to 30 d: the life of a connection.
const CONNECTION_SECONDS: [f64; 11] = [
    1.0,
    5.0,
    30.0,
    60.0,
    300.0,
    1_800.0,
    3_600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];

/// 1 ms to 10 s: what takes a round trip or a few.
pub(super) const NETWORK_SECONDS: [f64; 13] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
