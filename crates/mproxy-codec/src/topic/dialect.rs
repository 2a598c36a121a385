//! Forms that brokers know beside those of the standard: `$queue/f`, `$exclusive/f`,
//! `$oshare/group/f`, `$delayed/seconds/topic`.

use std::{fmt, ops::BitOr};

use super::{SharedFilter, TopicError, TopicFilter, TopicName};

const QUEUE: &str = "$queue/";
const EXCLUSIVE: &str = "$exclusive/";
const ORDERED: &str = "$oshare/";
const DELAYED: &str = "$delayed/";

/// More digits than any delay in seconds that a broker takes.
const MAX_DELAY_DIGITS: usize = 10;

/// A set of forms beyond the standard that a broker understands.
///
/// To a broker of another dialect they are names like any other, so that whoever judges or rewrites
/// topics has to know which broker is behind. [`FilterParts`] and [`NameParts`] take those apart
/// that are in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dialect(u8);

impl Dialect {
    /// The standard and nothing else: `$share/group/filter` for subscriptions.
    pub const NONE: Self = Self(0);
    /// `$queue/filter`: a shared subscription without a group (EMQX).
    pub const QUEUE: Self = Self(1);
    /// `$exclusive/filter`: a subscription that one client has at a time (EMQX).
    pub const EXCLUSIVE: Self = Self(2);
    /// `$delayed/seconds/topic`: a PUBLISH that the broker holds back (EMQX).
    pub const DELAYED: Self = Self(4);
    /// `$oshare/group/filter`: a shared subscription that keeps the order (BifroMQ).
    pub const OSHARE: Self = Self(8);
    /// All of them.
    pub const ALL: Self = Self(15);

    /// Says whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Says whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The form of a topic name, filter or pattern that begins like one; of those that exist, not
    /// of those in a set.
    pub fn of(topic: &str) -> Option<Self> {
        [
            (QUEUE, Self::QUEUE),
            (EXCLUSIVE, Self::EXCLUSIVE),
            (DELAYED, Self::DELAYED),
            (ORDERED, Self::OSHARE),
        ]
        .into_iter()
        .find(|(prefix, _)| topic.starts_with(prefix))
        .map(|(_, form)| form)
    }
}

impl BitOr for Dialect {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a subscription is meant, beside what it is about. Displayed, it is what stands before the
/// filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterForm<'a> {
    /// A filter and nothing else.
    Plain,
    /// `$share/group/`
    Shared {
        /// The share name.
        group: &'a str,
    },
    /// `$oshare/group/`
    OrderedShared {
        /// The share name.
        group: &'a str,
    },
    /// `$queue/`
    Queue,
    /// `$exclusive/`
    Exclusive,
}

impl fmt::Display for FilterForm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => Ok(()),
            Self::Shared { group } => write!(f, "$share/{group}/"),
            Self::OrderedShared { group } => write!(f, "{ORDERED}{group}/"),
            Self::Queue => f.write_str(QUEUE),
            Self::Exclusive => f.write_str(EXCLUSIVE),
        }
    }
}

/// A subscription, taken apart once.
///
/// What it can read is decided by the filter inside. That one may begin with `$` again; it is then
/// about topics of the broker's own, or a form within a form, which no broker is known to take.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::{Dialect, FilterForm, FilterParts, TopicFilter};
///
/// let filter = TopicFilter::new("$queue/jobs/+")?;
/// let parts = FilterParts::parse(filter, Dialect::QUEUE)?;
/// assert_eq!((parts.form, parts.filter.as_str()), (FilterForm::Queue, "jobs/+"));
///
/// // to a broker that does not know the form it is a filter like any other
/// let parts = FilterParts::parse(filter, Dialect::NONE)?;
/// assert_eq!((parts.form, parts.filter), (FilterForm::Plain, filter));
/// # Ok::<(), mproxy_codec::topic::TopicError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FilterParts<'a> {
    /// What stands before the filter.
    pub form: FilterForm<'a>,
    /// The filter that decides what is received.
    pub filter: TopicFilter<'a>,
}

