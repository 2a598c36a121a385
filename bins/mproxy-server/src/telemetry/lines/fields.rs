//! The fields of spans and events, formatted for a line.

use super::escape::{Cut, Shown};
use super::kind::SUPPRESSED;
use super::line::Style;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};

/// Maximum bytes of a value in text: a longer identifier is an attack, or useless
/// to people.
const TEXT_LIMIT: usize = 256;

/// Maximum bytes of a value in JSON: a list of topic filters fits.
const JSON_LIMIT: usize = 4096;

/// Maximum bytes of a name in JSON. The layers of mproxy-layers cut at the same length, so that a
/// name reads the same in their lines and in those of the server.
const JSON_NAME_LIMIT: usize = 512;

/// The fields with a name that a client chose.
const NAMES: [&str; 3] = ["client_id", "username", "topic"];

/// The fields that are left out if the client has none.
const WHO: [&str; 2] = ["client_id", "username"];

/// The field with the message of an event.
const MESSAGE: &str = "message";

/// Fields in the order of recording, each name once.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The text of an event, escaped.
    pub(super) message: String,
    /// Names and values as they are in a line.
    pub(super) text: String,
    places: Vec<Place>,
}

/// Where a field is in the text.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: &'static str,
    start: usize,
    end: usize,
}

impl Fields {
    /// Removes all fields, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.message.clear();
        self.text.clear();
        self.places.clear();
    }

    /// Bytes of memory kept for texts.
    pub(super) fn capacity(&self) -> usize {
        self.message.capacity() + self.text.capacity()
    }

    /// Each field with its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let shown = |place: &Place| (place.name, &self.text[place.start..place.end]);
        self.places.iter().map(shown)
    }

    /// Adds a field that `write` appends, or replaces the one with this name.
    fn set(&mut self, style: Style, name: &'static str, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        style.name(&mut self.text, name);
        write(&mut self.text);
        let end = self.text.len();
        let same = self.places.iter().position(|it| it.name == name);
        let Some(same) = same else {
            self.places.push(Place { name, start, end });
            return;
        };
        let new = self.text.split_off(start);
        let old = self.places[same];
        self.text.replace_range(old.start..old.end, &new);
        let moved = |at: usize| at - (old.end - old.start) + new.len();
        self.places[same].end = moved(old.end);
        for place in &mut self.places[same + 1..] {
            (place.start, place.end) = (moved(place.start), moved(place.end));
        }
    }
}

/// Records the fields of an event or a span.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    style: Style,
    fields: &'a mut Fields,
    /// Scratch space for values that are formatted before they are escaped.
    scratch: &'a mut String,
    /// True to leave out the field that counts missing lines.
    counts_suppressed: bool,
}

impl<'a> Recording<'a> {
    pub(super) fn new(style: Style, fields: &'a mut Fields, scratch: &'a mut String) -> Self {
        Self {
            style,
            fields,
            scratch,
            counts_suppressed: true,
        }
    }

    /// Leaves out the field that counts missing lines, which the limiter adds itself.
    pub(super) fn without_suppressed(mut self, without: bool) -> Self {
        self.counts_suppressed = !without;
        self
    }

    fn limit(&self, name: &str) -> usize {
        match self.style {
            Style::Json if NAMES.contains(&name) => JSON_NAME_LIMIT,
            Style::Json => JSON_LIMIT,
            Style::Text { .. } => TEXT_LIMIT,
        }
    }

    /// A number or a boolean, as it is written.
    fn literal(&mut self, field: &Field, value: impl fmt::Display) {
        self.fields.set(self.style, field.name(), |out| {
            // writing to a string cannot fail
            let _ = write!(out, "{value}");
        });
    }

    /// Anything else.
    fn text(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == MESSAGE {
            self.fields.message.clear();
            let shown = Shown::cut(value, JSON_LIMIT);
            self.style.message(&mut self.fields.message, shown);
            return;
        }
        if value.is_empty() && WHO.contains(&name) {
            // a client without a name
            return;
        }
        let (style, shown) = (self.style, Shown::cut(value, self.limit(name)));
        self.fields.set(style, name, |out| style.value(out, shown));
    }

    fn formatted(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let limit = match field.name() {
            MESSAGE => JSON_LIMIT,
            name => self.limit(name),
        };
        let mut text = std::mem::take(self.scratch);
        // Writing cannot fail; a `Display` that fails has written all that it could.
        let _ = Cut::new(&mut text, limit).write_fmt(value);
        self.text(field, &text);
        text.clear();
        *self.scratch = text;
    }
}

impl Visit for Recording<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.literal(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.literal(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() != SUPPRESSED || self.counts_suppressed {
            self.literal(field, value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity.
        match value.is_finite() {
            true => self.literal(field, value),
            false => self.formatted(field, format_args!("{value}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let own = format!(": {cause}");
            // many messages include those of their sources
            if !text.contains(&own) {
                text.push_str(&own);
            }
            source = cause.source();
        }
        self.text(field, &text);
    }
}
