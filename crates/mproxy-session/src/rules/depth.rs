//! Limits on what hooks judge: topic levels and filters.

use mproxy_codec::{Kind, ReasonCode, View};

use crate::cause::{Cause, End};
use crate::error::Limit;
use crate::limits::Limits;

/// Average levels per filter of a request with the maximum number of filters.
const LEVELS_A_FILTER: usize = 4;

impl Limits {
    /// True for a topic name or filter with more levels than hooks may judge.
    #[inline]
    pub(crate) fn is_too_deep(&self, topic: &[u8]) -> bool {
        has_more_levels(topic, self.max_topic_levels)
    }

    /// Refuses a client that uses a topic with too many levels.
    ///
    /// # Errors
    /// It has too many levels.
    pub(crate) fn check_levels(
        &self,
        packet: Kind,
        topic: &[u8],
        what: &str,
        code: ReasonCode,
    ) -> Result<(), End> {
        if !self.is_too_deep(topic) {
            return Ok(());
        }
        let limit = (Limit::MaxTopicLevels, self.max_topic_levels);
        Err(Cause::too_many(
            packet,
            format!("{what} of more levels"),
            code,
            limit,
        ))
    }

    /// Refuses a request that would take hooks too long: with too many filters, or with a filter that has too
    /// many levels.
    ///
    /// # Errors
    /// It is such a request.
    pub(crate) fn check_filters(&self, view: &View<'_>) -> Result<(), End> {
        let (kind, count) = match view {
            View::Subscribe(subscribe) => (Kind::Subscribe, subscribe.len()),
            View::Unsubscribe(unsubscribe) => (Kind::Unsubscribe, unsubscribe.len()),
            _ => return Ok(()),
        };
        if count > self.max_filters {
            let what = format!("{count} topic filters, more");
            let limit = (Limit::MaxFilters, self.max_filters);
            return Err(Cause::too_many(
                kind,
                what,
                ReasonCode::QUOTA_EXCEEDED,
                limit,
            ));
        }
        let mut left = self.max_filters.saturating_mul(LEVELS_A_FILTER);
        let mut check = |filter: &str| {
            let (filter, code) = (filter.as_bytes(), ReasonCode::TOPIC_FILTER_INVALID);
            self.check_levels(kind, filter, "a topic filter", code)?;
            left = left.checked_sub(levels(filter)).ok_or_else(|| {
                let limit = (Limit::MaxFilters, self.max_filters);
                let most = self.max_filters.saturating_mul(LEVELS_A_FILTER);
                let what =
                    format!("topic filters of more than {most} levels in all, four times more");
                Cause::too_many(kind, what, ReasonCode::QUOTA_EXCEEDED, limit)
            })?;
            Ok(())
        };
        match view {
            View::Subscribe(subscribe) => subscribe
                .subscriptions()
                .try_for_each(|it| check(&it.filter)),
            View::Unsubscribe(unsubscribe) => unsubscribe.filters().try_for_each(|it| check(&it)),
            _ => Ok(()),
        }
    }
}

/// True for a topic name or filter with more levels.
#[inline]
fn has_more_levels(topic: &[u8], than: usize) -> bool {
    // each level except the last has a slash, so most names need not be counted
    topic.len() >= than && levels(topic) > than
}

/// The levels of a topic name or filter.
fn levels(topic: &[u8]) -> usize {
    topic.iter().filter(|byte| **byte == b'/').count() + 1
}

#[cfg(test)]
mod tests {
    use mproxy_codec::{Direction, Version};

    use super::*;

    #[test]
    fn levels_are_counted_by_their_slashes() {
        for (topic, than, wanted) in [
            ("", 1, false),
            ("a", 1, false),
            ("a/b", 1, true),
            ("a/b", 2, false),
            ("///", 3, true),
            ("a very long name", 2, false),
        ] {
            assert_eq!(has_more_levels(topic.as_bytes(), than), wanted, "{topic}");
        }
    }

    #[test]
    fn filters_are_limited_in_number_and_in_levels_together() {
        let limits = Limits::default().max_filters(2).max_topic_levels(8);
        let check = |packet: &[u8]| {
            let view = View::parse(Version::V311, Direction::ToServer, packet);
            let checked = limits.check_filters(&view.unwrap().unwrap());
            checked
                .err()
                .map(|end| end.account(true, None).detail.unwrap())
        };
        assert_eq!(check(b"\x82\x0a\0\x01\0\x01a\0\0\x01b\0"), None);
        let three = check(b"\x82\x0e\0\x01\0\x01a\0\0\x01b\0\0\x01c\0").unwrap();
        assert!(
            three.starts_with("3 topic filters, more than max_filters"),
            "{three}"
        );
        let deep = check(b"\x82\x0f\0\x01\0\x0a/////////a\0").unwrap();
        assert!(deep.contains("max_topic_levels"), "{deep}");
        let all = check(b"\x82\x16\0\x01\0\x07a/b/c/d\0\0\x07a/b/c/d\0").is_none();
        assert!(all, "eight levels in all are allowed");
        let many = check(b"\x82\x18\0\x01\0\x09a/b/c/d/e\0\0\x07a/b/c/d\0").unwrap();
        assert!(many.contains("max_filters"), "{many}");
    }
}
