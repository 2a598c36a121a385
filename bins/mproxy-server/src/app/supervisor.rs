//! The running proxy: what is started from a configuration, replaced by a reload, and ended by a drain.
//!
//! ```text
//! start:  Config -> Plan -> sockets -> workers, apply
//! run:    Event::Reload -> load -> Plan -> sockets -> apply      Event::Stop -> drain
//! ```

#[cfg(feature = "ocsp")]
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use mproxy_admin::{Admin, Health, Metrics, Named};
use mproxy_codec::ReasonCode;
use mproxy_config::Config;
use mproxy_session::BoxError;
use mproxy_transport::Resolver;
#[cfg(feature = "ocsp")]
use mproxy_transport::TlsServer;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::api::{Api, Token, serve_admin};
use super::bans::Bans;
use super::capacity::Capacity;
use super::certificates;
use super::code_pages;
use super::drain::{Drained, Progress};
use super::event::{Event, Events, Sender};
use super::gate::Gates;
use super::held::Held;
use super::kept::KeptListeners;
use super::lists::Fetchers;
use super::memory::Memory;
#[cfg(feature = "ocsp")]
use super::ocsp::Ocsp;
use super::plan::{ListenerPlan, Plan};
use super::registry::Registry;
use super::reload::Loader;
use super::service::Service;
use super::service_manager;
use super::session::WorkerRecorder;
use super::sockets::{BindError, Opened, Sockets};
use super::strain::Strain;
use super::upstream::Upstreams;
use super::workers::{RESTART, Workers};
use super::{OnLog, OnProblems, build_info};

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// An address on which mproxy cannot listen.
    #[error("{0}{remedy}", remedy = .0.remedy().map_or_else(String::new, |it| format!("; {it}")))]
    Bind(BindError),
    /// A configuration whose parts do not fit together, or whose files cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Unusable(String),
    /// Anything else.
    #[error("{what}: {error}")]
    Other { what: &'static str, error: BoxError },
}

/// Where a new configuration comes from, and who else uses it.
pub(crate) struct Sources {
    /// Reads the configuration again.
    pub(crate) loader: Arc<Loader>,
    /// Applies the log level.
    pub(crate) on_log: OnLog,
    /// The admin port requests reloads here.
    pub(crate) events: Sender,
    /// Reports problems of the configuration that are found when its files are read.
    pub(crate) on_problems: OnProblems,
    /// Listening sockets that the service manager passed.
    pub(crate) held: Held,
    /// Files that change are noticed anyway, those of TLS among them.
    pub(crate) is_watched: bool,
}

/// A proxy that is listening.
pub(crate) struct Supervisor {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    /// Where health and metrics are.
    #[cfg_attr(
        not(feature = "demo"),
        expect(dead_code, reason = "only the demo asks")
    )]
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
    /// The tables that may need a restart, as they were at the start.
    pub(super) started: Config,
    pub(super) plan: Arc<Plan>,
    /// The number of the configuration: 1 at the start.
    generation: u64,
    pub(super) sockets: Sockets,
    pub(super) upstreams: Upstreams,
    kept: KeptListeners,
    certificates: certificates::Watch,
    pub(super) fetchers: Fetchers,
    #[cfg(feature = "ocsp")]
    ocsp: Ocsp,
    events: Sender,
    is_watched: bool,
}

impl Supervisor {
    /// Binds everything, and only then starts to accept, so that an unusable configuration serves
    /// nothing.
    ///
    /// # Errors
    /// The part that could not be started.
    pub(crate) async fn start(
        config: Config,
        files: &[String],
        sources: Sources,
    ) -> Result<Self, StartError> {
        let threads = worker_count(&config);
        let capacity = Capacity::of(&config, threads.get());
        let build = build_info();
        let health = Health::new();
        let metrics = Metrics::new(&build, &health, threads);
        let memory = Arc::new(Memory::new(config.server.memory, metrics.memory()));
        announce_start(&config, files, threads, &capacity, &memory);
        // shared, so that brokers with the same name resolve together
        let resolver = Resolver::system();
        let fetchers =
            Fetchers::start(&config, &resolver, &metrics, &sources.events, &memory).await;
        let plan = match Plan::build(&config, None, &fetchers.lists, &metrics) {
            Ok(plan) => plan,
            Err(problems) => return Err(StartError::Unusable((sources.on_problems)(problems))),
        };
        let warnings = certificates::warnings(&config, &plan);
        if !warnings.is_empty() {
            (sources.on_problems)(warnings);
        }
        let sockets = Sockets::new(sources.held);
        let opened = sockets
            .open_missing(&plan.listeners, threads.get())
            .map_err(StartError::Bind)?;
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let registry = Registry::new(threads.get());
        let token = Arc::new(Token::from_pointee(None));
        let progress = Progress::default();
        let bans = Bans::new(config.bans.clone(), metrics.bans());
        let api = Api {
            events: sources.events.clone(),
            registry: registry.clone(),
            bans: Arc::clone(&bans),
            token: Arc::clone(&token),
            progress: progress.clone(),
        };
        let admin = Admin::new(build, health.clone(), metrics.clone()).api(Arc::new(api));
        let admin = serve_admin(config.admin.bind, admin, &abort).await?;
        let recorders = (0..threads.get()).map(|index| WorkerRecorder::new(&metrics, index));
        let recorders: Vec<_> = recorders.collect();
        let strain = Arc::new(Strain::new(recorders.clone(), metrics.overload()));
        let workers = Workers::start(recorders, &registry, &abort)
            .map_err(|error| other("cannot start the worker threads")(error.into()))?;
        let (keeper, kept, over) = (Arc::clone(&memory), registry.clone(), abort.clone());
        tokio::spawn(async move { keeper.keep(&kept, over).await });
        let (keeper, kept, over) = (Arc::clone(&strain), registry.clone(), abort.clone());
        tokio::spawn(async move { keeper.keep(&kept, over).await });
        let remedy = capacity.descriptor_remedy(&config.server);
        #[cfg(feature = "ocsp")]
        let ocsp = Ocsp::new(&resolver, &metrics);
        let mut supervisor = Self {
            metrics,
            health,
            admin,
            registry,
            stop,
            progress,
            announced: None,
            abort,
            loader: sources.loader,
            on_log: sources.on_log,
            token,
            resolver,
            gates: Gates::new(capacity.connections, remedy),
            memory,
            strain,
            bans,
            workers,
            started: without_traffic(&config),
            plan: Arc::new(plan),
            generation: 0,
            config,
            sockets,
            upstreams: Upstreams::default(),
            kept: KeptListeners::default(),
            certificates: certificates::Watch::default(),
            fetchers,
            #[cfg(feature = "ocsp")]
            ocsp,
            events: sources.events,
            is_watched: sources.is_watched,
        };
        supervisor.apply(opened);
        supervisor.sockets.judge_unused();
        Ok(supervisor)
    }

