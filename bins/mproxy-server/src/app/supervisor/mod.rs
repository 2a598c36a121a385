//! The running proxy: what is started from a configuration, replaced by a reload, and ended by a drain. Each of
//! these is a file of its own.
//!
//! ```text
//! start:  Config -> Plan -> sockets -> workers -> brokers, if they are required -> apply
//! run:    Event::Reload -> load -> Plan -> sockets -> apply      Event::Stop -> drain
//! ```

mod start;

use std::net::SocketAddr;
use std::sync::Arc;

use mproxy_admin::{Health, Metrics, Named};
use mproxy_codec::ReasonCode;
use mproxy_config::Config;
use mproxy_config::diagnostics::Sources as Texts;
use mproxy_transport::Resolver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::start::{Prepared, Sources, StartError};
use super::api::Token;
use super::bans::Bans;
use super::capacity::Capacity;
use super::certificates;
use super::distrust;
use super::event::Sender;
use super::gate::Gates;
use super::kept::KeptListeners;
use super::lists::{Fetchers, ListFiles};
use super::memory::Memory;
#[cfg(feature = "ocsp")]
use super::ocsp::{Changed, Ocsp};
use super::plan::{ListenerPlan, Plan};
use super::progress::Progress;
use super::registry::Registry;
use super::service::Service;
use super::sockets::{Opened, Sockets};
use super::strain::Strain;
use super::tls_files;
use super::upstream::Upstreams;
use super::workers::{RESTART, Workers};
use super::{Loader, OnLog};

/// A proxy that is listening.
pub(crate) struct Supervisor {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    /// Where health and metrics are.
    pub(crate) admin: Option<SocketAddr>,
    pub(super) registry: Registry,
    /// Ends accepting.
    pub(super) stop: CancellationToken,
    pub(super) progress: Progress,
    /// Since when load balancers can see that the proxy drains.
    pub(super) announced: Option<Instant>,
    /// Reads the configuration again.
    pub(super) loader: Arc<Loader>,
    pub(super) on_log: OnLog,
    /// Ends everything.
    abort: CancellationToken,
    token: Arc<Token>,
    resolver: Resolver,
    gates: Gates,
    memory: Arc<Memory>,
    strain: Arc<Strain>,
    bans: Arc<Bans>,
    pub(super) workers: Workers,
    // from the configuration
    pub(super) config: Config,
    /// The lines of its keys whose files are read again when they change.
    pub(super) excerpt: Texts,
    /// The tables that may need a restart, as they were at the start.
    pub(super) started: Config,
    pub(super) plan: Arc<Plan>,
    /// The number of the configuration: 1 at the start.
    generation: u64,
    pub(super) sockets: Sockets,
    pub(super) upstreams: Upstreams,
    kept: KeptListeners,
    tls_files: tls_files::Watch,
    pub(super) fetchers: Fetchers,
    list_files: Arc<ListFiles>,
    #[cfg(feature = "ocsp")]
    ocsp: Ocsp,
    events: Sender,
    is_watched: bool,
}

impl Supervisor {
    /// The address of the first listener, if it is one of TCP.
    #[cfg(feature = "demo")]
    pub(crate) fn listener(&self) -> Option<SocketAddr> {
        let first = self.plan.listeners.first()?;
        self.sockets.address(first)?.socket_addr()
    }

    /// Watches the brokers for readiness.
    pub(super) fn watch_upstreams(&mut self) {
        self.upstreams.watch(&self.abort);
    }

    /// Applies a plan. This cannot fail.
    pub(super) fn apply(&mut self, opened: Opened) {
        let plan = Arc::clone(&self.plan);
        self.generation += 1;
        self.replace_upstreams();
        #[cfg(feature = "ocsp")]
        let others = self.ocsp.follow(&self.config);
        let services = plan.listeners.iter();
        let services = services.filter_map(|plan| Some((plan, Arc::new(self.service(plan)?))));
        let services = services.collect();
        let (workers, stop) = (&self.workers, &self.stop);
        let news = self.sockets.apply(opened, services, workers, stop);
        for listener in news {
            self.announce(listener);
        }
        for listener in &plan.listeners {
            // also a renamed one
            let check = self.health.listener(&listener.name);
            if self.sockets.accepts(listener) {
                check.ok();
            }
            // also if a worker has found out in between
            if !self.sockets.accepts(listener) {
                check.fail_with("its socket has failed", RESTART);
            }
        }
        self.kept
            .judge_orphans(&plan.listeners, &self.config.chains, self.generation);
        for name in self.kept.forget(&plan.listeners) {
            let codes = (0..=u8::MAX).map(|code| ReasonCode::new(code).as_str());
            self.metrics.forget_listener(&name, codes);
        }
        self.token.store(Arc::new(plan.token.clone()));
        self.set_capacity();
        self.renew();
        self.pace();
        self.metrics.set_certificates(certificates::shown(&plan));
        self.metrics.set_list_files(certificates::list_files(&plan));
        self.list_files.follow(certificates::list_tables(&plan));
        self.end_distrusted();
        #[cfg(feature = "ocsp")]
        self.follow_responders(others);
        if !self.is_watched {
            self.tls_files.follow(&plan.tls_files, &self.events);
        }
        self.fetchers.follow(&self.config);
        let listeners = plan.listeners.iter().map(|it| it.name.to_string());
        let checks = self.upstreams.checks();
        self.health.keep(&Named {
            listeners: listeners.collect(),
            ..checks
        });
    }

