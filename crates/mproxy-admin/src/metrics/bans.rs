//! Metrics of bans.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::shown;
use crate::labels::{BanSource, BanSubject, Offence};

/// The counters of bans; clones share them.
#[derive(Clone)]
pub struct BanMetrics {
    source: Arc<OnceLock<Source>>,
    made: Family<MadeLabels, Counter>,
    offences: Family<OffenceLabels, Counter>,
}

/// How many bans of a kind there are.
type Source = Box<dyn Fn(BanSubject) -> usize + Send + Sync>;

impl BanMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            source: Arc::default(),
            made: shown(
                registry,
                "mproxy_bans_made",
                "Bans, by what was banned and by whom",
                Family::default(),
            ),
            offences: shown(
                registry,
                "mproxy_offences",
                "Offences that cost clients points, while bans.mode is not off",
                Family::default(),
            ),
        };
        // all are there from the start: a rate needs a first value
        for &offence in Offence::ALL {
            let _ = metrics.offences.get_or_create(&OffenceLabels { offence });
        }
        for &subject in BanSubject::ALL {
            for &by in BanSource::ALL {
                let _ = metrics.made.get_or_create(&MadeLabels { subject, by });
            }
        }
        registry.register_collector(Box::new(Collector(Arc::clone(&metrics.source))));
        metrics
    }

    /// Sets the source of the number of bans, read at each scrape: bans end by themselves. The first source
    /// counts.
    pub fn watch(&self, source: impl Fn(BanSubject) -> usize + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// Counts a ban.
    pub fn banned(&self, subject: BanSubject, by: BanSource) {
        self.made.get_or_create(&MadeLabels { subject, by }).inc();
    }

    /// Counts an offence.
    pub fn offence(&self, offence: Offence) {
        self.offences
            .get_or_create(&OffenceLabels { offence })
            .inc();
    }
}

impl fmt::Debug for BanMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BanMetrics").finish_non_exhaustive()
    }
}

struct Collector(Arc<OnceLock<Source>>);

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "mproxy_bans",
            "Addresses, user names and client identifiers that are banned.",
            None,
            MetricType::Gauge,
        )?;
        for &subject in BanSubject::ALL {
            let count = self.0.get().map_or(0, |source| source(subject));
            let count = ConstGauge::new(count as u64);
            count.encode(family.encode_family(&[("subject", subject.as_str())])?)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MadeLabels {
    subject: BanSubject,
    by: BanSource,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OffenceLabels {
    offence: Offence,
}
