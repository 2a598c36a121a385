//! Enumerations that are written as one word in the configuration.

/// A value that is one of a few words.
///
/// The list is the single source for parsing, for the suggestion after a typing mistake,
/// for the JSON schema and for `config show`.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its meaning, in the order in which they are shown.
    const ALL: &'static [(&'static str, Self)];

    /// Words of the configuration language that this version cannot do.
    const LATER: &'static [&'static str] = &[];

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("?", |(word, _)| word)
    }

    /// The value for a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, value)| *value)
    }
}
