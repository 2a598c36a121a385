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
use crate::cli::{Exit, RunOptions};
use crate::config::Config;

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

/// Runs the demo.
#[cfg(feature = "demo")]
pub(crate) fn demo(options: crate::demo::Options) -> ExitCode {
    use std::error::Error;
    use std::iter::successors;

    use crate::cli::say;
    use crate::demo::{self, Running};

    let start = |toml: String| async move {
        let config =
            crate::config::from_text(&toml).map_err(Box::<dyn Error + Send + Sync>::from)?;
        let signals = Signals::of_demo()?;
        let server = Server::start(&config, &[]).await?;
        let proxy = server
            .addresses
            .first()
            .and_then(crate::config::Bind::tcp)
            .ok_or("the demo has no listener")?;
        let admin = server.admin;
        let finished = Box::pin(serve(server, signals));
        Ok(Running {
            proxy,
            admin,
            finished,
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(demo::run(options, std::io::stdout(), start)),
        Err(error) => {
            say(format_args!("error: cannot start the runtime: {error}\n"));
            return Exit::Failure.into();
        }
    };
    outcome.unwrap_or_else(|error| {
        if error.has_seen_enough() {
            return Exit::Success.into();
        }
        let causes = successors(error.source(), |error| (*error).source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        say(format_args!("error: {error}{causes}\n"));
        Exit::Failure.into()
    })
}
