//! The composition root: the only place where listeners, layers, brokers, metrics and threads are
//! put together.
//!
//! ```text
//! config --compose--> tower stacks --.
//! worker threads: accept --gate--> connection: transport, Session::run(stack, upstream) --> metrics, log
//! main thread: signals, admin port, broker probes
//! ```

mod compose;
mod connection;
mod gate;
mod handshake;
mod link;
mod memory;
mod recorder;
mod remedy;
mod report;
mod server;
mod service;
mod upstream;
mod worker;

use std::process::ExitCode;

use mproxy_admin::LogMetrics;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use self::server::{Server, StartError};
pub(crate) use self::server::{bind_advice, listen_address};
use crate::cli::{Exit, RunOptions};
use crate::config::Config;

/// 128 and the number of the signal, as shells report it.
const KILLED_BY_SIGNAL: u8 = 128;

/// Runs the proxy until it is told to stop; its metrics show those of the log.
pub(crate) fn run(config: &Config, options: RunOptions, log: &LogMetrics) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&StartError::Other {
                what: "cannot start the runtime",
                error: error.into(),
            });
        }
    };
    runtime.block_on(async {
        // before anybody can know that the proxy runs: a signal that comes early drains too
        let signals = match Signals::watch() {
            Ok(signals) => signals,
            Err(error) => {
                return failed(&StartError::Other {
                    what: "cannot watch for signals",
                    error: error.into(),
                });
            }
        };
        let server = match Server::start(config).await {
            Ok(server) => server,
            Err(error) => return failed(&error),
        };
        server.metrics.log(log);
        if options.require_upstream {
            for upstream in &server.upstreams {
                if let Err(error) = upstream.require().await {
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
    let (count, last) = (signals.count.clone(), signals.last);
    if server.run(count.clone()).await {
        return Exit::Success.into();
    }
    // not everybody was sent away gently: say which signal it was
    let forced = *count.borrow() >= 2;
    match (forced, *last.borrow()) {
        (true, number) if number > 0 => ExitCode::from(KILLED_BY_SIGNAL + number),
        _ => Exit::Failure.into(),
    }
}

/// Counts the signals that ask the process to end.
struct Signals {
    count: watch::Receiver<u32>,
    last: watch::Receiver<u8>,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        let (count, counted) = watch::channel(0);
        let (last, seen) = watch::channel(0);
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        for (mut stream, number) in [(terminate, 15u8), (interrupt, 2u8)] {
            let (count, last) = (count.clone(), last.clone());
            tokio::spawn(async move {
                while Signal::recv(&mut stream).await.is_some() {
                    last.send_replace(number);
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Self {
            count: counted,
            last: seen,
        })
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

    use crate::demo::{self, Running};

    let start = |toml: String| async move {
        let config =
            crate::config::from_text(&toml).map_err(Box::<dyn Error + Send + Sync>::from)?;
        let signals = Signals::watch()?;
        let server = Server::start(&config).await?;
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
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    outcome.unwrap_or_else(|error| {
        eprint!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            eprint!(": {error}");
            cause = error.source();
        }
        eprintln!();
        ExitCode::FAILURE
    })
}
