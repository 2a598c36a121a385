//! Turns tracing's events into lines: limited, formatted, queued, written.
//!
//! ```text
//! event --Limiter--> Fields --LineWriter--> Queue --thread--> sink
//!           |                                 ^
//!           `-- what was left out, once a second
//! ```
//!
//! This part does not know the configuration, so that the benchmark can include it unchanged.

mod escape;
mod fields;
mod kind;
mod layer;
mod limiter;
mod line;
mod queue;
mod sink;
mod sources;
mod stamp;

use std::io::Write;
use std::sync::Arc;

use mproxy_admin::LogMetrics;

pub(crate) use self::escape::harmless;
pub(crate) use self::layer::LineLayer;
pub(crate) use self::limiter::Allowance;
pub(crate) use self::line::Style;
pub(crate) use self::queue::Queue;

use self::limiter::Limiter;

/// A layer that writes lines of one style to `sink`, and the queue in between.
///
/// It writes as many lines of one kind at level `info` and below as `repeats` says; `None` is all
/// of them. `dropped` counts what it leaves out or loses.
pub(crate) fn lines(
    style: Style,
    repeats: Option<Allowance>,
    dropped: LogMetrics,
    sink: impl Write + Send + 'static,
) -> (LineLayer, Arc<Queue>) {
    let limiter = Arc::new(Limiter::new(repeats, dropped.clone()));
    let queue = Queue::start(sink, style, Arc::clone(&limiter), dropped);
    (LineLayer::new(style, limiter, Arc::clone(&queue)), queue)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
