//! The composition root: the only place where listeners, layers, brokers, metrics and threads are
//! put together.
//!
//! ```text
//! config --compose--> tower stacks --.
//! worker threads: accept --gate--> connection: transport, Session::run(stack, upstream) --> metrics, log
//! main thread: signals, admin port, broker probes
//! ```

mod api;
mod bans;
mod capacity;
mod certificates;
mod cgroup;
mod chain;
mod code_pages;
mod distrust;
mod drain;
mod event;
mod foreign;
mod gate;
mod held;
mod kept;
mod key_names;
mod lists;
mod memory;
mod networks;
#[cfg(feature = "ocsp")]
mod ocsp;
mod plan;
mod progress;
mod recent;
mod registry;
mod reload;
mod run;
mod service;
mod service_manager;
mod session;
mod signals;
mod sockets;
mod strain;
mod supervisor;
mod tls_files;
mod trust;
mod upgrades;
mod upstream;
mod watch;
mod worker_recorder;
mod workers;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use mproxy_admin::{BuildInfo, Health, LogMetrics, Metrics};
#[cfg(feature = "demo")]
use mproxy_config::diagnostics::Report;
use mproxy_config::diagnostics::{Diagnostic, Sources as Texts};
use mproxy_config::{Config, Contents, Loaded, Log};
use mproxy_transport::UpstreamAddr;
use tokio::runtime::Runtime;
use tokio::sync::watch::Receiver;

use self::drain::Drained;
pub(crate) use self::event::Events;
pub(crate) use self::held::Held;
use self::lists::Lists;
use self::plan::Plan;
#[cfg(test)]
pub(crate) use self::signals::ENDING_SIGNALS;
use self::signals::KILLED_BY_SIGNAL;
pub(crate) use self::signals::Signals;
pub(crate) use self::sockets::bind_advice;
use self::supervisor::{Prepared, Sources, StartError};
pub(crate) use self::upstream::Failure;
use self::upstream::try_broker;
use crate::exit::Exit;

/// Options of one run, as opposed to the traffic.
pub(crate) struct RunOptions {
    /// The files that the configuration was read from.
    pub(crate) files: Vec<String>,
    /// The lines of the configuration whose keys name files that are read again when they change.
    pub(crate) excerpt: Texts,
    /// End with exit code 69 when the broker cannot be reached at start.
    pub(crate) require_upstream: bool,
    /// Reads the configuration again.
    pub(crate) loader: Arc<Loader>,
    /// Listening sockets that the service manager passed.
    pub(crate) held: Held,
    /// The files to watch, as they were last read; `None` = do not watch.
    pub(crate) watched: Option<Receiver<Contents>>,
    /// Reports problems that are found when the files of the configuration are read.
    pub(crate) on_problems: OnProblems,
    /// Applies the log level of a new configuration.
    pub(crate) on_log: OnLog,
}

/// Reads the configuration again, from the same sources.
pub(crate) type Loader = dyn Fn() -> Loaded + Send + Sync;

/// Reports problems of the configuration, each at its place, and returns how many there are.
pub(crate) type OnProblems = Box<dyn FnOnce(Vec<Diagnostic>) -> String + Send>;

/// Applies the log level of a new configuration; returns the flag or variable that sets the level instead, if
/// one does.
pub(crate) type OnLog = Box<dyn Fn(&Log) -> Option<&'static str> + Send + Sync>;

/// Runs the proxy until it is told to stop; its metrics include those of the log.
pub(crate) fn run(
    config: Config,
    options: RunOptions,
    log: &LogMetrics,
    runtime: &Runtime,
    signals: &Signals,
    mut events: Events,
) -> ExitCode {
    // before anybody can know that the proxy runs, so that an early signal drains, too
    signals.started();
    runtime.block_on(async {
        let is_watched = options.watched.is_some();
        if let Some(files) = options.watched {
            match watch::watch(files, events.sender(), event::Asker::Watch) {
                Ok(watching) => drop(tokio::spawn(watching)),
                Err(error) => return not_watched(&error),
            }
        }
        let sources = Sources {
            loader: options.loader,
            on_log: options.on_log,
            on_problems: options.on_problems,
            events: events.sender(),
            held: options.held,
            excerpt: options.excerpt,
            is_watched,
        };
        let mut prepared = match Prepared::new(config, sources).await {
            Ok(prepared) => prepared,
            Err(error) => return failed(&error),
        };
        if options.require_upstream {
            let required = tokio::select! {
                required = prepared.require_upstreams() => required,
                () = events.stop() => true,
            };
            if !required {
                return Exit::Unavailable.into();
            }
        }
        let supervisor = prepared.begin(&options.files);
        supervisor.metrics.log(log);
        ended(supervisor.run(events).await)
    })
}

