//! The log of the process.
//!
//! One event is one line, whatever a client sends: control characters and those that change
//! the direction of text are escaped in every value, and long values are cut. Text is for
//! people and goes to standard error, so that standard output stays free for what a command
//! prints; JSON is for machines and goes to standard output, where containers collect it.
//!
//! Repeated lines are limited per kind, before they are formatted, no matter who writes them.
//! Writing never delays traffic: lines wait in a bounded queue for a separate thread,
//! and are dropped and counted if the reader of the log is too slow or the disk is full.

mod filter;
mod lines;
mod problems;

pub(crate) use filter::Verbosity;
pub(crate) use lines::harmless;
pub(crate) use problems::log_problems;

use self::lines::{Allowance, Queue, Style, lines};
use mproxy_admin::LogMetrics;
use mproxy_config::{LogFormat, log_filter};
use mproxy_session::Rate;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How many seconds' worth of lines of one kind may be written at once.
const BURST: Duration = Duration::from_secs(10);

/// The minimum of that: a low rate is meant for floods, not for the few lines of a start.
const LEAST_BURST: u32 = 10;

/// How to log.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A level, or directives in the syntax of `RUST_LOG`.
    pub(crate) filter: String,
    /// The format of a line.
    pub(crate) format: LogFormat,
    /// Whether text is coloured.
    pub(crate) color: bool,
    /// Maximum rate of lines of one kind at level `info` and below; `None` = no limit.
    pub(crate) max_rate: Option<Rate>,
}

impl Settings {
    /// True when lines are JSON, on standard output.
    pub(crate) fn is_json(&self) -> bool {
        match self.format {
            LogFormat::Auto => !io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        }
    }
}

/// Keeps the log running; when dropped, writes the queued lines, for a second at most.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub(crate) struct Guard {
    queue: Arc<Queue>,
    dropped: LogMetrics,
    level: Level,
}

/// The filter of the log; clones change the same log.
#[derive(Clone, Debug)]
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Sets the filter.
    pub(crate) fn set(&self, filter: &str) {
        // the log lives as long as the process
        let _ = self.0.reload(log_filter().parse_lossy(filter));
    }
}

impl Guard {
    /// The counter of lines that were not written.
    pub(crate) fn dropped(&self) -> &LogMetrics {
        &self.dropped
    }

    /// The handle to change the filter.
    pub(crate) fn level(&self) -> Level {
        self.level.clone()
    }
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// It was already started.
    #[error(transparent)]
    Started(#[from] TryInitError),
    /// Its stream cannot be opened.
    #[error(transparent)]
    Stream(#[from] io::Error),
}

/// Starts the log.
///
/// # Errors
///
/// It was already started, or the process has no descriptor left.
pub(crate) fn start(settings: &Settings) -> Result<Guard, StartError> {
    let text = !settings.is_json();
    let style = match text {
        true => Style::Text {
            color: settings.color,
        },
        false => Style::Json,
    };
    let repeats = settings.max_rate.map(allowance);
    let dropped = LogMetrics::default();
    // The library buffers the rest of a partial write to standard output, and reports it as written: a
    // full disk would lose lines that nobody counts. The descriptor itself reports the truth.
    let descriptor = match text {
        true => io::stderr().as_fd().try_clone_to_owned()?,
        false => io::stdout().as_fd().try_clone_to_owned()?,
    };
    let (layer, queue) = lines(style, repeats, dropped.clone(), File::from(descriptor));
    // Directives were already checked; an invalid rest is ignored.
    let filter = log_filter().parse_lossy(&settings.filter);
    let (filter, handle) = reload::Layer::new(filter);
    let layer = layer.with_filter(filter);
    tracing_subscriber::registry().with(layer).try_init()?;
    Ok(Guard {
        queue,
        dropped,
        level: Level(handle),
    })
}

fn allowance(rate: Rate) -> Allowance {
    let interval = rate.period / rate.count.get();
    let burst = BURST.as_nanos() / interval.as_nanos().max(1);
    Allowance {
        burst: u32::try_from(burst).unwrap_or(u32::MAX).max(LEAST_BURST),
        interval,
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.drain();
    }
}
