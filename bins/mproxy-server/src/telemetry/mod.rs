//! The log of the process.
//!
//! One event is one line, whatever a client sends: control characters and those that change
//! the direction of text are escaped in every value, and long values are cut. Text is for
//! people and goes to standard error, so that standard output stays free for what a command
//! prints; JSON is for machines and goes to standard output, where containers collect it.
//!
//! Writing never holds up traffic: lines wait in a bounded queue for a thread of their own,
//! and are dropped, and counted, when the reader of the log is too slow.

mod escape;
mod fields;
mod filter;
mod layer;
mod line;
mod queue;

pub(crate) use filter::Verbosity;

use self::layer::LineLayer;
use self::line::Style;
use self::queue::Queue;
use crate::config::{LogFormat, log_filter};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How to log.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A level, or directives in the syntax of `RUST_LOG`.
    pub(crate) filter: String,
    /// The shape of a line.
    pub(crate) format: LogFormat,
    /// Whether text is coloured.
    pub(crate) color: bool,
}

/// Keeps the log going; when it is dropped, what waits is written, for a second at most.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub(crate) struct Guard {
    queue: Arc<Queue>,
}

/// Starts the log.
///
/// # Errors
///
/// When it was started before.
pub(crate) fn start(settings: &Settings) -> Result<Guard, TryInitError> {
    let text = match settings.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let style = match text {
        true => Style::Text {
            color: settings.color,
        },
        false => Style::Json,
    };
    let queue = match text {
        true => Queue::start(io::stderr(), style),
        false => Queue::start(io::stdout(), style),
    };
    // Directives were checked where they came from; what is left over is not worth a refusal.
    let filter = log_filter().parse_lossy(&settings.filter);
    let lines = LineLayer::new(style, queue.clone()).with_filter(filter);
    tracing_subscriber::registry().with(lines).try_init()?;
    Ok(Guard { queue })
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.drain();
    }
}

#[cfg(test)]
mod tests;
