//! Formats an event as one line.

use super::escape::{self, Shown};
use super::fields::Fields;
use super::kind::SUPPRESSED;
use super::limiter::{Gap, Report};
use super::stamp::Stamp;
use std::fmt::Write;
use std::io;
use std::time::SystemTime;
use tracing::{Level, Metadata};

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Text {
        /// With the level in colour.
        color: bool,
    },
    /// For machines.
    Json,
}

/// Names that every JSON line uses.
const RESERVED: [&str; 4] = ["ts", "level", "target", "message"];

/// The target of lines about the log.
const LOG: &str = "mproxy::log";

/// The message about lines without room in the queue.
const LOST: &str = "log lines not written: the reader of the log is too slow";

/// The message about lines that could not be written.
const UNWRITTEN: &str = "log lines not written: writing the log failed";

/// The message about repetitions.
const REPEATED: &str = "log lines not written: they were repetitions";

/// The field that names the source of most lines that were left out.
const SUPPRESSED_TOP: &str = "suppressed_top";

impl Style {
    /// Appends the start of a line, up to the message.
    pub(super) fn begin(
        self,
        out: &mut String,
        (stamp, now): (&mut Stamp, SystemTime),
        metadata: &Metadata<'_>,
    ) {
        self.head(out, (stamp, now), *metadata.level(), metadata.target());
    }

    fn head(
        self,
        out: &mut String,
        (stamp, now): (&mut Stamp, SystemTime),
        level: Level,
        target: &str,
    ) {
        match self {
            Self::Text { color } => {
                stamp.write(out, now);
                out.push(' ');
                out.push_str(padded(level, color));
                out.push(' ');
                out.push_str(target);
                out.push_str(": ");
            }
            Self::Json => {
                out.push_str("{\"ts\":\"");
                stamp.write(out, now);
                out.push_str("\",\"level\":\"");
                out.push_str(level.as_str());
                out.push_str("\",\"target\":\"");
                out.push_str(target);
                out.push_str("\",\"message\":");
            }
        }
    }

    /// Appends the message and the fields of an event, and its report about earlier lines.
    pub(super) fn event(self, out: &mut String, event: &Fields, gap: Option<&Gap>) {
        match (self, event.message.is_empty()) {
            (Self::Json, true) => out.push_str("\"\""),
            _ => out.push_str(&event.message),
        }
        out.push_str(&event.text);
        if let Some(gap) = gap {
            self.gap(out, gap);
        }
    }

    fn gap(self, out: &mut String, gap: &Gap) {
        self.number(out, SUPPRESSED, gap.suppressed);
        if let Some(top) = gap.top {
            self.field(out, SUPPRESSED_TOP, &top.to_string());
        }
    }

    /// Ends a line.
    pub(super) fn end(self, out: &mut String) {
        out.push_str(match self {
            Self::Text { .. } => "\n",
            Self::Json => "}\n",
        });
    }

    /// Appends the text of an event.
    pub(super) fn message(self, out: &mut String, text: Shown<'_>) {
        match self {
            Self::Text { .. } => escape::message(out, text),
            Self::Json => escape::json(out, text),
        }
    }

    /// Appends what comes before a value.
    pub(super) fn name(self, out: &mut String, name: &str) {
        match self {
            Self::Text { .. } => {
                out.push(' ');
                out.push_str(name);
                out.push('=');
            }
            Self::Json => {
                out.push_str(",\"");
                out.push_str(name);
                if RESERVED.contains(&name) {
                    out.push('_');
                }
                out.push_str("\":");
            }
        }
    }

    /// Appends a value that is text.
    pub(super) fn value(self, out: &mut String, text: Shown<'_>) {
        match self {
            Self::Text { .. } => escape::value(out, text),
            Self::Json => escape::json(out, text),
        }
    }

    fn field(self, out: &mut String, name: &str, value: &str) {
        self.name(out, name);
        self.value(out, Shown::all(value));
    }

    fn number(self, out: &mut String, name: &str, value: u64) {
        self.name(out, name);
        // writing to a string cannot fail
        let _ = write!(out, "{value}");
    }

    /// Appends a line about lines that were lost: writing them failed, or there was no room for them.
    pub(super) fn lost(
        self,
        out: &mut String,
        time: (&mut Stamp, SystemTime),
        count: u64,
        error: Option<&io::Error>,
    ) {
        self.head(out, time, Level::WARN, LOG);
        let message = error.map_or(LOST, |_| UNWRITTEN);
        self.message(out, Shown::all(message));
        self.field(out, "event", "suppress");
        if let Some(error) = error {
            self.field(out, "detail", &error.to_string());
        }
        self.number(out, SUPPRESSED, count);
        self.end(out);
    }

    /// Appends a line about repetitions that no later line of their kind reports.
    pub(super) fn left_out(self, out: &mut String, time: (&mut Stamp, SystemTime), it: &Report) {
        self.head(out, time, it.level, LOG);
        self.message(out, Shown::all(REPEATED));
        self.field(out, "event", "suppress");
        for name in ["listener", "action", "reason"] {
            if let Some(value) = it.names.get(name) {
                self.field(out, name, value);
            }
        }
        match (it.target, it.names.get("event")) {
            (Some(target), Some(event)) => {
                self.field(out, "detail", &format!("{event} of {target}"));
            }
            (Some(target), None) => self.field(out, "detail", target),
            (None, _) => self.field(out, "detail", "lines of many kinds"),
        }
        for name in ["limit", "upstream"] {
            if let Some(value) = it.names.get(name) {
                self.field(out, name, value);
            }
        }
        self.gap(out, &it.gap);
        self.end(out);
    }
}

/// A level in the text format.
fn padded(level: Level, color: bool) -> &'static str {
    let (plain, colored) = match level {
        Level::ERROR => ("ERROR", "\u{1b}[31mERROR\u{1b}[0m"),
        Level::WARN => (" WARN", "\u{1b}[33m WARN\u{1b}[0m"),
        Level::INFO => (" INFO", "\u{1b}[32m INFO\u{1b}[0m"),
        Level::DEBUG => ("DEBUG", "\u{1b}[34mDEBUG\u{1b}[0m"),
        Level::TRACE => ("TRACE", "\u{1b}[35mTRACE\u{1b}[0m"),
    };
    if color { colored } else { plain }
}
