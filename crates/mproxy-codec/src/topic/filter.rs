//! Topic filters: what is subscribed to.

use super::{MAX_TOPIC_LENGTH, SharedFilter, TopicError, TopicName, relation};

/// A valid topic filter, borrowed.
///
/// A shared subscription (`$share/group/filter`) is a valid filter too, but one that stands for
/// another: [`shared`](Self::shared) takes it apart. The relations below look at the filter as it
/// is written.
///
/// See the [module documentation](super) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Validates a topic filter.
    ///
    /// # Errors
    ///
    /// Returns the rule that `filter` breaks: it is empty, too long, contains U+0000 or a misplaced
    /// wildcard.
    pub fn new(filter: &'a str) -> Result<Self, TopicError> {
        if filter.is_empty() {
            return Err(TopicError::Empty);
        }
        if filter.len() > MAX_TOPIC_LENGTH {
            return Err(TopicError::TooLong);
        }
        // mqtt-protocol accepts U+0000.
        if filter.as_bytes().contains(&0) {
            return Err(TopicError::Nul);
        }
        // It says that a wildcard is misplaced, but not which rule that breaks.
        mqtt::TopicFilterRef::new(filter)
            .map(|_| Self(filter))
            .map_err(|_| misplaced_wildcard(filter))
    }

    /// Wraps a filter that is known to be valid.
    pub(crate) const fn trusted(filter: &'a str) -> Self {
        Self(filter)
    }

    /// Validates a topic filter as it came over the wire.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and [`TopicError::IllFormed`].
    pub fn from_bytes(filter: &'a [u8]) -> Result<Self, TopicError> {
        simdutf8::basic::from_utf8(filter)
            .map_err(|_| TopicError::IllFormed)
            .and_then(Self::new)
    }

    /// Returns the filter.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Says whether the filter names a topic of the broker's own, or a vendor's form
    /// (`$queue/...`).
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    /// Says whether the filter contains a wildcard.
    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Returns the levels of the filter. There is at least one; a level may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Takes a shared subscription apart; `None` if the filter is not one.
    ///
    /// # Errors
    ///
    /// Returns the rule that the filter breaks, if it starts with `$share/` but is not a valid
    /// shared subscription.
    pub fn shared(self) -> Result<Option<SharedFilter<'a>>, TopicError> {
        SharedFilter::parse(self)
    }

    /// Says whether the filter matches a topic name.
    pub fn matches(self, name: TopicName<'_>) -> bool {
        relation::matches(self.0.as_bytes(), name.as_str().as_bytes())
    }

    /// Says whether the filter matches every topic name that `other` matches.
    ///
    /// This is exact, not an approximation: `+/#` covers `#`, because there is no name without a
    /// level. It does not look at the length of the names, so a filter so long that it matches no
    /// name is treated as if it did.
    pub fn covers(self, other: TopicFilter<'_>) -> bool {
        relation::covers(self.0, other.0)
    }

    /// Says whether some topic name is matched by both filters.
    ///
    /// This is exact up to the length of the name, as in [`covers`](Self::covers).
    pub fn overlaps(self, other: TopicFilter<'_>) -> bool {
        relation::overlaps(self.0, other.0)
    }
}

is_a_str!(TopicFilter);

/// Names the first rule that a filter with a misplaced wildcard breaks.
fn misplaced_wildcard(filter: &str) -> TopicError {
    let single = filter
        .split('/')
        .position(|level| level != "+" && level.contains('+'));
    let multi = filter.split('/').position(|level| level.contains('#'));
    match (single, multi) {
        (Some(single), Some(multi)) if multi < single => TopicError::MultiLevelWildcard,
        (Some(_), _) => TopicError::SingleLevelWildcard,
        (None, _) => TopicError::MultiLevelWildcard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_standard_are_valid() {
        for filter in [
            "sport/tennis/player1/#",
            "#",
            "+",
            "+/tennis/#",
            "sport/+/player1",
            "/+",
            "+/+",
            "$SYS/#",
            "/",
            "//#",
            "a//+",
            "é/+",
            " ",
            "$share/g/f",
        ] {
            assert_eq!(
                TopicFilter::new(filter).map(TopicFilter::as_str),
                Ok(filter)
            );
        }
    }

    #[test]
    fn invalid_filters_are_refused_with_the_rule() {
        let long = "a".repeat(MAX_TOPIC_LENGTH + 1);
        for (filter, error) in [
            ("", TopicError::Empty),
            (long.as_str(), TopicError::TooLong),
            ("a/\0", TopicError::Nul),
            ("#\0", TopicError::Nul),
            ("sport/tennis#", TopicError::MultiLevelWildcard),
            ("sport/tennis/#/ranking", TopicError::MultiLevelWildcard),
            ("#/", TopicError::MultiLevelWildcard),
            ("##", TopicError::MultiLevelWildcard),
            ("#/#", TopicError::MultiLevelWildcard),
            ("#/a+", TopicError::MultiLevelWildcard),
            ("sport+", TopicError::SingleLevelWildcard),
            ("a/++", TopicError::SingleLevelWildcard),
            ("+a/#b", TopicError::SingleLevelWildcard),
        ] {
            assert_eq!(TopicFilter::new(filter), Err(error), "{filter:.20}");
        }
        assert_eq!(
            TopicFilter::from_bytes(b"a/\xff"),
            Err(TopicError::IllFormed)
        );
    }
}
