//! `run`.

use super::args::RunArgs;
use super::load::{color, load_patiently, request, tell};
use super::streams::{failed, say};
use crate::app::{Events, Held, OnLog, OnProblems, RunOptions, Signals};
use crate::exit::Exit;
use crate::telemetry::{self, Level, Settings, Verbosity, log_problems};
use mproxy_config::diagnostics::{Diagnostic, Report, Sources};
use mproxy_config::{Environment, Loaded, Log, LogFormat, LogLevel, Request, load, parse};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::sync::watch;

/// Loads the configuration, starts the log, runs the proxy.
///
/// # Errors
///
/// What keeps it from running; this was said.
pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Exit> {
    // The variables of the environment are changed, so no other thread may run yet.
    let held = Held::of_process();
    // Signals next: from here on, only signals that mean to kill do.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("cannot start the runtime", &error))?;
    let events = Events::new();
    let signals = Signals::watch(&runtime, &events.sender())
        .map_err(|error| failed("cannot watch for signals", &error))?;
    let request = request(&args.source, true)?;
    let loaded = load_patiently(&request);
    let refused = tell(&loaded.report, &args.source);
    let settings = log_settings(args, &loaded.log).or_else(|error| {
        refused?;
        say(format_args!("error: {error}\n"));
        Err(Exit::Usage)
    })?;
    let guard =
        telemetry::start(&settings).map_err(|error| failed("cannot start the log", &error))?;
    if settings.is_json() {
        log_problems(&loaded.report);
    }
    refused?;
    let config = loaded.config.ok_or(Exit::Config)?;
    let (files, watched) = watch::channel(loaded.read_from);
    let options = RunOptions {
        files: loaded.report.sources.files().map(str::to_owned).collect(),
        excerpt: loaded.report.sources.excerpt(config.places()),
        require_upstream: args.require_upstream,
        loader: Arc::new(move || {
            let loaded = reload(&request);
            // files that could not be read are watched as before
            if !loaded.read_from.is_empty() {
                files.send_replace(loaded.read_from.clone());
            }
            loaded
        }),
        held,
        on_problems: on_problems(args.clone(), loaded.report.sources, settings.is_json()),
        watched: args.watch.then_some(watched),
        on_log: on_log(args.clone(), guard.level()),
    };
    let code = crate::app::run(config, options, guard.dropped(), &runtime, &signals, events);
    drop(guard);
    Ok(code)
}

/// Reports problems of a configuration with these texts as those were that are found in the texts
/// themselves.
fn on_problems(args: RunArgs, sources: Sources, is_json: bool) -> OnProblems {
    Box::new(move |problems| {
        let mut report = Report::default();
        report.sources = sources;
        report.extend(problems);
        // the caller ends the process
        let _ = tell(&report, &args.source);
        if is_json {
            log_problems(&report);
        }
        report.tally()
    })
}

/// Sets the level of a new configuration, unless a flag or a variable does.
fn on_log(args: RunArgs, level: Level) -> OnLog {
    Box::new(move |log| {
        if let Ok(settings) = log_settings(&args, log) {
            level.set(&settings.filter);
        }
        level_of_process(&args).ok()?.map(|(_, by)| by)
    })
}

/// Reads the configuration again.
fn reload(request: &Request) -> Loaded {
    if request.location.is_standard_input() {
        let diagnostic = Diagnostic::error(
            "the configuration was read from standard input, which cannot be read again",
        );
        return Loaded::refused(
            diagnostic.note("start mproxy with a file to be able to reload it"),
        );
    }
    let loaded = load(request, &Environment::of_process());
    if loaded.config.is_some() && !loaded.read_from.is_empty() && loaded.is_empty {
        let diagnostic =
            Diagnostic::error("the configuration is empty: the file may be incomplete");
        return Loaded::refused(diagnostic.note(
            "for a configuration of defaults only, write `version = 1`; to change a file, write another one and \
             rename it, so that mproxy never reads half of it",
        ));
    }
    loaded
}

/// The level that a flag or a variable sets, and which of them.
fn level_of_process(args: &RunArgs) -> Result<Option<(String, &'static str)>, String> {
    let env = Environment::of_process();
    let variable = |name| env.get(name).filter(|it| !it.is_empty());
    if let Some(flag) = &args.log_level {
        return Ok(Some((flag.clone(), "--log-level")));
    }
    if let Some(text) = variable("MPROXY_LOG") {
        let level = parse::<LogLevel>(text).map_err(|error| format!("MPROXY_LOG: {error}"))?;
        return Ok(Some((level, "MPROXY_LOG")));
    }
    // RUST_LOG is for all programs: do not complain about it.
    Ok(variable("RUST_LOG").map(|text| (text.to_owned(), "RUST_LOG")))
}

/// The log settings: the flag, then the environment, then the configuration.
///
/// The variables are read here and not by the argument parser, so that a wrong one does
/// not break commands that do not log.
fn log_settings(args: &RunArgs, log: &Log) -> Result<Settings, String> {
    let filter = level_of_process(args)?.map_or_else(|| log.level.clone(), |(level, _)| level);
    let env = Environment::of_process();
    let variable = env.get("MPROXY_LOG_FORMAT").filter(|it| !it.is_empty());
    let format = match (args.log_format, variable) {
        (Some(flag), _) => flag,
        (None, Some(text)) => {
            parse::<LogFormat>(text).map_err(|error| format!("MPROXY_LOG_FORMAT: {error}"))?
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
