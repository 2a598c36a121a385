//! Metrics of bans.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::shown;
use crate::labels::{BanSource, BanSubject, Offence};

/// The counters of bans; clones share them.
#[derive(Debug, Clone)]
pub struct BanMetrics {
    current: Family<CurrentLabels, Gauge>,
    made: Family<MadeLabels, Counter>,
    offences: Family<OffenceLabels, Counter>,
}

impl BanMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            current: shown(
                registry,
                "mproxy_bans",
                "Addresses, user names and client identifiers that are banned",
                Family::default(),
            ),
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
            let _ = metrics.current.get_or_create(&CurrentLabels { subject });
            for &by in BanSource::ALL {
                let _ = metrics.made.get_or_create(&MadeLabels { subject, by });
            }
        }
        metrics
    }

    /// Sets how many bans of this kind there are.
    pub fn current(&self, subject: BanSubject, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let labels = CurrentLabels { subject };
        self.current.get_or_create(&labels).set(count);
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CurrentLabels {
    subject: BanSubject,
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
