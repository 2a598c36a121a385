//! The problems of a configuration, as lines of the log.

use mproxy_config::diagnostics::{Report, Severity};

/// Writes the problems of the configuration to the log, where operators look when a container
/// does not start: the text on standard error is not readable for a log collector.
pub(crate) fn log_problems(report: &Report) {
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
