//! Lines of the log that were not written.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Counts lines of the log that were not written; clones count together.
///
/// A log starts before there are [`Metrics`](super::Metrics), so it brings its own counters, and
/// [`Metrics::log`](super::Metrics::log) shows them.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    suppressed: AtomicU64,
    sink: AtomicU64,
}

impl LogMetrics {
    /// Counts a line that was left out because it was a repetition.
    pub fn suppressed(&self) {
        self.counts.suppressed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts lines that were lost, because the reader of the log was too slow or writing failed.
    pub fn sink(&self, lines: u64) {
        self.counts.sink.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Shows the counters of the log, once it is known which they are.
#[derive(Debug, Clone, Default)]
pub(super) struct Collector(pub(super) Arc<OnceLock<LogMetrics>>);

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A process without a log of its own, such as one that embeds the proxy, has no such lines.
        let Some(log) = self.0.get() else {
            return Ok(());
        };
        let mut family = encoder.encode_descriptor(
            "mproxy_log_lines_dropped",
            "Log lines that were not written: repetitions, or those that the log did not take.",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in [
            ("suppressed", &log.counts.suppressed),
            ("sink", &log.counts.sink),
        ] {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
