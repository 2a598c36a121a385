//! Composition of listeners, chains and upstreams.

use crate::config::Config;
use std::process::ExitCode;

/// Runs the proxy until it is told to stop.
pub(crate) fn run(_config: Config) -> ExitCode {
    eprintln!("mproxy-server: serving is not wired in this build");
    ExitCode::FAILURE
}
