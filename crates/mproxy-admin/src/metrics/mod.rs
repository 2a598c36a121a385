//! The Prometheus metrics of the proxy.
//!
//! Three rules keep them cheap and bounded:
//! - What is counted per packet is counted in plain integers by the session, folded a batch at a
//!   time into the [`TrafficCounters`] of its worker, and summed only when somebody scrapes.
//! - What is counted per connection goes through a handle whose labels were resolved once, when
//!   the listener or the upstream was set up.
//! - Label values are names from the configuration or variants of an enum of this crate. Client
//!   ids, topics, user names and addresses are never labels.

mod bans;
mod certificates;
mod connection;
mod crl;
mod exposition;
mod health;
mod layer;
mod listener;
mod log;
mod memory;
mod ocsp;
mod overload;
mod process;
mod reload;
mod traffic;
mod upstream;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use self::listener::NETWORK_SECONDS;
use crate::labels::{Direction, Reason};
use crate::{BuildInfo, Health};

pub use bans::BanMetrics;
use certificates::Certificates;
pub use certificates::{Certificate, TlsSide};
pub use connection::ConnectionMetrics;
use crl::RevocationLists;
pub use crl::{FetchedList, ListFile};
pub use exposition::Format;
pub use layer::LayerMetrics;
pub use listener::ListenerMetrics;
pub use log::LogMetrics;
pub use memory::MemoryMetrics;
pub use ocsp::OcspMetrics;
pub use overload::OverloadMetrics;
pub use traffic::{Traffic, TrafficCounters};
pub use upstream::{UpstreamConnection, UpstreamMetrics};

/// Every metric of one proxy process; clones share them.
///
/// ```
/// use std::num::NonZeroUsize;
/// use mproxy_admin::{BuildInfo, Direction, Format, Health, Metrics, PacketType, Reason, Side};
/// use mproxy_admin::{Traffic, Version};
///
/// let build = BuildInfo::new("mproxy-server", "0.1.0");
/// let metrics = Metrics::new(&build, &Health::new(), NonZeroUsize::MIN);
///
/// // Once a listener, then once a connection.
/// let listener = metrics.listener("mqtt");
/// let mut connection = listener.accepted();
/// connection.opened(Version::V5);
/// connection.connack(Version::V5, "success");
///
/// // Once a batch of packets.
/// let mut read = Traffic::default();
/// read.packets[PacketType::Publish as usize] = 3;
/// read.bytes = 420;
/// metrics.worker(0).add(Direction::ClientToBroker, &read);
///
/// connection.closed(Side::Client, Reason::Disconnect);
/// let scrape = metrics.render(Format::PrometheusText)?;
/// assert!(scrape.contains("mproxy_connections_accepted_total{listener=\"mqtt\"} 1\n"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    listeners: listener::Families,
    upstreams: upstream::Families,
    layers: Arc<layer::Layers>,
    log: log::Collector,
    capacity: Gauge,
    packet_errors: Family<PacketErrorLabels, Counter>,
    memory: MemoryMetrics,
    overload: OverloadMetrics,
    bans: BanMetrics,
    reloads: reload::Families,
    certificates: Certificates,
    revocation_lists: RevocationLists,
    ocsp: ocsp::Families,
    worker_lag: Histogram,
    /// One a worker thread.
    traffic: Arc<[Arc<TrafficCounters>]>,
}

impl Metrics {
    /// The metrics of a process with this many worker threads; readiness gauges are read from
    /// `health` at each scrape.
    #[must_use]
    pub fn new(build: &BuildInfo, health: &Health, workers: NonZeroUsize) -> Self {
        let mut registry = Registry::default();
        let labels = build
            .labels()
            .map(|(key, value)| (key.into(), value.into()));
        // The registry ends every help text with a full stop of its own.
        registry
            .sub_registry_with_labels(labels.into_iter())
            .register(
                "mproxy_build_info",
                "Build of this process; always 1",
                ConstGauge::new(1_u64),
            );
        registry.register_collector(Box::new(health::Collector::new(health.clone())));
        let listeners = listener::Families::register(&mut registry);
        let capacity = shown(
            &mut registry,
            "mproxy_connections_capacity",
            "Client connections that the process can hold; 0 until it listens",
            Gauge::default(),
        );
        let packet_errors = shown(
            &mut registry,
            "mproxy_packet_errors",
            "Packets that ended their connection",
            Family::default(),
        );
        let upstreams = upstream::Families::register(&mut registry);
        let traffic = (0..workers.get()).map(|_| Arc::default());
        let traffic: Arc<[_]> = traffic.collect();
        registry.register_collector(Box::new(traffic::Collector::new(Arc::clone(&traffic))));
        let worker_lag = shown(
            &mut registry,
            "mproxy_worker_lag_seconds",
            "How late a timer of the worker threads fires: what each packet waits for its turn",
            Histogram::new(NETWORK_SECONDS),
        );
        let layers = Arc::new(layer::Layers::default());
        registry.register_collector(Box::new(Arc::clone(&layers)));
        let log = log::Collector::default();
        registry.register_collector(Box::new(log.clone()));
        let memory = MemoryMetrics::register(&mut registry);
        let overload = OverloadMetrics::register(&mut registry);
        let bans = BanMetrics::register(&mut registry);
        let reloads = reload::Families::register(&mut registry);
        registry.register_collector(Box::new(process::Collector::new()));
        let certificates = Certificates::default();
        registry.register_collector(Box::new(certificates.clone()));
        let revocation_lists = RevocationLists::default();
        registry.register_collector(Box::new(revocation_lists.clone()));
        let ocsp = ocsp::Families::register(&mut registry);
        let inner = Arc::new(Inner {
            listeners,
            capacity,
            upstreams,
            layers,
            log,
            packet_errors,
            memory,
            overload,
            bans,
            reloads,
            certificates,
            revocation_lists,
            ocsp,
            worker_lag,
            traffic,
            registry,
        });
        Self { inner }
    }

