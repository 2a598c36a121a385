//! An event as one line.

use super::escape;
use super::fields::{Fields, Value};
use std::fmt::Write;
use std::time::SystemTime;
use tracing::{Level, Metadata};

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For people.
    Text {
        /// With the level in colour.
        color: bool,
    },
    /// For machines.
    Json,
}

/// Names that a JSON line has of its own.
const RESERVED: [&str; 4] = ["ts", "level", "target", "message"];

/// Target and message of the line that says how many lines are missing.
const LOG: &str = "mproxy::log";
const LOST: &str = "log lines not written: the reader of the log is too slow";

impl Style {
    /// Appends a line with its end. The event's own fields come first, those of the spans
    /// around it after them, the innermost first; of fields with one name, the first counts.
    pub(super) fn write(
        self,
        out: &mut String,
        metadata: &Metadata<'_>,
        event: &Fields,
        spans: &[&Fields],
    ) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let target = metadata.target();
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Text { color } => {
                let level = level(*metadata.level(), color);
                write!(out, "{now} {level} {target}: ")
            }
            Self::Json => {
                let level = metadata.level();
                write!(
                    out,
                    r#"{{"ts":"{now}","level":"{level}","target":"{target}","message":"#
                )
            }
        };
        match self {
            Self::Text { .. } => escape::message(out, &event.message),
            Self::Json => escape::json(out, &event.message),
        }
        for (index, fields) in std::iter::once(&event).chain(spans).enumerate() {
            let shown = std::iter::once(&event).chain(spans).take(index);
            for (name, value) in &fields.list {
                if !shown.clone().any(|it| it.contains(name)) {
                    self.field(out, name, value);
                }
            }
        }
        out.push_str(match self {
            Self::Text { .. } => "\n",
            Self::Json => "}\n",
        });
    }

    fn field(self, out: &mut String, name: &str, value: &Value) {
        match self {
            Self::Text { .. } => {
                let _ = write!(out, " {name}=");
            }
            Self::Json => {
                let mark = if RESERVED.contains(&name) { "_" } else { "" };
                let _ = write!(out, ",\"{name}{mark}\":");
            }
        }
        match (self, value) {
            (_, Value::Literal(text)) => out.push_str(text),
            (Self::Text { .. }, Value::Text(text)) => escape::value(out, text),
            (Self::Json, Value::Text(text)) => escape::json(out, text),
        }
    }

    /// Says that lines were not written, with what [`write`](Self::write) would say of an event.
    pub(super) fn write_dropped(self, out: &mut String, count: u64) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let _ = match self {
            Self::Text { color } => {
                let level = level(Level::WARN, color);
                writeln!(
                    out,
                    "{now} {level} {LOG}: {LOST} event=suppress suppressed={count}"
                )
            }
            Self::Json => writeln!(
                out,
                r#"{{"ts":"{now}","level":"WARN","target":"{LOG}","message":"{LOST}","event":"suppress","suppressed":{count}}}"#
            ),
        };
    }
}

fn level(level: Level, color: bool) -> &'static str {
    let (plain, colored) = match level {
        Level::ERROR => ("ERROR", "\u{1b}[31mERROR\u{1b}[0m"),
        Level::WARN => (" WARN", "\u{1b}[33m WARN\u{1b}[0m"),
        Level::INFO => (" INFO", "\u{1b}[32m INFO\u{1b}[0m"),
        Level::DEBUG => ("DEBUG", "\u{1b}[34mDEBUG\u{1b}[0m"),
        Level::TRACE => ("TRACE", "\u{1b}[35mTRACE\u{1b}[0m"),
    };
    if color { colored } else { plain }
}
