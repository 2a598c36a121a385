//! `[log]`: the log of the process.

use crate::choice::words;
use crate::context::Context;
use crate::scalar::LogLevel;
use crate::section::{Setting, section};
use mproxy_session::Rate;

section! {
    /// The log of the process.
    Log, LogKeys in "[log]", reload "at once" {
        /// A level (off, error, warn, info, debug, trace) or directives: "info,mproxy::session=debug".
        ///
        /// docs/logs.md lists the targets for directives and explains the lines. The flag `--log-level` and
        /// the variables MPROXY_LOG and RUST_LOG override this key.
        level: String as Setting<LogLevel> = "info",
            reload "at once, unless a flag or a variable sets the level";
        /// Format of a line: "auto", "text" (to standard error) or "json" (to standard output).
        ///
        /// auto: text when standard error is a terminal, JSON otherwise.
        format: LogFormat = "auto", restart "the stream of the log is chosen at start";
        /// Maximum rate of lines of one kind at level info and below. "0/s" = unlimited.
        ///
        /// Ten seconds' worth may come at once. mproxy leaves out further lines; the next line of the kind
        /// says how many, and which address caused most of them. Lines at warn and error have a separate,
        /// fixed limit: ten per second of one kind. An access log that must be complete needs "0/s".
        max_rate: Option<Rate> = "100/s", restart "the limiter is made at start";
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::read(&mut Context::default(), &LogKeys::default())
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise.
    Auto,
    /// For people, on standard error.
    Text,
    /// For machines, on standard output.
    Json,
}

words! {
    LogFormat { "auto": Auto, "text": Text, "json": Json, later "logfmt" }
}
