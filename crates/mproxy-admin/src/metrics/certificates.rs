//! How long certificates are still valid.
//!
//! The share of the lifetime that remains is what an alert needs: a certificate of ten years is old with a
//! month left, one of six days is new with five.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Who uses TLS with something that expires, by its name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // there are two sides
pub enum TlsSide {
    /// A listener, towards its clients.
    Listener(String),
    /// mproxy, towards this broker.
    Upstream(String),
}

/// A certificate that clients or a broker are shown. No two are of the same side and have the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // callers build it
pub struct Certificate {
    /// Who shows it.
    pub side: TlsSide,
    /// Its name: the first DNS name, or the common name.
    pub name: String,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, likewise.
    pub not_after: i64,
}

/// The certificates that are in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates(Arc<ArcSwap<Vec<Certificate>>>);

impl TlsSide {
    /// A label of Prometheus.
    pub(super) fn label(&self) -> (&'static str, &str) {
        match self {
            Self::Listener(name) => ("listener", name),
            Self::Upstream(name) => ("upstream", name),
        }
    }
}

impl Certificates {
    pub(super) fn set(&self, certificates: Vec<Certificate>) {
        self.0.store(Arc::new(certificates));
    }
}

impl Certificate {
    /// The share of its lifetime that remains: 1 for a new one, 0 or less for one that has expired.
    fn remaining(&self, now: i64) -> f64 {
        let lifetime = self.not_after.saturating_sub(self.not_before);
        let left = self.not_after.saturating_sub(now);
        left as f64 / lifetime.max(1) as f64
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [self.side.label(), ("certificate", &self.name)]
    }
}

impl collector::Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let certificates = self.0.load();
        if certificates.is_empty() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX));
        let mut ratio = encoder.encode_descriptor(
            "mproxy_tls_certificate_remaining_ratio",
            "Share of the lifetime of a certificate that remains; 0 or less when it has expired",
            None,
            MetricType::Gauge,
        )?;
        for certificate in certificates.iter() {
            let value = ConstGauge::new(certificate.remaining(now));
            value.encode(ratio.encode_family(&certificate.labels())?)?;
        }
        let mut until = encoder.encode_descriptor(
            "mproxy_tls_certificate_not_after_timestamp_seconds",
            "Unix time at which a certificate expires",
            None,
            MetricType::Gauge,
        )?;
        for certificate in certificates.iter() {
            let value = ConstGauge::new(certificate.not_after);
            value.encode(until.encode_family(&certificate.labels())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_a_share_of_the_lifetime() {
        let certificate = |not_before, not_after| Certificate {
            side: TlsSide::Listener("mqtts".to_owned()),
            name: "a".to_owned(),
            not_before,
            not_after,
        };
        let week = certificate(1000, 1000 + 6 * 86_400);
        assert!((week.remaining(1000) - 1.0).abs() < 1e-9);
        assert!((week.remaining(1000 + 3 * 86_400) - 0.5).abs() < 1e-9);
        assert!(week.remaining(1000 + 7 * 86_400) < 0.0);
        // nonsense is no panic
        assert!(certificate(5, 5).remaining(i64::MIN) > 0.0);
        assert!(certificate(i64::MAX, i64::MIN).remaining(i64::MAX) < 0.0);
    }
}
