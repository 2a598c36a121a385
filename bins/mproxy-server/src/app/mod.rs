//! Composition of listeners, chains and upstreams.

use crate::cli::RunOptions;
use crate::config::Config;
#[cfg(feature = "demo")]
use crate::demo;
#[cfg(feature = "demo")]
use std::error::Error;
#[cfg(feature = "demo")]
use std::io;
use std::process::ExitCode;

const UNWIRED: &str = "serving is not wired in this build";

/// Runs the proxy until it is told to stop.
pub(crate) fn run(_config: Config, _options: RunOptions) -> ExitCode {
    eprintln!("mproxy-server: {UNWIRED}");
    ExitCode::FAILURE
}

/// Runs the demo.
#[cfg(feature = "demo")]
pub(crate) fn demo(options: demo::Options) -> ExitCode {
    let start =
        |_toml| async { Err::<demo::Running, _>(Box::<dyn Error + Send + Sync>::from(UNWIRED)) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime.map(|it| it.block_on(demo::run(options, io::stdout(), start))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("mproxy-server: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("mproxy-server: {error}");
            ExitCode::FAILURE
        }
    }
}
