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
    /// A table, a date, or a number that is out of range.
    Other,
}