    /// Makes the brokers those of the plan.
    fn replace_upstreams(&mut self) {
        let planned = &self.plan.upstreams;
        self.upstreams
            .replace(planned, &self.resolver, &self.metrics, &self.health);
    }

    /// Has the sessions of listeners with new layers judged again. If topics are mapped differently
    /// now, sessions end instead: their subscriptions are under the old topics.
    fn renew(&self) {
        let listeners = Arc::new(self.kept.renewed(self.generation));
        if !listeners.is_empty() {
            self.workers
                .renew(&self.registry, &listeners, self.generation);
        }
    }

    /// Applies changed rates to the sessions of listeners. A session that is not admitted yet
    /// takes them when it is admitted.
    fn pace(&self) {
        let listeners = self.kept.paced(self.generation);
        if listeners.is_empty() {
            return;
        }
        for handle in self.registry.running() {
            let info = handle.info();
            let paces = info.and_then(|it| listeners.get(&it.peer().listener).copied());
            if let Some([to_server, to_client]) = paces {
                handle.set_pace(to_server, to_client);
            }
        }
    }

    /// Ends the sessions whose certificates are not trusted any more by their listeners.
    fn end_distrusted(&self) {
        let servers = Arc::new(self.kept.distrusting(self.generation));
        if !servers.is_empty() {
            self.workers.each(&self.registry, |sessions| {
                distrust::judge(sessions, Arc::clone(&servers))
            });
        }
    }

    /// Has the clients of listeners that ask another responder than before asked about there.
    #[cfg(feature = "ocsp")]
    fn follow_responders(&self, changed: Changed) {
        if changed.is_empty() {
            return;
        }
        let servers = self.plan.listeners.iter();
        let servers = servers.filter_map(|it| Some((it.name.to_string(), it.tls.clone()?)));
        let (changed, servers) = (Arc::new(changed), Arc::new(servers.collect()));
        self.workers.each(&self.registry, |sessions| {
            let (changed, servers) = (Arc::clone(&changed), Arc::clone(&servers));
            self.ocsp
                .clone()
                .follow_sessions(sessions, changed, servers)
        });
    }

    /// Logs that a listener listens.
    fn announce(&self, listener: &ListenerPlan) {
        let address = self.sockets.address(listener);
        let upstream = self.upstreams.get(&listener.upstream);
        tracing::info!(
            target: "mproxy::server",
            event = "listen",
            listener = &*listener.name,
            address = address.map(tracing::field::display),
            chain = listener.chain_config.name,
            upstream = listener.upstream,
            upstream_address = upstream.map(|it| tracing::field::display(it.address())),
            "listening"
        );
    }

    /// The service of a listener.
    fn service(&mut self, plan: &ListenerPlan) -> Option<Service> {
        let kept = self.kept.of(plan, &self.gates, self.generation);
        Some(Service {
            name: Arc::clone(&plan.name),
            networks: plan.networks.clone(),
            bans: Arc::clone(&self.bans),
            ipv6_prefix: plan.rules.ipv6_prefix,
            trust: plan.trust.clone(),
            tls: plan.tls.clone(),
            #[cfg(feature = "ocsp")]
            ocsp: self.ocsp.clone(),
            #[cfg(feature = "ocsp")]
            ocsp_check: self.ocsp.check(&plan.name),
            websocket: plan.websocket.clone(),
            upgrades: Arc::clone(&plan.upgrades),
            policy: Arc::clone(&kept.policy),
            limits: Arc::clone(&plan.limits),
            // the plan has the brokers of its listeners
            upstream: Arc::clone(self.upstreams.get(&plan.upstream)?),
            gate: kept.gate.clone(),
            limits_handshakes: !plan.rules.handshakes.is_unlimited(),
            memory: Arc::clone(&self.memory),
            strain: Arc::clone(&self.strain),
            metrics: self.metrics.listener(&plan.name),
            health: self.health.listener(&plan.name),
        })
    }

    /// Sets the capacity that the configuration and the system allow.
    fn set_capacity(&self) {
        self.memory.configure(self.config.server.memory);
        self.strain.configure(&self.config.server);
        self.bans.configure(&self.config.bans);
        let capacity = Capacity::of(&self.config, self.workers.len());
        let remedy = capacity.descriptor_remedy(&self.config.server);
        self.gates.set_maximum(capacity.connections, remedy);
        let connections = capacity.connections.min(self.memory.connections());
        self.metrics.set_capacity(connections);
    }
}

impl Drop for Supervisor {
    /// Ends the threads and frees what they hold, including the files of Unix sockets.
    fn drop(&mut self) {
        self.abort.cancel();
        self.workers.join();
    }
}
