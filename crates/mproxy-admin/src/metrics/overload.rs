//! Metrics of a process that does not keep up.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::labels::ConnectionLimit;

/// What makes the process refuse connections although there is room for them; clones share it.
#[derive(Clone, Debug)]
pub struct OverloadMetrics {
    level: Family<Source, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: ConnectionLimit,
}

impl OverloadMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let level = Family::default();
        registry.register(
            "mproxy_overload_level",
            "0 if the process keeps up, 1 if it accepts few connections, 2 if it accepts none",
            level.clone(),
        );
        Self { level }
    }

    /// Sets the level, 0 to 2, that this key has led to.
    pub fn level(&self, source: ConnectionLimit, level: u8) {
        let gauge = self.level.get_or_create(&Source { source });
        gauge.set(level.into());
    }
}
