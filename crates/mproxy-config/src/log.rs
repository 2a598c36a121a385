//! `[log]`: the log of the process.

use crate::choice::Choice;
use crate::context::Context;
use crate::scalar::{LogLevel, Rate};
use crate::section::{Setting, section};

section! {
    /// The log of the process.
    Log, LogKeys in "[log]" {
        /// A level (off, error, warn, info, debug, trace) or directives such as
        /// "info,mproxy::session=debug".
        level: String as Setting<LogLevel> = "info";
        /// Shape of a line. auto = text when standard error is a terminal, json otherwise. Text
        /// goes to standard error, JSON to standard output.
        format: LogFormat = "auto", restart "the stream of the log is chosen at start";
        /// Most lines of one kind at level info and below, after ten seconds' worth at once; the next line
        /// says how many were left out. "0/s" = no limit. Of those at warn and error there are ten a second.
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

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
    ];
    const LATER: &'static [&'static str] = &["logfmt"];
}
