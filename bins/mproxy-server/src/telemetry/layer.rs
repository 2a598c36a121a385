//! From tracing's events to lines in the queue.

use super::fields::Fields;
use super::line::Style;
use super::queue::Queue;
use std::sync::Arc;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes a line for each event.
#[derive(Debug)]
pub(super) struct LineLayer {
    style: Style,
    queue: Arc<Queue>,
}

impl LineLayer {
    /// Lines of one style into a queue.
    pub(super) fn new(style: Style, queue: Arc<Queue>) -> Self {
        Self { style, queue }
    }

    fn fields(&self) -> Fields {
        Fields::new(self.style == Style::Json)
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = self.fields();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut fields = self.fields();
        event.record(&mut fields);
        let spans: Vec<_> = cx.event_scope(event).into_iter().flatten().collect();
        let extensions: Vec<_> = spans.iter().map(|span| span.extensions()).collect();
        let outer: Vec<_> = extensions
            .iter()
            .filter_map(|it| it.get::<Fields>())
            .collect();
        let mut line = String::new();
        self.style
            .write(&mut line, event.metadata(), &fields, &outer);
        self.queue.push(line);
    }
}
