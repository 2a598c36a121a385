//! Revocation lists: those that mproxy fetches, and those in files.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::TlsSide;

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

/// A file with revocation lists. No two are of the same side and have the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // callers build it
pub struct ListFile {
    /// Who uses it.
    pub side: TlsSide,
    /// Its path; of a directory, that of a file in it.
    pub file: String,
    /// When the first list in it expires, in seconds since 1970.
    pub next_update: i64,
}

/// The lists that are configured.
#[derive(Debug, Clone, Default)]
pub(super) struct RevocationLists {
    fetched: Arc<ArcSwap<Vec<FetchedList>>>,
    files: Arc<ArcSwap<Vec<ListFile>>>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    url: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    url: String,
    result: &'static str,
}

impl RevocationLists {
    pub(super) fn set_fetched(&self, lists: Vec<FetchedList>) {
        self.fetched.store(Arc::new(lists));
    }

    pub(super) fn set_files(&self, files: Vec<ListFile>) {
        self.files.store(Arc::new(files));
    }
}

impl collector::Collector for RevocationLists {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (fetched, files) = (self.fetched.load(), self.files.load());
        if !fetched.is_empty() {
            let mut fetches = encoder.encode_descriptor(
                "mproxy_tls_crl_fetches",
                "Fetches of revocation lists",
                None,
                MetricType::Counter,
            )?;
            for list in fetched.iter() {
                for (result, count) in [("success", list.successes), ("failure", list.failures)] {
                    let url = list.url.clone();
                    let labels = ResultLabels { url, result };
                    ConstCounter::new(count).encode(fetches.encode_family(&labels)?)?;
                }
            }
        }
        if fetched.is_empty() && files.is_empty() {
            return Ok(());
        }
        let mut until = encoder.encode_descriptor(
            "mproxy_tls_crl_next_update_timestamp_seconds",
            "Unix time at which the revocation list in use expires; 0 while there is none",
            None,
            MetricType::Gauge,
        )?;
        for list in fetched.iter() {
            let url = list.url.clone();
            let value = ConstGauge::new(list.next_update.unwrap_or(0));
            value.encode(until.encode_family(&Labels { url })?)?;
        }
        for list in files.iter() {
            let labels = [list.side.label(), ("file", &*list.file)];
            let value = ConstGauge::new(list.next_update);
            value.encode(until.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
