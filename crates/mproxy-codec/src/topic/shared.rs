//! Shared subscriptions: `$share/{group}/{filter}`.

use std::fmt;

use super::{MAX_TOPIC_LENGTH, TopicError, TopicFilter};

const PREFIX: &str = "$share/";

/// A shared subscription: the members of a group take turns in receiving what the filter matches.
///
/// The filter inside decides what such a subscription can read; code that authorises or rewrites it
/// must use that filter. The filter inside may itself begin with `$share/`: then it is an
/// ordinary (if odd) filter for the broker's own topics, not a second subscription.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::{SharedFilter, TopicFilter};
///
/// let shared = TopicFilter::new("$share/workers/jobs/+")?.shared()?.ok_or("not shared")?;
/// assert_eq!(shared.group(), "workers");
/// assert_eq!(shared.filter().as_str(), "jobs/+");
///
/// let mapped = shared.with_filter(TopicFilter::new("tenants/7/jobs/+")?)?;
/// assert_eq!(mapped.to_string(), "$share/workers/tenants/7/jobs/+");
///
/// assert!(TopicFilter::new("$share/workers")?.shared().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SharedFilter<'a> {
    group: &'a str,
    filter: TopicFilter<'a>,
}

impl<'a> SharedFilter<'a> {
    /// Builds a shared subscription.
    ///
    /// # Errors
    ///
    /// The group is empty or contains `/`, `+`, `#` or U+0000, or the whole would be too long.
    pub fn new(group: &'a str, filter: TopicFilter<'a>) -> Result<Self, TopicError> {
        // [MQTT-4.8.2-1]
        if group.is_empty() {
            return Err(TopicError::ShareNameEmpty);
        }
        // [MQTT-4.8.2-2]
        if group.contains(['/', '+', '#', '\0']) {
            return Err(TopicError::ShareNameCharacter);
        }
        if PREFIX.len() + group.len() + 1 + filter.as_str().len() > MAX_TOPIC_LENGTH {
            return Err(TopicError::TooLong);
        }
        Ok(Self { group, filter })
    }

    /// Takes a filter apart; `None` if it does not start with `$share/`.
    ///
    /// # Errors
    ///
    /// The filter starts with `$share/`, but the share name or the filter behind it is missing or
    /// invalid.
    pub fn parse(filter: TopicFilter<'a>) -> Result<Option<Self>, TopicError> {
        match filter.as_str().strip_prefix(PREFIX) {
            Some(shared) => Self::parse_rest(shared).map(Some),
            None => Ok(None),
        }
    }

    /// Takes `{group}/{filter}` apart.
    pub(super) fn parse_rest(shared: &'a str) -> Result<Self, TopicError> {
        let (group, rest) = shared
            .split_once('/')
            .map_or((shared, None), |(group, rest)| (group, Some(rest)));
        if group.is_empty() {
            return Err(TopicError::ShareNameEmpty);
        }
        if group.contains(['+', '#']) {
            return Err(TopicError::ShareNameCharacter);
        }
        match rest {
            None | Some("") => Err(TopicError::ShareFilterMissing),
            Some(rest) => Self::new(group, TopicFilter::new(rest)?),
        }
    }

    /// Returns the share name.
    pub const fn group(self) -> &'a str {
        self.group
    }

    /// Returns the filter that decides what is received.
    pub const fn filter(self) -> TopicFilter<'a> {
        self.filter
    }

    /// Returns the same group with another filter.
    ///
    /// # Errors
    ///
    /// The whole would be too long.
    pub fn with_filter(self, filter: TopicFilter<'a>) -> Result<Self, TopicError> {
        Self::new(self.group, filter)
    }

    /// Returns the same filter for another group.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn with_group(self, group: &'a str) -> Result<Self, TopicError> {
        Self::new(group, self.filter)
    }
}

/// Writes the filter as it stands in a SUBSCRIBE.
impl fmt::Display for SharedFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.group, self.filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(filter: &str) -> Result<Option<(&str, &str)>, TopicError> {
        let shared = TopicFilter::new(filter)?.shared()?;
        Ok(shared.map(|shared| (shared.group(), shared.filter().as_str())))
    }

    #[test]
    fn takes_shared_subscriptions_apart() {
        assert_eq!(shared("$share/g/f"), Ok(Some(("g", "f"))));
        assert_eq!(shared("$share/g/a/+/#"), Ok(Some(("g", "a/+/#"))));
        assert_eq!(shared("$share/g//"), Ok(Some(("g", "/"))));
        assert_eq!(shared("$share/é/$SYS/#"), Ok(Some(("é", "$SYS/#"))));
        assert_eq!(shared("$share/g/$share/h/f"), Ok(Some(("g", "$share/h/f"))));
    }

    #[test]
    fn other_filters_are_not_shared() {
        for filter in [
            "a",
            "$share",
            "$Share/g/f",
            "$shared/g/f",
            "/$share/g/f",
            "#",
            "$queue/f",
            "$oshare/g/f",
        ] {
            assert_eq!(shared(filter), Ok(None), "{filter}");
        }
    }

    #[test]
    fn malformed_ones_are_refused_with_the_rule() {
        for (filter, error) in [
            ("$share/", TopicError::ShareNameEmpty),
            ("$share//f", TopicError::ShareNameEmpty),
            ("$share/g", TopicError::ShareFilterMissing),
            ("$share/g/", TopicError::ShareFilterMissing),
            ("$share/+/f", TopicError::ShareNameCharacter),
            ("$share/#", TopicError::ShareNameCharacter),
            ("$share/+", TopicError::ShareNameCharacter),
        ] {
            assert_eq!(shared(filter), Err(error), "{filter}");
        }
    }

    #[test]
    fn rebuilding_checks_the_parts_and_the_length() -> Result<(), TopicError> {
        let inner = "a".repeat(MAX_TOPIC_LENGTH - "$share/g/".len());
        let longest = SharedFilter::new("g", TopicFilter::new(&inner)?)?;
        assert_eq!(longest.to_string().len(), MAX_TOPIC_LENGTH);
        assert_eq!(longest.with_group("gg"), Err(TopicError::TooLong));
        assert_eq!(longest.with_group(""), Err(TopicError::ShareNameEmpty));
        for group in ["a/b", "+", "#", "a\0"] {
            assert_eq!(
                longest.with_group(group),
                Err(TopicError::ShareNameCharacter),
                "{group}"
            );
        }
        Ok(())
    }
}
