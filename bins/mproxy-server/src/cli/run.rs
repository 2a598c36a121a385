//! `run`.

use super::args::RunArgs;
use super::load::{color, load_source, report};
use super::streams::{failed, say};
use crate::app::{RunOptions, Signals};
use crate::exit::Exit;
use crate::telemetry::{self, Settings, Verbosity};
use mproxy_config::diagnostics::{Report, Severity};
use mproxy_config::{Environment, Log, LogFormat, LogLevel, parse};
use std::process::ExitCode;
use tokio::runtime::Builder;

/// Loads the configuration, starts the log, runs the proxy.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    // Signals first: from here on none kills that does not mean to.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed("cannot start the runtime", &error).into(),
    };
    let signals = match Signals::watch(&runtime) {
        Ok(signals) => signals,
        Err(error) => return failed("cannot watch for signals", &error).into(),
    };
    let loaded = match load_source(&args.source, true) {
        Ok(loaded) => loaded,
        Err(exit) => return exit.into(),
    };
    let refused = report(&loaded, &args.source);
    let settings = match (log_settings(args, &loaded.log), refused) {
        (Ok(settings), _) => settings,
        (Err(_), Err(exit)) => return exit.into(),
        (Err(error), Ok(())) => {
            say(format_args!("error: {error}\n"));
            return Exit::Usage.into();
        }
    };
    let guard = match telemetry::start(&settings) {
        Ok(guard) => guard,
        Err(error) => return failed("cannot start the log", &error).into(),
    };
    if settings.is_json() {
        log_problems(&loaded.report);
    }
    let config = match (refused, loaded.config) {
        (Ok(()), Some(config)) => config,
        (Err(exit), _) => return exit.into(),
        (Ok(()), None) => return Exit::Config.into(),
    };
    let options = RunOptions {
        files: loaded.report.sources.files().map(str::to_owned).collect(),
        require_upstream: args.require_upstream,
    };
    let code = crate::app::run(&config, &options, guard.dropped(), &runtime, signals);
    drop(guard);
    code
}

/// Writes the problems of the configuration to the log, where they are looked for when a container
/// does not start: what is on standard error is text that a log collector cannot read.
fn log_problems(report: &Report) {
    let shown = report.shown();
    for diagnostic in &shown.list {
        let place = report.place(diagnostic);
        let label = diagnostic.label.iter();
        let remedy: Vec<_> = label.chain(&diagnostic.notes).map(|it| &**it).collect();
        let remedy = (!remedy.is_empty()).then(|| remedy.join("; "));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "mproxy::config",
                    event = "error",
                    place,
                    remedy,
                    "{}", diagnostic.message
                )
            };
        }
        match diagnostic.severity {
            Severity::Error => line!(error),
            Severity::Warning => line!(warn),
        }
    }
    let suppressed = (shown.more > 0).then_some(shown.more);
    if report.errors() > 0 {
        tracing::error!(
            target: "mproxy::config",
            event = "error",
            suppressed,
            "configuration refused: {}", report.tally()
        );
    } else if shown.more > 0 {
        tracing::warn!(
            target: "mproxy::config",
            event = "error",
            suppressed,
            "the configuration has more problems than are shown: {}", report.tally()
        );
    }
}

/// What counts: the flag, then the environment, then the configuration.
///
/// The variables are looked at here and not by the argument parser, so that a wrong one does
/// not keep commands from working that log nothing.
fn log_settings(args: &RunArgs, log: &Log) -> Result<Settings, String> {
    let env = Environment::of_process();
    let variable = |name| env.get(name).filter(|it| !it.is_empty());
    let from_variable = |name, error| format!("{name}: {error}");
    let filter = match (&args.log_level, variable("MPROXY_LOG")) {
        (Some(flag), _) => flag.clone(),
        (None, Some(text)) => {
            parse::<LogLevel>(text).map_err(|it| from_variable("MPROXY_LOG", it))?
        }
        // Meant for all programs: not ours to complain about.
        (None, None) => match variable("RUST_LOG") {
            Some(text) => text.to_owned(),
            None => log.level.clone(),
        },
    };
    let format = match (args.log_format, variable("MPROXY_LOG_FORMAT")) {
        (Some(flag), _) => flag,
        (None, Some(text)) => {
            parse::<LogFormat>(text).map_err(|it| from_variable("MPROXY_LOG_FORMAT", it))?
        }
        (None, None) => log.format,
    };
    let verbosity = Verbosity(i16::from(args.verbose) - i16::from(args.quiet));
    Ok(Settings {
        filter: verbosity.apply(&filter),
        format,
        color: color(args.source.color),
        max_rate: log.max_rate,
    })
}
