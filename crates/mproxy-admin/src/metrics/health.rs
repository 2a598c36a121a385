//! The gauges that repeat what `/readyz` knows, read from [`Health`] at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::Health;

#[derive(Debug)]
pub(super) struct Collector {
    health: Health,
}

impl Collector {
    pub(super) fn new(health: Health) -> Self {
        Self { health }
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        ConstGauge::new(u64::from(self.health.is_draining())).encode(
            encoder.encode_descriptor(
                "mproxy_draining",
                "1 while the process drains.",
                None,
                MetricType::Gauge,
            )?,
        )?;
        encode_states(
            &mut encoder,
            ("mproxy_listener_up", "1 while the listener accepts."),
            "listener",
            &self.health.listeners(),
        )?;
        encode_states(
            &mut encoder,
            (
                "mproxy_upstream_up",
                "1 while the upstream passes its health checks.",
            ),
            "upstream",
            &self.health.upstreams(),
        )
    }
}

fn encode_states(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &str,
    states: &[(Arc<str>, bool)],
) -> fmt::Result {
    if states.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, up) in states {
        ConstGauge::new(u64::from(*up)).encode(family.encode_family(&[(label, &**value)])?)?;
    }
    Ok(())
}