    /// The address of the first listener, if it is one of TCP.
    #[cfg(feature = "demo")]
    pub(crate) fn listener(&self) -> Option<SocketAddr> {
        let first = self.plan.listeners.first()?;
        self.sockets.address(first)?.socket_addr()
    }

    /// Runs until the process must stop, then drains.
    pub(crate) async fn run(mut self, mut events: Events) -> Drained {
        self.watch_upstreams();
        service_manager::ready();
        tokio::spawn(service_manager::be_watched());
        loop {
            let event = match timeout(code_pages::SETTLED, events.next()).await {
                Ok(event) => event,
                Err(_) => {
                    // what the start, or a reload, took
                    code_pages::give_back();
                    events.next().await
                }
            };
            match event {
                Event::Stop { .. } => return self.stop(&mut events).await,
                Event::Reload(reload) => self.reload(reload, &mut events).await,
                Event::Drain(request) => {
                    if !self.drain_on_request(request, &mut events).await {
                        return self.stop(&mut events).await;
                    }
                }
                Event::Undo(request) => self.nothing_to_undo(request),
            }
        }
    }

    /// Watches the brokers for readiness.
    pub(super) fn watch_upstreams(&mut self) {
        self.upstreams.watch(&self.abort);
    }

    /// Applies a plan. This cannot fail.
    pub(super) fn apply(&mut self, opened: Opened) {
        let plan = Arc::clone(&self.plan);
        self.generation += 1;
        self.upstreams
            .replace(&plan.upstreams, &self.resolver, &self.metrics, &self.health);
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
        let distrusting = self.kept.distrusting(self.generation);
        certificates::judge(&self.workers, &self.registry, distrusting);
        #[cfg(feature = "ocsp")]
        self.ocsp
            .follow_sessions(&self.workers, &self.registry, others, servers(&plan));
        if !self.is_watched {
            self.certificates.follow(&plan.tls_files, &self.events);
        }
        self.fetchers.follow(&self.config);
        let listeners = plan.listeners.iter().map(|it| it.name.to_string());
        let checks = self.upstreams.checks();
        self.health.keep(&Named {
            listeners: listeners.collect(),
            ..checks
        });
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

fn other(what: &'static str) -> impl FnOnce(BoxError) -> StartError {
    move |error| StartError::Other { what, error }
}

/// The TLS of each listener.
#[cfg(feature = "ocsp")]
fn servers(plan: &Plan) -> HashMap<String, TlsServer> {
    let servers = plan.listeners.iter();
    let servers = servers.filter_map(|it| Some((it.name.to_string(), it.tls.clone()?)));
    servers.collect()
}

/// A configuration without what any reload can change: lists of rules may be large.
fn without_traffic(config: &Config) -> Config {
    let mut config = config.clone();
    config.listeners.clear();
    config.upstreams.clear();
    config.chains.clear();
    config.layers.clear();
    config
}

/// Says what the process is, before anything can fail.
fn announce_start(
    config: &Config,
    files: &[String],
    threads: NonZeroUsize,
    capacity: &Capacity,
    memory: &Memory,
) {
    tracing::info!(
        target: "mproxy::server",
        event = "start",
        release = env!("CARGO_PKG_VERSION"),
        revision = option_env!("MPROXY_REVISION"),
        pid = std::process::id(),
        config = (!files.is_empty()).then(|| files.join(", ")),
        workers = threads,
        capacity = capacity.connections.min(memory.connections()),
        descriptors = capacity.descriptors,
        memory_bytes = memory.limit(),
        memory_automatic = memory.is_automatic(),
        "starting"
    );
    capacity.warn(&config.server);
}

fn worker_count(config: &Config) -> NonZeroUsize {
    // respects the cgroup's CPU quota
    let parallelism = || std::thread::available_parallelism().ok();
    let count = config.server.worker_threads.or_else(parallelism);
    count.unwrap_or(NonZeroUsize::MIN)
}
