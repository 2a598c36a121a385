//! What is counted per connection to a broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::listener::{Buckets, NETWORK_SECONDS};
use super::shown;
use crate::labels::{DialResult, QueueRefusal};

/// Waits of clients: as far as they have patience.
const WAIT_SECONDS: [f64; 8] = [0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];

/// The counters of one broker; clones share them.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    series: Arc<Series>,
}

impl UpstreamMetrics {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        Self {
            series: Arc::new(Series::new(families, name)),
        }
    }

    /// Counts an attempt to connect to the broker and the time it took.
    pub fn dialled(&self, result: DialResult, duration: Duration) {
        self.series.connects[result as usize].inc();
        self.series.connect_duration.observe(duration.as_secs_f64());
    }

    /// Notes how long the broker took to answer a CONNECT, whatever it said.
    pub fn connack(&self, took: Duration) {
        self.series.connack_duration.observe(took.as_secs_f64());
    }

    /// Notes how long the broker took to answer a PUBLISH of QoS 1.
    pub fn publish_answered(&self, took: Duration) {
        self.series.publish_ack_duration.observe(took.as_secs_f64());
    }

    /// Counts a connection as open until the answer is dropped.
    #[must_use = "the connection counts as open until this is dropped"]
    pub fn opened(&self) -> UpstreamConnection {
        self.series.open.inc();
        UpstreamConnection {
            open: self.series.open.clone(),
        }
    }

    /// Connections are made by the address at this position; 0 is the first.
    pub fn uses(&self, position: usize) {
        let position = position.try_into().unwrap_or(i64::MAX);
        self.series.address.set(position);
    }

    /// So many clients wait for their turn at the broker.
    pub fn queued(&self, clients: usize) {
        self.series
            .queued
            .set(clients.try_into().unwrap_or(i64::MAX));
    }

    /// Notes how long a client waited for its turn, which it got.
    pub fn admitted(&self, waited: Duration) {
        self.series.queue_duration.observe(waited.as_secs_f64());
    }

    /// Counts a client whose turn did not come.
    pub fn not_admitted(&self, why: QueueRefusal) {
        self.series.queue_refused[why as usize].inc();
    }

    /// How many connections to the broker are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        u64::try_from(self.series.open.get()).unwrap_or(0)
    }
}

/// One open connection to a broker; dropping it counts it out.
pub struct UpstreamConnection {
    open: Gauge,
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl fmt::Debug for UpstreamConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConnection").finish_non_exhaustive()
    }
}

/// Handles into the families with the upstream's name resolved.
#[derive(Debug)]
struct Series {
    open: Gauge,
    address: Gauge,
    queued: Gauge,
    queue_duration: Histogram,
    queue_refused: [Counter; QueueRefusal::ALL.len()],
    connects: [Counter; DialResult::ALL.len()],
    connect_duration: Histogram,
    connack_duration: Histogram,
    publish_ack_duration: Histogram,
}

impl Series {
    fn new(families: &Families, name: &str) -> Self {
        let name: Arc<str> = name.into();
        let upstream = UpstreamLabels {
            upstream: Arc::clone(&name),
        };
        Self {
            open: families.open.get_or_create_owned(&upstream),
            address: families.address.get_or_create_owned(&upstream),
            queued: families.queued.get_or_create_owned(&upstream),
            queue_duration: families.queue_duration.get_or_create_owned(&upstream),
            queue_refused: std::array::from_fn(|i| {
                families.queue_refused.get_or_create_owned(&RefusedLabels {
                    upstream: Arc::clone(&name),
                    reason: QueueRefusal::ALL[i],
                })
            }),
            connects: std::array::from_fn(|i| {
                families.connects.get_or_create_owned(&ConnectLabels {
                    upstream: Arc::clone(&name),
                    result: DialResult::ALL[i],
                })
            }),
            connect_duration: families.connect_duration.get_or_create_owned(&upstream),
            connack_duration: families.connack_duration.get_or_create_owned(&upstream),
            publish_ack_duration: families.publish_ack_duration.get_or_create_owned(&upstream),
        }
    }
}

/// The families of all brokers.
#[derive(Debug)]
pub(super) struct Families {
    open: Family<UpstreamLabels, Gauge>,
    address: Family<UpstreamLabels, Gauge>,
    queued: Family<UpstreamLabels, Gauge>,
    queue_duration: Family<UpstreamLabels, Histogram, Buckets>,
    queue_refused: Family<RefusedLabels, Counter>,
    connects: Family<ConnectLabels, Counter>,
    connect_duration: Family<UpstreamLabels, Histogram, Buckets>,
    connack_duration: Family<UpstreamLabels, Histogram, Buckets>,
    publish_ack_duration: Family<UpstreamLabels, Histogram, Buckets>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            open: shown(
                registry,
                "mproxy_upstream_connections",
                "Open connections to the upstream",
                Family::default(),
            ),
            address: shown(
                registry,
                "mproxy_upstream_address",
                "Which address the upstream is reached by: 0 is the key address, 1 the first of addresses",
                Family::default(),
            ),
            queued: shown(
                registry,
                "mproxy_upstream_admission_queue",
                "Clients that wait for their turn at the upstream",
                Family::default(),
            ),
            queue_duration: shown(
                registry,
                "mproxy_upstream_admission_wait_seconds",
                "Time that clients waited for their turn at the upstream, if it came",
                Family::new_with_constructor(Buckets(&WAIT_SECONDS)),
            ),
            queue_refused: shown(
                registry,
                "mproxy_upstream_admission_refused",
                "Clients turned away because their turn at the upstream did not come",
                Family::default(),
            ),
            connects: shown(
                registry,
                "mproxy_upstream_connects",
                "Connection attempts to the upstream",
                Family::default(),
            ),
            connect_duration: shown(
                registry,
                "mproxy_upstream_connect_duration_seconds",
                "Time to connect to the upstream",
                Family::new_with_constructor(Buckets(&NETWORK_SECONDS)),
            ),
            connack_duration: shown(
                registry,
                "mproxy_upstream_connack_duration_seconds",
                "Time from CONNECT sent to the upstream to its first answer, CONNACK or AUTH",
                Family::new_with_constructor(Buckets(&NETWORK_SECONDS)),
            ),
            publish_ack_duration: shown(
                registry,
                "mproxy_publish_ack_duration_seconds",
                "Time from a PUBLISH of QoS 1 to the PUBACK of the upstream, of a few samples a second",
                Family::new_with_constructor(Buckets(&NETWORK_SECONDS)),
            ),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    upstream: Arc<str>,
    reason: QueueRefusal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectLabels {
    upstream: Arc<str>,
    result: DialResult,
}
