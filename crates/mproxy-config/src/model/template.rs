//! Strings with placeholders, `${username}` and the like, in them, filled in for each session.

use std::fmt;

/// A string whose placeholders are known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Wraps a string that was checked.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text as it was written, placeholders included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
