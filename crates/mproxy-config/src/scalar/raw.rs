//! A value as it was written.

use toml::Spanned;

/// A value as TOML knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// `"text"`.
    String(String),
    /// `1`.
    Integer(i64),
    /// `1.5`.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `[1, "b"]`, each value with its place.
    Array(Vec<Spanned<Self>>),
    /// What no key takes: a table, a date, or a number that is out of range.
    Other(&'static str),
}

// What a default is written as.

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i64> for Raw {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Raw {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Raw {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl<const N: usize> From<[&str; N]> for Raw {
    fn from(texts: [&str; N]) -> Self {
        let items = texts
            .into_iter()
            .map(|it| Spanned::new(0..0, Self::from(it)));
        Self::Array(items.collect())
    }
}