    /// The counters of one listener. `name` comes from the configuration, never from the network.
    #[must_use]
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics::new(&self.inner.listeners, name)
    }

    /// Takes out the counters of a listener that is gone, with its last connection; `reason_codes` are
    /// all that a CONNACK may have. A listener of the same name begins at 0.
    pub fn forget_listener(&self, name: &str, reason_codes: impl Iterator<Item = &'static str>) {
        self.inner.listeners.forget(name, reason_codes);
    }

    /// Sets how many client connections the process accepts, on all listeners together.
    pub fn set_capacity(&self, connections: usize) {
        let connections = i64::try_from(connections).unwrap_or(i64::MAX);
        self.inner.capacity.set(connections);
    }

    /// The counters of one broker. `name` comes from the configuration, never from the network.
    #[must_use]
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics::new(&self.inner.upstreams, name)
    }

    /// The counters of one layer. `name` comes from the configuration, never from the network.
    #[must_use]
    pub fn layer(&self, name: &str) -> LayerMetrics {
        self.inner.layers.named(name)
    }

    /// Shows the counters of the log of this process; the first log counts.
    pub fn log(&self, log: &LogMetrics) {
        self.inner.log.0.get_or_init(|| log.clone());
    }

    /// The traffic counters of worker thread `index`.
    ///
    /// Any index is accepted: counters beyond the number of workers are shared, and the sums stay
    /// right.
    #[must_use]
    pub fn worker(&self, index: usize) -> Arc<TrafficCounters> {
        let workers = &self.inner.traffic;
        Arc::clone(&workers[index % workers.len()])
    }

    /// The counters of the memory budget of the process.
    #[must_use]
    pub fn memory(&self) -> MemoryMetrics {
        self.inner.memory.clone()
    }

    /// The level of each source of overload.
    #[must_use]
    pub fn overload(&self) -> OverloadMetrics {
        self.inner.overload.clone()
    }

    /// The counters of bans.
    #[must_use]
    pub fn bans(&self) -> BanMetrics {
        self.inner.bans.clone()
    }

    /// Notes how late a timer of a worker thread fired.
    ///
    /// Connections stay with their worker, so one that is late is late for its share of them. All
    /// workers are one series: of fewer than a hundred, one that is always late shows in the 99th
    /// percentile.
    pub fn worker_lagged(&self, lag: Duration) {
        self.inner.worker_lag.observe(lag.as_secs_f64());
    }

    /// Shows how long these certificates are still valid, in place of earlier ones.
    pub fn set_certificates(&self, certificates: Vec<Certificate>) {
        self.inner.certificates.set(certificates);
    }

    /// Shows what came of fetching these revocation lists, in place of earlier ones.
    pub fn set_fetched_lists(&self, lists: Vec<FetchedList>) {
        self.inner.revocation_lists.set_fetched(lists);
    }

    /// Shows how long the revocation lists in these files are still valid, in place of earlier ones.
    pub fn set_list_files(&self, files: Vec<ListFile>) {
        self.inner.revocation_lists.set_files(files);
    }

    /// The counters of one OCSP responder. `url` comes from the configuration, never from the network, and has
    /// nothing secret in it.
    #[must_use]
    pub fn ocsp(&self, url: &str) -> OcspMetrics {
        OcspMetrics::new(&self.inner.ocsp, url)
    }

    /// Takes out the counters of an OCSP responder that is no longer asked.
    pub fn forget_ocsp(&self, url: &str) {
        self.inner.ocsp.forget(url);
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, is_successful: bool) {
        self.inner.reloads.reloaded(is_successful);
    }

    /// Counts a packet that ended its connection.
    pub fn packet_error(&self, direction: Direction, reason: Reason) {
        self.inner
            .packet_errors
            .get_or_create(&PacketErrorLabels { direction, reason })
            .inc();
    }

    /// Writes all metrics in the given format.
    ///
    /// Reads a few files under `/proc/self`; an async caller does this on a blocking thread.
    ///
    /// # Errors
    /// Only if a metric cannot be written in the text format, which would be a defect of this crate.
    pub fn render(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.inner.registry)?;
        Ok(format.finish(text))
    }
}

/// Has a metric shown, and returns it.
fn shown<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PacketErrorLabels {
    direction: Direction,
    reason: Reason,
}