impl<'a> FilterParts<'a> {
    /// Takes a subscription apart: `$share/` always, the other forms if they are in the dialect.
    ///
    /// # Errors
    ///
    /// The subscription begins like one of these forms, but the share name or the filter is missing
    /// or invalid.
    pub fn parse(filter: TopicFilter<'a>, dialect: Dialect) -> Result<Self, TopicError> {
        let plain = Self {
            form: FilterForm::Plain,
            filter,
        };
        if !filter.is_dollar() {
            return Ok(plain);
        }
        if let Some(shared) = filter.shared()? {
            return Ok(Self {
                form: FilterForm::Shared {
                    group: shared.group(),
                },
                filter: shared.filter(),
            });
        }
        let text = filter.as_str();
        if let (true, Some(rest)) = (
            dialect.contains(Dialect::OSHARE),
            text.strip_prefix(ORDERED),
        ) {
            let shared = SharedFilter::parse_rest(rest)?;
            return Ok(Self {
                form: FilterForm::OrderedShared {
                    group: shared.group(),
                },
                filter: shared.filter(),
            });
        }
        for (form, prefix, flag) in [
            (FilterForm::Queue, QUEUE, Dialect::QUEUE),
            (FilterForm::Exclusive, EXCLUSIVE, Dialect::EXCLUSIVE),
        ] {
            if let (true, Some(rest)) = (dialect.contains(flag), text.strip_prefix(prefix)) {
                let filter = TopicFilter::new(rest)?;
                return Ok(Self { form, filter });
            }
        }
        Ok(plain)
    }
}

impl fmt::Display for FilterParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.form, self.filter)
    }
}

/// A topic name that is published to, taken apart once.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::{Dialect, NameParts, TopicName};
///
/// let parts = NameParts::parse(TopicName::new("$delayed/5/a/b")?, Dialect::DELAYED)?;
/// assert_eq!((parts.delay, parts.name.as_str()), (Some("5"), "a/b"));
/// # Ok::<(), mproxy_codec::topic::TopicError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NameParts<'a> {
    /// The seconds in `$delayed/seconds/`, as they are written.
    pub delay: Option<&'a str>,
    /// The name that subscribers will see.
    pub name: TopicName<'a>,
}

impl<'a> NameParts<'a> {
    /// Takes a name apart, if it has a form that is in the dialect.
    ///
    /// # Errors
    ///
    /// The name begins with `$delayed/`, but the seconds are none or the name behind them is
    /// missing.
    pub fn parse(name: TopicName<'a>, dialect: Dialect) -> Result<Self, TopicError> {
        let rest = name.as_str().strip_prefix(DELAYED);
        let Some(rest) = rest.filter(|_| dialect.contains(Dialect::DELAYED)) else {
            return Ok(Self { delay: None, name });
        };
        let (delay, name) = rest.split_once('/').ok_or(TopicError::Empty)?;
        let digits = delay.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || delay.is_empty() || delay.len() > MAX_DELAY_DIGITS {
            return Err(TopicError::DelaySeconds);
        }
        Ok(Self {
            delay: Some(delay),
            name: TopicName::new(name)?,
        })
    }
}

