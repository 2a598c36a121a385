//! Strings with placeholders, `${username}` and the like, in them, filled in for each session.

use crate::choice::Choice;
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

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The client identifier of the session.
    ClientId,
    /// The user name of the session.
    Username,
    /// The common name of the verified certificate of the client.
    CommonName,
}

impl Choice for Placeholder {
    const ALL: &'static [(&'static str, Self)] = &[
        ("client_id", Self::ClientId),
        ("username", Self::Username),
        ("cn", Self::CommonName),
    ];
}
