//! The families of configuration reloads.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::shown;

#[derive(Debug)]
pub(super) struct Families {
    /// 1 from the start on: the configuration that a process starts with is a good one.
    is_successful: Gauge,
    /// Seconds since the epoch.
    last_success: Gauge,
    reloads: Family<Labels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "label values are lower case")]
enum Outcome {
    success,
    failure,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            is_successful: shown(
                registry,
                "mproxy_config_last_reload_successful",
                "1 when the last reload of the configuration succeeded, or none was asked for",
                Gauge::default(),
            ),
            last_success: shown(
                registry,
                "mproxy_config_last_reload_success_timestamp_seconds",
                "Unix time at which the configuration in effect was loaded",
                Gauge::default(),
            ),
            reloads: shown(
                registry,
                "mproxy_config_reloads",
                "Reloads of the configuration, by result",
                Family::default(),
            ),
        };
        for result in [Outcome::success, Outcome::failure] {
            drop(families.reloads.get_or_create(&Labels { result }));
        }
        families.succeeded();
        families
    }

    pub(super) fn reloaded(&self, is_successful: bool) {
        let result = if is_successful {
            self.succeeded();
            Outcome::success
        } else {
            self.is_successful.set(0);
            Outcome::failure
        };
        self.reloads.get_or_create(&Labels { result }).inc();
    }

    fn succeeded(&self) {
        self.is_successful.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |it| it.as_secs());
        self.last_success
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
