//! The brokers of a configuration, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use mproxy_admin::{Health, Metrics, Named};
use mproxy_config::{self as config, HealthCheck};
use mproxy_transport::Resolver;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Admission, Upstream};
use crate::app::plan::UpstreamPlan;

/// The brokers; a reload keeps each, with its health, unless its configuration changes.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(BTreeMap<String, Kept>);

#[derive(Debug)]
struct Kept {
    config: Arc<config::Upstream>,
    upstream: Arc<Upstream>,
    /// Ends watching; `None` = not watched yet.
    watched: Option<DropGuard>,
}

impl Upstreams {
    /// The broker of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.get(name).map(|kept| &kept.upstream)
    }

    /// Probes each broker once; logs those that do not serve clients, and returns false if there are any.
    pub(crate) async fn require(&self) -> bool {
        for upstream in self.0.values().map(|kept| &kept.upstream) {
            if let Err(error) = upstream.require().await {
                tracing::error!(
                    target: "mproxy::upstream",
                    event = "error",
                    detail = %error,
                    upstream = upstream.name,
                    "cannot start: the broker does not serve clients, and --require-upstream is set"
                );
                return false;
            }
        }
        true
    }

    /// Replaces the brokers by those of a configuration. Sessions keep the broker that they are
    /// connected to.
    pub(crate) fn replace(
        &mut self,
        planned: &[UpstreamPlan],
        resolver: &Resolver,
        metrics: &Metrics,
        health: &Health,
    ) {
        let mut before = std::mem::take(&mut self.0);
        for UpstreamPlan { config, tls } in planned {
            let name = &config.name;
            let before = before.remove(name);
            let admission = match &before {
                Some(kept) => {
                    kept.upstream.admission.set(&config.admission);
                    Arc::clone(&kept.upstream.admission)
                }
                None => Admission::new(&config.admission, metrics.upstream(name)),
            };
            let same = before.filter(|kept| is_same(&kept.config, config));
            let mut kept = same.unwrap_or_else(|| {
                let upstream = Upstream::new(config, admission, resolver, metrics, health);
                Kept {
                    config: Arc::clone(config),
                    upstream: Arc::new(upstream),
                    watched: None,
                }
            });
            kept.config = Arc::clone(config);
            if let Some(tls) = tls {
                kept.upstream.set_tls(tls);
            }
            self.0.insert(name.clone(), kept);
        }
    }

    /// The readiness checks of these brokers.
    pub(crate) fn checks(&self) -> Named {
        let mut named = Named::default();
        for (name, kept) in &self.0 {
            let check = kept.config.health.check;
            if check != HealthCheck::Off {
                named.upstreams.push(name.clone());
            }
            if check == HealthCheck::Session {
                named.connacks.push(name.clone());
            }
        }
        named
    }

    /// Watches the health of all until `stop`, or until they are replaced.
    pub(crate) fn watch(&mut self, stop: &CancellationToken) {
        for kept in self.0.values_mut() {
            let upstream = Arc::clone(&kept.upstream);
            kept.watched.get_or_insert_with(|| {
                let stop = stop.child_token();
                let stopped = stop.clone();
                tokio::spawn(async move { upstream.watch(stopped).await });
                stop.drop_guard()
            });
        }
    }
}

/// Whether two configurations make the same broker: its admission is set, whatever it was before.
fn is_same(old: &config::Upstream, new: &config::Upstream) -> bool {
    let admission = &new.admission;
    old == new
        || config::Upstream {
            admission: admission.clone(),
            ..old.clone()
        } == *new
}