impl fmt::Display for NameParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(delay) = self.delay {
            write!(f, "{DELAYED}{delay}/")?;
        }
        write!(f, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str, dialect: Dialect) -> Result<(FilterForm<'_>, &str), TopicError> {
        let parts = FilterParts::parse(TopicFilter::new(text)?, dialect)?;
        assert_eq!(parts.to_string(), text);
        Ok((parts.form, parts.filter.as_str()))
    }

    fn name(text: &str, dialect: Dialect) -> Result<(Option<&str>, &str), TopicError> {
        let parts = NameParts::parse(TopicName::new(text)?, dialect)?;
        assert_eq!(parts.to_string(), text);
        Ok((parts.delay, parts.name.as_str()))
    }

    #[test]
    fn filters_are_taken_apart_once() {
        for (text, form, inner) in [
            ("a/#", FilterForm::Plain, "a/#"),
            ("$SYS/#", FilterForm::Plain, "$SYS/#"),
            ("$share/g/#", FilterForm::Shared { group: "g" }, "#"),
            (
                "$oshare/g//a",
                FilterForm::OrderedShared { group: "g" },
                "/a",
            ),
            ("$queue/#", FilterForm::Queue, "#"),
            ("$exclusive/a/+", FilterForm::Exclusive, "a/+"),
            ("$queue/$exclusive/a", FilterForm::Queue, "$exclusive/a"),
            (
                "$share/g/$queue/a",
                FilterForm::Shared { group: "g" },
                "$queue/a",
            ),
            ("$queue", FilterForm::Plain, "$queue"),
            ("$Queue/a", FilterForm::Plain, "$Queue/a"),
            ("$local/a", FilterForm::Plain, "$local/a"),
            ("$delayed/5/a", FilterForm::Plain, "$delayed/5/a"),
            ("a/$queue/b", FilterForm::Plain, "a/$queue/b"),
        ] {
            assert_eq!(filter(text, Dialect::ALL), Ok((form, inner)), "{text}");
        }
    }

    #[test]
    fn a_form_outside_of_the_dialect_is_a_filter_like_any_other() {
        for text in [
            "$queue/a",
            "$exclusive/a",
            "$oshare/g/a",
            "$oshare/",
            "$queue/",
        ] {
            assert_eq!(filter(text, Dialect::NONE), Ok((FilterForm::Plain, text)));
        }
        let some = Dialect::QUEUE | Dialect::DELAYED;
        assert_eq!(filter("$queue/a", some), Ok((FilterForm::Queue, "a")));
        assert_eq!(
            filter("$exclusive/a", some),
            Ok((FilterForm::Plain, "$exclusive/a"))
        );
        assert_eq!(
            name("$delayed/5/a", Dialect::QUEUE),
            Ok((None, "$delayed/5/a"))
        );
        assert_eq!(
            filter("$share/g/a", Dialect::NONE),
            Ok((FilterForm::Shared { group: "g" }, "a"))
        );
    }

    #[test]
    fn malformed_ones_are_refused() {
        for (text, error) in [
            ("$queue/", TopicError::Empty),
            ("$exclusive/", TopicError::Empty),
            ("$share/g", TopicError::ShareFilterMissing),
            ("$oshare/", TopicError::ShareNameEmpty),
            ("$oshare/g", TopicError::ShareFilterMissing),
            ("$oshare/g/", TopicError::ShareFilterMissing),
            ("$oshare/+/f", TopicError::ShareNameCharacter),
            ("$oshare/#", TopicError::ShareNameCharacter),
        ] {
            assert_eq!(filter(text, Dialect::ALL), Err(error), "{text}");
        }
        for (text, error) in [
            ("$delayed/", TopicError::Empty),
            ("$delayed/5", TopicError::Empty),
            ("$delayed/5/", TopicError::Empty),
            ("$delayed//a", TopicError::DelaySeconds),
            ("$delayed/-5/a", TopicError::DelaySeconds),
            ("$delayed/5s/a", TopicError::DelaySeconds),
            ("$delayed/٥/a", TopicError::DelaySeconds),
            ("$delayed/12345678901/a", TopicError::DelaySeconds),
        ] {
            assert_eq!(name(text, Dialect::ALL), Err(error), "{text}");
        }
    }

    #[test]
    fn names_are_taken_apart_once() {
        for (text, parts) in [
            ("a", (None, "a")),
            ("$SYS/a", (None, "$SYS/a")),
            ("$queue/a", (None, "$queue/a")),
            ("$delayed/0/a", (Some("0"), "a")),
            ("$delayed/0007/$delayed/5/a", (Some("0007"), "$delayed/5/a")),
            ("$delayed/5//", (Some("5"), "/")),
            ("$Delayed/5/a", (None, "$Delayed/5/a")),
        ] {
            assert_eq!(name(text, Dialect::ALL), Ok(parts), "{text}");
        }
    }

    #[test]
    fn every_form_is_known_by_its_beginning() {
        for (text, form) in [
            ("$queue/#", Some(Dialect::QUEUE)),
            ("$exclusive/${client_id}/#", Some(Dialect::EXCLUSIVE)),
            ("$delayed/+/a", Some(Dialect::DELAYED)),
            ("$oshare/", Some(Dialect::OSHARE)),
            ("$share/g/a", None),
            ("$queue", None),
            ("queue/", None),
        ] {
            assert_eq!(Dialect::of(text), form, "{text}");
        }
    }
}
