//! Revocation lists that mproxy fetches.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A revocation list by its URL, and what came of fetching it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // callers build it
pub struct FetchedList {
    /// The URL, without anything secret; from the configuration, never from the network.
    pub url: String,
    /// Fetches that brought the list, or said that it is the one in use.
    pub successes: u64,
    /// Fetches that did not.
    pub failures: u64,
    /// Until when the list in use is valid, in seconds since 1970; `None` = there is none.
    pub next_update: Option<i64>,
}

/// The lists that are configured.
#[derive(Debug, Clone, Default)]
pub(super) struct FetchedLists(Arc<ArcSwap<Vec<FetchedList>>>);

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    url: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    url: String,
    result: &'static str,
}

impl FetchedLists {
    pub(super) fn set(&self, lists: Vec<FetchedList>) {
        self.0.store(Arc::new(lists));
    }
}

impl collector::Collector for FetchedLists {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lists = self.0.load();
        if lists.is_empty() {
            return Ok(());
        }
        let mut fetches = encoder.encode_descriptor(
            "mproxy_tls_crl_fetches",
            "Fetches of revocation lists",
            None,
            MetricType::Counter,
        )?;
        for list in lists.iter() {
            for (result, count) in [("success", list.successes), ("failure", list.failures)] {
                let url = list.url.clone();
                let labels = ResultLabels { url, result };
                ConstCounter::new(count).encode(fetches.encode_family(&labels)?)?;
            }
        }
        let mut until = encoder.encode_descriptor(
            "mproxy_tls_crl_next_update_timestamp_seconds",
            "Unix time at which the revocation list in use expires; 0 while there is none",
            None,
            MetricType::Gauge,
        )?;
        for list in lists.iter() {
            let url = list.url.clone();
            let value = ConstGauge::new(list.next_update.unwrap_or(0));
            value.encode(until.encode_family(&Labels { url })?)?;
        }
        Ok(())
    }
}
