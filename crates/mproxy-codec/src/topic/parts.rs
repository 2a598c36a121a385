//! Prefixes that a broker strips before it reads the topic: `$share/group/f` and the vendor forms.

use std::{borrow::Cow, fmt};

use super::{
    Dialect, SharedFilter, TopicError, TopicFilter, TopicName, VendorForms,
    vendor::{DELAYED, EXCLUSIVE, ORDERED, QUEUE},
};

/// More digits than any delay in seconds that a broker takes.
const MAX_DELAY_DIGITS: usize = 10;

/// The kind of a subscription. Its `Display` is the prefix before the filter.
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

/// A subscription, taken apart once, as the broker reads it.
///
/// The filter inside decides what it can read. That filter may begin with `$` again: it is then for
/// the broker's own topics, or a form within a form, which no known broker accepts.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::{Dialect, FilterForm, FilterParts, VendorForms};
///
/// let parts = FilterParts::parse("$queue/jobs/+", Dialect::Mqtt(VendorForms::QUEUE))?;
/// assert_eq!((parts.form, parts.filter().as_str()), (FilterForm::Queue, "jobs/+"));
///
/// // to a broker that does not know the form it is a filter like any other
/// let parts = FilterParts::parse("$queue/jobs/+", Dialect::MQTT)?;
/// assert_eq!((parts.form, parts.filter().as_str()), (FilterForm::Plain, "$queue/jobs/+"));
///
/// let parts = FilterParts::parse("jobs.*", Dialect::Amqp)?;
/// assert_eq!((parts.form, parts.filter().as_str()), (FilterForm::Plain, "jobs/+"));
/// # Ok::<(), mproxy_codec::topic::TopicError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FilterParts<'a> {
    /// What stands before the filter.
    pub form: FilterForm<'a>,
    /// A valid filter.
    filter: Cow<'a, str>,
}

impl<'a> FilterParts<'a> {
    /// Takes a subscription apart: `$share/` always, the other forms if they are in the dialect.
    ///
    /// # Errors
    ///
    /// The filter is not valid, or the broker does not read it as a filter of the standard; or it
    /// begins like one of these forms, but the share name or the filter inside is missing or
    /// invalid.
    pub fn parse(filter: &'a str, dialect: Dialect) -> Result<Self, TopicError> {
        let plain = Self {
            form: FilterForm::Plain,
            filter: dialect.read_filter(filter)?,
        };
        let (Dialect::Mqtt(forms), true) = (dialect, filter.starts_with('$')) else {
            return Ok(plain);
        };
        let shared = |group, filter: TopicFilter<'a>| Self {
            form: group,
            filter: Cow::Borrowed(filter.as_str()),
        };
        if let Some(it) = TopicFilter::new(filter)?.shared()? {
            let group = it.group();
            return Ok(shared(FilterForm::Shared { group }, it.filter()));
        }
        if let (true, Some(rest)) = (
            forms.contains(VendorForms::OSHARE),
            filter.strip_prefix(ORDERED),
        ) {
            let it = SharedFilter::parse_rest(rest)?;
            let group = it.group();
            return Ok(shared(FilterForm::OrderedShared { group }, it.filter()));
        }
        for (form, prefix, flag) in [
            (FilterForm::Queue, QUEUE, VendorForms::QUEUE),
            (FilterForm::Exclusive, EXCLUSIVE, VendorForms::EXCLUSIVE),
        ] {
            if let (true, Some(rest)) = (forms.contains(flag), filter.strip_prefix(prefix)) {
                TopicFilter::new(rest)?;
                return Ok(Self {
                    form,
                    filter: Cow::Borrowed(rest),
                });
            }
        }
        Ok(plain)
    }

    /// The filter that decides what is received.
    pub fn filter(&self) -> TopicFilter<'_> {
        TopicFilter::trusted(&self.filter)
    }
}

/// Writes it as the broker reads it.
impl fmt::Display for FilterParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.form, self.filter)
    }
}