/// Tries an address of a broker, for `check`. Not with TLS whose files cannot be used, which was said.
///
/// # Errors
/// Why clients would not get through.
pub(crate) async fn try_upstream(
    upstream: &Arc<mproxy_config::Upstream>,
    addresses: &[&UpstreamAddr],
) -> Vec<Result<(), Failure>> {
    let Ok(plan) = plan::plan_upstream(upstream) else {
        return addresses.iter().map(|_| Ok(())).collect();
    };
    let mut results = Vec::new();
    for address in addresses {
        results.push(try_broker(upstream, address, plan.tls.as_ref()).await);
    }
    results
}

/// Compiles a configuration without opening anything, for `check`: why the proxy would not start with it, or
/// what it would warn about.
pub(crate) fn try_plan(config: &Config) -> Vec<Diagnostic> {
    let metrics = Metrics::new(&build_info(), &Health::new(), NonZeroUsize::MIN);
    match Plan::build(config, None, &Lists::default(), &metrics) {
        Ok(plan) => certificates::warnings(config, &plan),
        Err(problems) => problems,
    }
}

/// The library that does the cryptography of TLS, and its version.
pub(crate) static TLS_PROVIDER: LazyLock<String> = LazyLock::new(mproxy_transport::tls_provider);

fn build_info() -> BuildInfo {
    BuildInfo::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .revision(option_env!("MPROXY_REVISION"))
        .tls(&TLS_PROVIDER)
}

fn not_watched(error: &notify::Error) -> ExitCode {
    tracing::error!(
        target: "mproxy::server",
        event = "error",
        detail = %error,
        remedy = "raise fs.inotify.max_user_instances, or start without --watch",
        "cannot watch the files of the configuration"
    );
    Exit::Failure.into()
}

fn ended(drained: Drained) -> ExitCode {
    match drained {
        // Cutting sessions when server.drain_timeout is over is what the configuration asks
        // for; nginx and HAProxy end with 0 as well when their time is up.
        Drained::Gently | Drained::InTime => Exit::Success.into(),
        Drained::Forced { signal } => ExitCode::from(KILLED_BY_SIGNAL + signal),
    }
}

fn failed(error: &StartError) -> ExitCode {
    tracing::error!(target: "mproxy::server", event = "error", detail = %error, "cannot start");
    match error {
        StartError::Bind(error) if error.error.kind() == std::io::ErrorKind::PermissionDenied => {
            Exit::Permission.into()
        }
        StartError::Unusable(_) => Exit::Config.into(),
        _ => Exit::Failure.into(),
    }
}

/// A proxy that runs next to other tasks of the process.
#[cfg(feature = "demo")]
pub(crate) struct Running {
    /// The address of its first listener.
    pub(crate) listener: Option<std::net::SocketAddr>,
    /// The address of health and metrics.
    pub(crate) admin: Option<std::net::SocketAddr>,
    /// Ends when the proxy has drained after a signal.
    pub(crate) finished: std::pin::Pin<Box<dyn Future<Output = ExitCode> + Send>>,
}

/// Starts the proxy with the configuration of `loader`.
///
/// # Errors
///
/// When signals cannot be watched, or the proxy cannot start.
#[cfg(feature = "demo")]
pub(crate) async fn start(
    config: Config,
    loader: Arc<Loader>,
) -> Result<Running, Box<dyn std::error::Error + Send + Sync>> {
    let events = Events::new();
    Signals::of_demo(&events.sender())?;
    let sources = Sources {
        loader,
        on_log: Box::new(|_| None),
        on_problems: Box::new(|problems| {
            let mut report = Report::default();
            report.extend(problems);
            report.render(false)
        }),
        events: events.sender(),
        held: Held::default(),
        excerpt: Texts::default(),
        is_watched: false,
    };
    let supervisor = Prepared::new(config, sources).await?.begin(&[]);
    Ok(Running {
        listener: supervisor.listener(),
        admin: supervisor.admin,
        finished: Box::pin(async { ended(supervisor.run(events).await) }),
    })
}
