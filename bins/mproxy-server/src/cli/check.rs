//! `check`.

use super::args::{CheckArgs, ReportFormat};
use super::load::{color, load_source, source_name};
use super::probe::{probe, shown_address};
use super::streams::{failed, print, say};
use crate::exit::Exit;
use mproxy_config::{Choice, Config, Loaded};
use tokio::runtime::Builder;

/// Checks a configuration and reports.
pub(super) fn check(args: &CheckArgs) -> Result<(), Exit> {
    let mut loaded = load_source(&args.source, !args.no_environment)?;
    if let (Some(config), false) = (&loaded.config, args.no_environment) {
        loaded.report.extend(crate::app::try_plan(config));
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("cannot start the runtime", &error))?;
        probe(config, &loaded.secrets, &mut loaded.report, &runtime);
        // not waiting for a look-up of a name that nobody waits for any more
        runtime.shutdown_background();
    }
    let report = &loaded.report;
    let refusal = report.refusals(args.deny_warnings).map(Exit::from).max();
    let out = match args.format {
        ReportFormat::Json => format!("{:#}\n", report.to_json(args.deny_warnings)),
        ReportFormat::Text => {
            say(format_args!("{}", report.render(color(args.source.color))));
            if let Some(exit) = refusal {
                say(format_args!("{}: {}\n", report.tally(), verdict(exit)));
            }
            let accepted = loaded.config.as_ref().filter(|_| refusal.is_none());
            accepted.map_or_else(String::new, |config| summary(config, &loaded, args))
        }
    };
    // the exit code counts even if the report could not be written
    let failure = print(out.as_bytes()).err();
    refusal.max(failure).map_or(Ok(()), Err)
}

/// The verdict. "Configuration refused" only if there is a mistake in it.
fn verdict(exit: Exit) -> &'static str {
    match exit {
        Exit::Permission | Exit::Unavailable => {
            "the configuration is valid, but cannot be used here and now"
        }
        Exit::Success | Exit::Failure | Exit::Usage | Exit::Config => "configuration refused",
    }
}

fn summary(config: &Config, loaded: &Loaded, args: &CheckArgs) -> String {
    let tally = match loaded.report.tally() {
        none if none.is_empty() => none,
        some => format!(", {some}"),
    };
    let mut out = format!("configuration ok: {}{tally}\n", source_name(&args.source));
    for listener in &config.listeners {
        let layers: Vec<_> = listener
            .chain
            .layers
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let through = match layers.is_empty() {
            true => "without layers".to_owned(),
            false => format!("through {}", layers.join(", ")),
        };
        let secure = if listener.tls.is_some() { "s" } else { "" };
        let protocol = format!("{}{secure}", listener.protocol.word());
        let bind = &listener.bind;
        let at = match bind.socket_addr() {
            Some(bind) => format!("{protocol}://{bind}"),
            None => format!("{protocol} over {bind}"),
        };
        out.push_str(&format!(
            "  {}  {at} -> {} {through}\n",
            listener.name,
            shown_address(&listener.upstream, &loaded.secrets),
        ));
    }
    match config.admin.bind {
        Some(bind) => out.push_str(&format!("  admin  http://{bind}\n")),
        None => out.push_str("  admin  off\n"),
    }
    out
}
