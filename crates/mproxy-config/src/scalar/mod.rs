//! From a written value to its meaning, one type at a time.
//!
//! A [`Scalar`] is a kind of value: what it looks like, how it is read, and what to report when
//! it cannot be. Whether a value makes sense together with others is checked by
//! [`validate`](super::validate).

/// How a scalar is written: what one is told to write, the schema, and the method by which a value is
/// shown; or all but the last as another scalar.
macro_rules! written {
    (as $other:ty) => {
        fn expected() -> String {
            <$other>::expected()
        }

        fn schema() -> schemars::Schema {
            <$other>::schema()
        }
    };
    ($expected:expr, $schema:tt) => {
        fn expected() -> String {
            $expected.to_owned()
        }

        fn schema() -> schemars::Schema {
            schemars::json_schema!($schema)
        }
    };
    ($expected:expr, $schema:tt, $show:ident) => {
        written!($expected, $schema);

        fn show(value: &Self::Value) -> toml_edit::Value {
            value.$show().into()
        }
    };
}

mod address;
mod choice;
mod measure;
mod number;
mod raw;
mod template;
mod text;

pub(crate) use address::{AdminBind, ResponderUrl};
pub(crate) use measure::{AutoSize, ByteRate, DurationOrNever, KeepAlive, Size, sized};
pub(crate) use number::{Count, FormatVersion, MaxQos, Number, Prefix};
pub use raw::Raw;
pub use template::Template;
pub(crate) use template::{
    FilterTemplate, PlainFilter, PrefixTemplate, StartTemplate, TextTemplate, opaque, with_forms,
};
pub(crate) use text::{AnyPath, FilePath, Origin, Text, Token, UrlPath};
pub use text::{LogLevel, log_filter};

use schemars::Schema;
use toml_edit::Value;

/// A kind of value.
pub trait Scalar {
    /// The type of the checked value.
    type Value;

    /// What was expected, for the reader of an error: `a duration such as "30s"`.
    fn expected() -> String;

    /// Reads a value.
    ///
    /// A `loose` value came from the environment or a flag, without TOML's types:
    /// there, `"2"` is a number, too.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the value.
    fn read(raw: &Raw, loose: bool) -> Result<Self::Value, Problem>;

    /// The value as it is written in TOML.
    fn show(value: &Self::Value) -> Value;

    /// The JSON schema of the values.
    fn schema() -> Schema;
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub label: String,
    /// More about it.
    pub note: Option<String>,
}

impl Problem {
    /// A value that is not what it should be.
    pub fn new(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            label: label.into(),
            note: None,
        }
    }

    /// A value that is not what was expected.
    pub(crate) fn expected<S: Scalar>(message: impl Into<String>) -> Self {
        Self::new(message, format!("expected {}", S::expected()))
    }

    /// Adds a note.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// A value of another type than the key has.
    fn mismatch(raw: &Raw, expected: &str) -> Self {
        let found = match raw {
            Raw::String(_) => "a string",
            Raw::Integer(_) => "an integer",
            Raw::Float(_) => "a float",
            Raw::Boolean(_) => "a boolean",
            Raw::Array(_) => "an array",
            Raw::Other(what) => what,
        };
        Self::new(
            format!("wrong type: found {found}"),
            format!("expected {expected}"),
        )
    }
}

/// Reads a value that was given as a flag.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse<S: Scalar>(text: &str) -> Result<S::Value, String> {
    S::read(&Raw::String(text.to_owned()), true)
        .map_err(|problem| format!("{}: {}", problem.message, problem.label))
}

/// The string in `raw`.
fn string<S: Scalar>(raw: &Raw) -> Result<&str, Problem> {
    match raw {
        Raw::String(text) => Ok(text),
        other => Err(Problem::mismatch(other, &S::expected())),
    }
}

/// The name among `candidates` that was probably meant by `word`.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    // A third of the letters may be wrong; more is a guess, not a typing mistake.
    let limit = match word.chars().count() {
        length @ 0..=2 => length / 2,
        length => length / 3,
    };
    candidates
        .into_iter()
        .map(|it| {
            let plain = it.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&word, &plain), it)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// The longest name among `candidates` that is a part of `word`: `memory` for `memory_limit`, and for
/// `max_memory`.
pub(crate) fn part<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = format!("_{}_", word.to_lowercase().replace('-', "_"));
    let is_part = |it: &&str| {
        let name = format!("_{it}_");
        word.starts_with(&name) || word.ends_with(&name)
    };
    candidates
        .into_iter()
        .filter(is_part)
        .max_by_key(|it| it.len())
}

/// `` `a`, `b`, `c` ``.
pub(crate) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<_> = words.into_iter().map(|it| format!("`{it}`")).collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_more_words_is_recognised() {
        let keys = ["memory", "max_connections", "connections", "name"];
        assert_eq!(part("memory_limit", keys), Some("memory"));
        assert_eq!(part("max-memory", keys), Some("memory"));
        assert_eq!(part("max_connections_total", keys), Some("max_connections"));
        assert_eq!(part("memories", keys), None);
        assert_eq!(part("a_name_b", keys), None);
    }

    #[test]
    fn typing_mistakes_are_recognised_and_other_words_are_not() {
        let keys = ["max_packet_size", "max_connections", "bind", "name"];
        assert_eq!(closest("max_packet_sise", keys), Some("max_packet_size"));
        assert_eq!(closest("max-packet-size", keys), Some("max_packet_size"));
        assert_eq!(closest("Bind", keys), Some("bind"));
        assert_eq!(closest("bnid", keys), Some("bind"));
        assert_eq!(closest("port", keys), None);
        assert_eq!(closest("", keys), None);
        assert_eq!(closest("4", ["3.1", "5"]), None);
    }
}
