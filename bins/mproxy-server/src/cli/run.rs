//! `run`.

use super::args::RunArgs;
use super::load::{color, load_source, report};
use crate::config::Config;
use crate::telemetry::{self, Settings, Verbosity};
use std::process::ExitCode;

/// What is wanted of this one run, and is no property of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunOptions {
    /// End with exit code 69 when the broker cannot be reached at start.
    pub(crate) require_upstream: bool,
}

/// Loads the configuration, starts the log, runs the proxy.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    let loaded = match load_source(&args.source, true) {
        Ok(loaded) => loaded,
        Err(exit) => return exit.into(),
    };
    if let Err(exit) = report(&loaded, &args.source) {
        return exit.into();
    }
    let Some(config) = loaded.config else {
        return super::Exit::Config.into();
    };
    let settings = log_settings(args, &config);
    let guard = match telemetry::start(&settings) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("error: cannot start the log: {error}");
            return super::Exit::Failure.into();
        }
    };
    let options = RunOptions {
        require_upstream: args.require_upstream,
    };
    let code = crate::app::run(config, options);
    drop(guard);
    code
}

fn log_settings(args: &RunArgs, config: &Config) -> Settings {
    let usual = || std::env::var("RUST_LOG").ok().filter(|it| !it.is_empty());
    let filter = args.log_level.clone().or_else(usual);
    let filter = filter.unwrap_or_else(|| config.log.level.clone());
    let verbosity = Verbosity(i16::from(args.verbose) - i16::from(args.quiet));
    Settings {
        filter: verbosity.apply(&filter),
        format: args.log_format.unwrap_or(config.log.format),
        color: color(args.source.color),
    }
}
