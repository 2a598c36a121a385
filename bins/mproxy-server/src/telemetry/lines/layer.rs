//! Formats tracing's events as lines in the queue.

use super::fields::{Fields, Recording};
use super::limiter::{Decision, Gap, Limiter};
use super::line::Style;
use super::queue::Queue;
use super::stamp::Stamp;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Maximum bytes that a thread keeps for its next line.
const KEPT: usize = 16 << 10;

/// Writes a line for each event, unless the limiter leaves it out.
#[derive(Debug)]
pub(crate) struct LineLayer {
    style: Style,
    limiter: Arc<Limiter>,
    queue: Arc<Queue>,
}

impl LineLayer {
    pub(super) fn new(style: Style, limiter: Arc<Limiter>, queue: Arc<Queue>) -> Self {
        Self {
            style,
            limiter,
            queue,
        }
    }
}

/// The buffers of a thread for a line, kept from one line to the next.
#[derive(Debug, Default)]
struct Scratch {
    stamp: Stamp,
    event: Fields,
    /// The names of fields that are in the line.
    names: Vec<&'static str>,
    value: String,
    line: String,
}

thread_local! {
    /// Taken while in use: a value that logs while it is formatted gets a fresh one.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Lends the buffers of the thread.
    fn with(use_it: impl FnOnce(&mut Self)) {
        // a thread that is ending has none
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        let mut scratch = kept.unwrap_or_default();
        use_it(&mut scratch);
        let capacity =
            scratch.event.capacity() + scratch.value.capacity() + scratch.line.capacity();
        if capacity <= KEPT {
            let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
        }
    }

    /// Writes a line into `self.line`.
    fn write<S>(&mut self, style: Style, event: &Event<'_>, cx: &Context<'_, S>, gap: Option<&Gap>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.event.clear();
        self.value.clear();
        self.line.clear();
        self.names.clear();
        let mut recording = Recording::new(style, &mut self.event, &mut self.value)
            .without_suppressed(gap.is_some());
        event.record(&mut recording);
        let time = (&mut self.stamp, SystemTime::now());
        style.begin(&mut self.line, time, event.metadata());
        style.event(&mut self.line, &self.event, gap);
        for span in cx.event_scope(event).into_iter().flatten() {
            if self.names.is_empty() {
                self.names.extend(self.event.iter().map(|(name, _)| name));
            }
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<Fields>() else {
                continue;
            };
            for (name, text) in fields.iter() {
                // the innermost span wins
                if !self.names.contains(&name) {
                    self.names.push(name);
                    self.line.push_str(text);
                }
            }
        }
        style.end(&mut self.line);
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let (mut fields, mut value) = (Fields::default(), String::new());
        attributes.record(&mut Recording::new(self.style, &mut fields, &mut value));
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            let mut value = String::new();
            record.record(&mut Recording::new(self.style, fields, &mut value));
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        match self.limiter.judge(event, Instant::now()) {
            Decision::Write(gap) => Scratch::with(|scratch| {
                scratch.write(self.style, event, &cx, gap.as_ref());
                self.queue.push(&scratch.line);
            }),
            Decision::LeaveOut { is_first: true } => self.queue.wake(),
            Decision::LeaveOut { is_first: false } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that logs while it is formatted, as one of a library may, must not find the
    /// half-written line that it is for.
    #[test]
    fn a_line_within_a_line_has_memory_of_its_own() {
        Scratch::with(|outer| {
            outer.line.push_str("outer");
            Scratch::with(|inner| {
                assert!(inner.line.is_empty());
                inner.line.push_str("inner");
            });
            assert_eq!(outer.line, "outer");
        });
        // what one leaves, the next one has
        Scratch::with(|next| assert_eq!(next.line, "outer"));
        Scratch::with(|large| large.line.reserve(2 * KEPT));
        Scratch::with(|next| assert_eq!(next.line.capacity(), 0));
    }
}
