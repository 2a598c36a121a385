//! The start: all that can fail comes first. Only then does mproxy say that it has started, and accept.

use std::num::NonZeroUsize;
use std::sync::Arc;

use mproxy_admin::{Admin, Health, Metrics};
use mproxy_config::Config;
use mproxy_config::diagnostics::Sources as Texts;
use mproxy_session::BoxError;
use mproxy_transport::Resolver;
use tokio_util::sync::CancellationToken;

use super::Supervisor;
use crate::app::api::{Api, Token, serve_admin};
use crate::app::bans::Bans;
use crate::app::capacity::Capacity;
use crate::app::certificates;
use crate::app::event::Sender;
use crate::app::gate::Gates;
use crate::app::held::Held;
use crate::app::kept::KeptListeners;
use crate::app::lists::{Fetchers, ListFiles};
use crate::app::memory::Memory;
#[cfg(feature = "ocsp")]
use crate::app::ocsp::Ocsp;
use crate::app::plan::Plan;
use crate::app::progress::Progress;
use crate::app::registry::Registry;
use crate::app::sockets::{BindError, Opened, Sockets};
use crate::app::strain::Strain;
use crate::app::tls_files;
use crate::app::upstream::Upstreams;
use crate::app::worker_recorder::WorkerRecorder;
use crate::app::workers::Workers;
use crate::app::{Loader, OnLog, OnProblems, build_info};

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
    /// The lines of keys whose files are read again when they change.
    pub(crate) excerpt: Texts,
    /// Files that change are noticed anyway, those of TLS among them.
    pub(crate) is_watched: bool,
}

/// A proxy whose addresses are open, and that accepts nobody yet.
pub(crate) struct Prepared {
    supervisor: Supervisor,
    opened: Opened,
}

impl Prepared {
    /// Does all that can fail, so that an unusable configuration serves nothing.
    ///
    /// # Errors
    /// The part that could not be started.
    pub(crate) async fn new(config: Config, sources: Sources) -> Result<Self, StartError> {
        let threads = worker_count(&config);
        let capacity = Capacity::of(&config, threads.get());
        let build = build_info();
        let health = Health::new();
        let metrics = Metrics::new(&build, &health, threads);
        let memory = Arc::new(Memory::new(config.server.memory, metrics.memory()));
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
        let list_files = Arc::new(ListFiles::default());
        let api = Api {
            events: sources.events.clone(),
            registry: registry.clone(),
            bans: Arc::clone(&bans),
            token: Arc::clone(&token),
            progress: progress.clone(),
            lists: fetchers.lists.clone(),
            list_files: Arc::clone(&list_files),
        };
        let admin = Admin::new(build, health.clone(), metrics.clone()).api(Arc::new(api));
        let admin = serve_admin(config.admin.bind, admin, &abort)
            .await
            .map_err(StartError::Bind)?;
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
        let supervisor = Supervisor {
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
            excerpt: sources.excerpt,
            sockets,
            upstreams: Upstreams::default(),
            kept: KeptListeners::default(),
            tls_files: tls_files::Watch::default(),
            fetchers,
            list_files,
            #[cfg(feature = "ocsp")]
            ocsp,
            events: sources.events,
            is_watched: sources.is_watched,
        };
        Ok(Self { supervisor, opened })
    }

    /// Probes each broker once; logs one that does not serve clients, and returns false then.
    pub(crate) async fn require_upstreams(&mut self) -> bool {
        self.supervisor.replace_upstreams();
        self.supervisor.upstreams.require().await
    }

    /// Accepts connections from now on.
    pub(crate) fn begin(self, files: &[String]) -> Supervisor {
        let Self {
            mut supervisor,
            opened,
        } = self;
        supervisor.announce_start(files);
        supervisor.apply(opened);
        supervisor.sockets.judge_unused();
        supervisor
    }
}

impl Supervisor {
    /// Says what the process is, when nothing can fail any more.
    fn announce_start(&self, files: &[String]) {
        let workers = self.workers.len();
        let capacity = Capacity::of(&self.config, workers);
        tracing::info!(
            target: "mproxy::server",
            event = "start",
            release = env!("CARGO_PKG_VERSION"),
            revision = option_env!("MPROXY_REVISION"),
            pid = std::process::id(),
            config = (!files.is_empty()).then(|| files.join(", ")),
            workers,
            capacity = capacity.connections.min(self.memory.connections()),
            descriptors = capacity.descriptors,
            memory_bytes = self.memory.limit(),
            memory_automatic = self.memory.is_automatic(),
            "started"
        );
        capacity.warn(&self.config.server);
        if let Some(address) = self.admin {
            tracing::info!(
                target: "mproxy::server",
                event = "listen",
                %address,
                "admin port listening"
            );
        }
    }
}

fn other(what: &'static str) -> impl FnOnce(BoxError) -> StartError {
    move |error| StartError::Other { what, error }
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

fn worker_count(config: &Config) -> NonZeroUsize {
    // respects the cgroup's CPU quota
    let parallelism = || std::thread::available_parallelism().ok();
    let count = config.server.worker_threads.or_else(parallelism);
    count.unwrap_or(NonZeroUsize::MIN)
}
