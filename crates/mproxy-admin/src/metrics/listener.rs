//! The families of client connections, and the handle with the labels of one listener.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::connection::ConnectionMetrics;
use super::layer::pairs;
use super::shown;
use crate::labels::{ConnectionLimit, Reason, RefuseReason, Side, Version};

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
        ConnectionMetrics::accept(Arc::clone(&self.series))
    }
}

/// Handles into the families with the listener's name resolved.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: Arc<str>,
    pub(super) open: [Gauge; Version::ALL.len()],
    pub(super) accepted: Counter,
    pub(super) pending: Gauge,
    pub(super) refused: [Counter; RefuseReason::ALL.len()],
    pub(super) limited: [Counter; ConnectionLimit::ALL.len()],
    // Few of the combinations ever occur, so they are made when they do.
    pub(super) closed: Family<ClosedLabels, Counter>,
    pub(super) connacks: Family<ConnackLabels, Counter>,
    pub(super) duration: Histogram,
    pub(super) connect_duration: Histogram,
    pub(super) panics: Counter,
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
            pending: families.pending.get_or_create_owned(&listener),
            refused: std::array::from_fn(|i| {
                families.refused.get_or_create_owned(&RefusedLabels {
                    listener: Arc::clone(&name),
                    reason: RefuseReason::ALL[i],
                    limit: "",
                })
            }),
            limited: std::array::from_fn(|i| {
                let limit = ConnectionLimit::ALL[i];
                families.refused.get_or_create_owned(&RefusedLabels {
                    listener: Arc::clone(&name),
                    reason: limit.reason(),
                    limit: limit.as_str(),
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
    pending: Family<ListenerLabels, Gauge>,
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
        Self {
            open: shown(
                registry,
                "mproxy_connections",
                "Open client connections",
                Family::default(),
            ),
            pending: shown(
                registry,
                "mproxy_connections_pending",
                "Client connections that have sent no whole CONNECT yet",
                Family::default(),
            ),
            accepted: shown(
                registry,
                "mproxy_connections_accepted",
                "Transport connections accepted",
                Family::default(),
            ),
            refused: shown(
                registry,
                "mproxy_connections_refused",
                "Transport connections refused before CONNECT, by why and, of a limit, by its key",
                Family::default(),
            ),
            closed: shown(
                registry,
                "mproxy_connections_closed",
                "Connections closed, by who closed and why",
                Family::default(),
            ),
            duration: shown(
                registry,
                "mproxy_connection_duration_seconds",
                "Life of a client connection",
                Family::new_with_constructor(Buckets(&CONNECTION_SECONDS)),
            ),
            connect_duration: shown(
                registry,
                "mproxy_connect_duration_seconds",
                "Time from accept to CONNACK sent",
                Family::new_with_constructor(Buckets(&NETWORK_SECONDS)),
            ),
            connacks: shown(
                registry,
                "mproxy_connacks",
                "CONNACK packets sent to clients",
                Family::default(),
            ),
            panics: shown(
                registry,
                "mproxy_session_panics",
                "Connections ended by a panic in a hook or in the proxy",
                Family::default(),
            ),
        }
    }

    /// Takes out the series of a listener.
    pub(super) fn forget(&self, name: &str, reason_codes: impl Iterator<Item = &'static str>) {
        let name: Arc<str> = name.into();
        let listener = || Arc::clone(&name);
        let labels = ListenerLabels {
            listener: listener(),
        };
        for counters in [&self.accepted, &self.panics] {
            counters.remove(&labels);
        }
        for histograms in [&self.duration, &self.connect_duration] {
            histograms.remove(&labels);
        }
        self.pending.remove(&labels);
        for &version in Version::ALL {
            let listener = listener();
            self.open.remove(&OpenLabels { listener, version });
        }
        let reasons = RefuseReason::ALL.iter().map(|reason| (*reason, ""));
        let limits = ConnectionLimit::ALL.iter();
        for (reason, limit) in reasons.chain(limits.map(|it| (it.reason(), it.as_str()))) {
            self.refused.remove(&RefusedLabels {
                listener: listener(),
                reason,
                limit,
            });
        }
        for (side, reason) in pairs(Side::ALL, Reason::ALL) {
            self.closed.remove(&ClosedLabels {
                listener: listener(),
                side,
                reason,
            });
        }
        for reason_code in reason_codes {
            for &version in Version::ALL {
                self.connacks.remove(&ConnackLabels {
                    listener: listener(),
                    version,
                    reason_code,
                });
            }
        }
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
    /// The key of a limit; empty for all else.
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClosedLabels {
    pub(super) listener: Arc<str>,
    pub(super) side: Side,
    pub(super) reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConnackLabels {
    pub(super) listener: Arc<str>,
    pub(super) version: Version,
    pub(super) reason_code: &'static str,
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
