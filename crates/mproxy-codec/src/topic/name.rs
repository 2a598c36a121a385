//! Topic names: what is published to.

use super::{MAX_TOPIC_LENGTH, TopicError, is_plain_name};

/// A valid topic name, borrowed.
///
/// Validation allocates nothing for a valid name. See the [module documentation](super) for an
/// example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Validates a topic name.
    ///
    /// # Errors
    ///
    /// Returns the rule that `name` breaks: it is empty, too long, contains U+0000 or a wildcard.
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        if !is_plain_name(name.as_bytes()) {
            check_text(name)?;
        }
        Ok(Self(name))
    }

    /// Wraps a name that is known to be valid.
    pub(super) const fn trusted(name: &'a str) -> Self {
        Self(name)
    }

    /// Wraps the bytes of a validated packet. The type does not prove that, so the caller must hold
    /// such a packet.
    #[doc(hidden)]
    #[must_use]
    pub fn validated(name: &'a [u8]) -> Self {
        Self(core::str::from_utf8(name).unwrap_or_default())
    }

    /// Validates a topic name as it came over the wire.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and [`TopicError::IllFormed`].
    pub fn from_bytes(name: &'a [u8]) -> Result<Self, TopicError> {
        simdutf8::basic::from_utf8(name)
            .map_err(|_| TopicError::IllFormed)
            .and_then(Self::new)
    }

    /// Returns the name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Says whether this is one of the topics that belong to the broker (`$SYS/...`): a wildcard in
    /// the first level of a filter does not match it. `[MQTT-4.7.2-1]`
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    /// Returns the levels of the name. There is at least one; a level may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

is_a_str!(TopicName);

/// Validates a topic name as it came over the wire, without asking for it as a string.
///
/// This is the check for the path of every PUBLISH: a name of printable ASCII is accepted after
/// [one fast pass](is_plain_name).
///
/// # Errors
///
/// Those of [`TopicName::from_bytes`].
#[inline]
pub fn validate_name(name: &[u8]) -> Result<(), TopicError> {
    if is_plain_name(name) {
        return Ok(());
    }
    TopicName::from_bytes(name).map(|_| ())
}

fn check_text(name: &str) -> Result<(), TopicError> {
    if name.is_empty() {
        return Err(TopicError::Empty);
    }
    if name.len() > MAX_TOPIC_LENGTH {
        return Err(TopicError::TooLong);
    }
    // mqtt-protocol accepts U+0000.
    if name.as_bytes().contains(&0) {
        return Err(TopicError::Nul);
    }
    // The only remaining reason for mqtt-protocol to refuse a name is a wildcard.
    mqtt::TopicNameRef::new(name)
        .map(|_| ())
        .map_err(|_| TopicError::WildcardInName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_standard_are_valid() {
        let longest = "é".repeat(MAX_TOPIC_LENGTH / 2);
        for name in [
            "sport/tennis/player1",
            "/",
            "//",
            "/finance",
            "finance/",
            "$SYS/monitor/Clients",
            "a b",
            " ",
            "\u{feff}",
            "\u{1}",
            &longest,
        ] {
            assert_eq!(TopicName::new(name).map(TopicName::as_str), Ok(name));
            assert_eq!(validate_name(name.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn invalid_names_are_refused_with_the_rule() {
        let long = "a".repeat(MAX_TOPIC_LENGTH + 1);
        for (name, error) in [
            ("", TopicError::Empty),
            (long.as_str(), TopicError::TooLong),
            ("a\0b", TopicError::Nul),
            ("é\0", TopicError::Nul),
            ("+", TopicError::WildcardInName),
            ("a/#", TopicError::WildcardInName),
            ("a+b", TopicError::WildcardInName),
            ("größe/ö#", TopicError::WildcardInName),
        ] {
            assert_eq!(TopicName::new(name), Err(error), "{name:.20}");
            assert_eq!(validate_name(name.as_bytes()), Err(error), "{name:.20}");
        }
    }

    #[test]
    fn ill_formed_bytes_are_refused() {
        // A lone continuation, an overlong `/`, a surrogate, a code point above U+10FFFF, a cut
        // sequence.
        for bytes in [
            &b"a\x80"[..],
            b"a\xc0\xafb",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"abc\xe2\x82",
        ] {
            assert_eq!(
                validate_name(bytes),
                Err(TopicError::IllFormed),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn levels_keep_empty_ones() {
        let levels = |name| TopicName::new(name).map(|name| name.levels().collect::<Vec<_>>());
        assert_eq!(levels("/a//b/"), Ok(vec!["", "a", "", "b", ""]));
        assert_eq!(levels("a"), Ok(vec!["a"]));
    }
}
