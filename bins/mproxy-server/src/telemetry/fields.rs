//! The fields of spans and events.

use super::escape::Cut;
use std::fmt;
use tracing::field::{Field, Visit};

/// The most bytes of a value in text: an identifier that is longer is an attack, or no use
/// to a person.
const TEXT_LIMIT: usize = 256;

/// The most bytes of a value in JSON: a list of topic filters fits.
const JSON_LIMIT: usize = 4096;

/// The most bytes of a name in JSON. The layers of mproxy-layers cut at the same length, so that a
/// name reads the same in their lines and in those of the server.
const JSON_NAME_LIMIT: usize = 512;

/// The fields that hold one name that a client chose.
const NAMES: [&str; 3] = ["client_id", "username", "topic"];

/// The fields that are left out of the line of a client that has none.
const WHO: [&str; 2] = ["client_id", "username"];

/// The field that holds the text of an event.
const MESSAGE: &str = "message";

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number or a boolean, as it is written.
    Literal(String),
    /// Anything else, not yet escaped.
    Text(String),
}

/// Fields in the order in which they were recorded, each name once.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) list: Vec<(&'static str, Value)>,
    json: bool,
}

impl Fields {
    /// No fields; values will be cut for `json` or for text.
    pub(super) fn new(json: bool) -> Self {
        Self {
            message: String::new(),
            list: Vec::new(),
            json,
        }
    }

    /// True when a field of this name is there.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.list.iter().any(|(it, _)| *it == name)
    }

    fn limit(&self, name: &str) -> usize {
        match self.json {
            true if NAMES.contains(&name) => JSON_NAME_LIMIT,
            true => JSON_LIMIT,
            false => TEXT_LIMIT,
        }
    }

    fn literal(&mut self, field: &Field, value: impl ToString) {
        self.set(field, Value::Literal(value.to_string()));
    }

    fn text(&mut self, field: &Field, value: impl fmt::Display) {
        if field.name() == MESSAGE {
            self.message = Cut::format(value, JSON_LIMIT);
        } else {
            let limit = self.limit(field.name());
            self.set(field, Value::Text(Cut::format(value, limit)));
        }
    }

    fn set(&mut self, field: &Field, value: Value) {
        let is_name = WHO.contains(&field.name());
        if is_name && value == Value::Text(String::new()) {
            // a client without a name
            return;
        }
        let same = self.list.iter_mut().find(|(name, _)| *name == field.name());
        match same {
            Some((_, old)) => *old = value,
            None => self.list.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
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
        self.literal(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity.
        match value.is_finite() {
            true => self.literal(field, value),
            false => self.text(field, value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.text(field, text);
    }
}
