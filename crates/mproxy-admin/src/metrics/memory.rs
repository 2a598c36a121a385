//! Metrics of the memory that peers occupy.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::labels::ShedStage;

/// The counters of one memory budget; clones share them.
#[derive(Clone)]
pub struct MemoryMetrics {
    source: Arc<OnceLock<Source>>,
    shed: Family<ShedLabels, Counter>,
}

/// Bytes in use, and their limit.
type Source = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

impl MemoryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            source: Arc::default(),
            shed: Family::default(),
        };
        // both are there from the start: a rate needs a first value
        for stage in ShedStage::ALL {
            let _ = metrics.shed.get_or_create(&ShedLabels { stage: *stage });
        }
        registry.register(
            "mproxy_memory_shed",
            "Connections closed because they held most when memory was scarce",
            metrics.shed.clone(),
        );
        registry.register_collector(Box::new(Collector(Arc::clone(&metrics.source))));
        metrics
    }

    /// Sets the source of the bytes in use and their limit, read at each scrape. The first source counts.
    pub fn watch(&self, source: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// Counts a connection that was closed.
    pub fn shed(&self, stage: ShedStage) {
        self.shed.get_or_create(&ShedLabels { stage }).inc();
    }
}

impl fmt::Debug for MemoryMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMetrics").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    stage: ShedStage,
}

struct Collector(Arc<OnceLock<Source>>);

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(source) = self.0.get() else {
            return Ok(());
        };
        let (used, limit) = source();
        let gauges = [
            (
                "mproxy_memory_used_bytes",
                "Bytes that peers make the process hold, 4096 a connection included.",
                used,
            ),
            ("mproxy_memory_limit_bytes", "What they may be.", limit),
        ];
        for (name, help, value) in gauges {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(descriptor)?;
        }
        Ok(())
    }
}
