//! The composition root: the only place where listeners, layers, brokers, metrics and threads are
//! put together.
//!
//! ```text
//! config --compose--> tower stacks --.
//! worker threads: accept --gate--> connection: transport, Session::run(stack, upstream) --> metrics, log
//! main thread: signals, admin port, broker probes
//! ```

mod capacity;
mod compose;
mod connection;
mod gate;
mod handshake;
mod link;
mod memory;
mod pulse;
mod recorder;
mod remedy;
mod report;
mod server;
mod service;
mod signals;
mod upstream;
mod worker;

use std::process::ExitCode;

use mproxy_admin::LogMetrics;
use tokio::runtime::Runtime;

use self::server::{Drained, Server, StartError};
pub(crate) use self::server::{bind_advice, listen_address};
#[cfg(test)]
pub(crate) use self::signals::ENDING_SIGNALS;
pub(crate) use self::signals::Signals;
use crate::exit::Exit;
use mproxy_config::Config;

/// What is wanted of this one run, and is no property of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunOptions {
    /// The files that the configuration was read from.
    pub(crate) files: Vec<String>,
    /// End with exit code 69 when the broker cannot be reached at start.
    pub(crate) require_upstream: bool,
}

/// Runs the proxy until it is told to stop; its metrics show those of the log. `signals` are watched
/// on `runtime`.
pub(crate) fn run(
    config: &Config,
    options: &RunOptions,
    log: &LogMetrics,
    runtime: &Runtime,
    signals: Signals,
) -> ExitCode {
    // before anybody can know that the proxy runs: a signal that comes early drains too
    signals.started();
    let mut requests = signals.requests();
    runtime.block_on(async {
        let server = match Server::start(config, &options.files).await {
            Ok(server) => server,
            Err(error) => return failed(&error),
        };
        server.metrics.log(log);
        if options.require_upstream {
            for upstream in &server.upstreams {
                let answer = tokio::select! {
                    answer = upstream.require() => answer,
                    () = requests.reach(1) => break,
                };
                if let Err(error) = answer {
                    tracing::error!(
                        target: "mproxy::upstream",
                        event = "error",
                        detail = %error,
                        upstream = upstream.name,
                        "the broker does not serve clients, and --require-upstream is set"
                    );
                    return Exit::Unavailable.into();
                }
            }
        }
        serve(server, signals).await
    })
}

async fn serve(server: Server, signals: Signals) -> ExitCode {
    match server.run(signals.requests()).await {
        // Sessions that were cut when server.drain_timeout was over are what the configuration asks
        // for; nginx and HAProxy end with 0 as well when their time is up.
        Drained::Gently | Drained::InTime => Exit::Success.into(),
        Drained::Forced => ExitCode::from(signals.killed()),
    }
}

fn failed(error: &StartError) -> ExitCode {
    tracing::error!(target: "mproxy::server", event = "error", detail = %error, "cannot start");
    match error {
        StartError::Bind { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Exit::Permission.into()
        }
        _ => Exit::Failure.into(),
    }
}

/// A proxy that runs beside something else of the process.
#[cfg(feature = "demo")]
pub(crate) struct Running {
    /// The address of its first listener.
    pub(crate) listener: Option<std::net::SocketAddr>,
    /// The address of health and metrics.
    pub(crate) admin: Option<std::net::SocketAddr>,
    /// Ends when the proxy has: drained after a signal.
    pub(crate) finished: std::pin::Pin<Box<dyn Future<Output = ExitCode> + Send>>,
}

/// Starts the proxy.
///
/// # Errors
///
/// When signals cannot be watched, or the proxy cannot start.
#[cfg(feature = "demo")]
pub(crate) async fn start(
    config: &Config,
) -> Result<Running, Box<dyn std::error::Error + Send + Sync>> {
    let signals = Signals::of_demo()?;
    let server = Server::start(config, &[]).await?;
    Ok(Running {
        listener: server.addresses.first().and_then(mproxy_config::Bind::tcp),
        admin: server.admin,
        finished: Box::pin(serve(server, signals)),
    })
}