/// A topic name that is published to, taken apart once, as the broker reads it.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::{Dialect, NameParts, VendorForms};
///
/// let parts = NameParts::parse("$delayed/5/a/b", Dialect::Mqtt(VendorForms::DELAYED))?;
/// assert_eq!((parts.delay, parts.name().as_str()), (Some("5"), "a/b"));
///
/// let parts = NameParts::parse("a.b", Dialect::Amqp)?;
/// assert_eq!((parts.delay, parts.name().as_str()), (None, "a/b"));
/// # Ok::<(), mproxy_codec::topic::TopicError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NameParts<'a> {
    /// The seconds in `$delayed/seconds/`, as they are written.
    pub delay: Option<&'a str>,
    /// A valid name.
    name: Cow<'a, str>,
}

impl<'a> NameParts<'a> {
    /// Takes a name apart, if it has a form that is in the dialect.
    ///
    /// # Errors
    ///
    /// The name is not valid, or the broker does not read it as a name of the standard; or it begins
    /// with `$delayed/`, but the seconds are not a number or the name behind them is missing.
    pub fn parse(name: &'a str, dialect: Dialect) -> Result<Self, TopicError> {
        let read = dialect.read_name(name)?;
        let delayed = dialect.forms().contains(VendorForms::DELAYED);
        let Some(rest) = name.strip_prefix(DELAYED).filter(|_| delayed) else {
            return Ok(Self {
                delay: None,
                name: read,
            });
        };
        let (delay, name) = rest.split_once('/').ok_or(TopicError::Empty)?;
        let digits = delay.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || delay.is_empty() || delay.len() > MAX_DELAY_DIGITS {
            return Err(TopicError::DelaySeconds);
        }
        TopicName::new(name)?;
        Ok(Self {
            delay: Some(delay),
            name: Cow::Borrowed(name),
        })
    }

    /// The name that subscribers will see.
    pub fn name(&self) -> TopicName<'_> {
        TopicName::trusted(&self.name)
    }

    /// The same, as text.
    pub fn into_name(self) -> Cow<'a, str> {
        self.name
    }
}

/// Writes it as the broker reads it.
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

    /// What the standard says is read as it is written: nothing is copied.
    fn borrowed(text: Cow<'_, str>) -> &str {
        match text {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => panic!("{text} was copied"),
        }
    }

    fn filter(text: &str, forms: VendorForms) -> Result<(FilterForm<'_>, &str), TopicError> {
        let parts = FilterParts::parse(text, Dialect::Mqtt(forms))?;
        assert_eq!(parts.to_string(), text);
        Ok((parts.form, borrowed(parts.filter)))
    }

    fn name(text: &str, forms: VendorForms) -> Result<(Option<&str>, &str), TopicError> {
        let parts = NameParts::parse(text, Dialect::Mqtt(forms))?;
        assert_eq!(parts.to_string(), text);
        Ok((parts.delay, borrowed(parts.name)))
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
            assert_eq!(filter(text, VendorForms::ALL), Ok((form, inner)), "{text}");
        }
    }

    #[test]
    fn a_form_outside_of_the_set_is_a_filter_like_any_other() {
        for text in [
            "$queue/a",
            "$exclusive/a",
            "$oshare/g/a",
            "$oshare/",
            "$queue/",
        ] {
            assert_eq!(
                filter(text, VendorForms::NONE),
                Ok((FilterForm::Plain, text))
            );
        }
        let some = VendorForms::QUEUE | VendorForms::DELAYED;
        assert_eq!(filter("$queue/a", some), Ok((FilterForm::Queue, "a")));
        assert_eq!(
            filter("$exclusive/a", some),
            Ok((FilterForm::Plain, "$exclusive/a"))
        );
        assert_eq!(
            name("$delayed/5/a", VendorForms::QUEUE),
            Ok((None, "$delayed/5/a"))
        );
        assert_eq!(
            filter("$share/g/a", VendorForms::NONE),
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
            assert_eq!(filter(text, VendorForms::ALL), Err(error), "{text}");
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
            assert_eq!(name(text, VendorForms::ALL), Err(error), "{text}");
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
            assert_eq!(name(text, VendorForms::ALL), Ok(parts), "{text}");
        }
    }
}
