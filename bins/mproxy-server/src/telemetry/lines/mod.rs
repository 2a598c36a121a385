//! From tracing's events to lines of bytes: limited, formatted, queued, written.
//!
//! ```text
//! event --Limiter--> Fields --LineWriter--> Queue --thread--> sink
//!           |                                 ^
//!           `-- what was left out, once a second
//! ```
//!
//! This part knows nothing of the configuration, so that the benchmark can take it in as it is.

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
/// Of one kind of lines at level `info` and below, it writes as many as `repeats` says; `None` is all
/// of them. What it leaves out or loses is counted in `dropped`.
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
