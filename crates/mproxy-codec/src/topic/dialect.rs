//! How a broker reads topics, which is not always as they are written.

use std::borrow::Cow;

use super::{TopicError, TopicFilter, TopicName, VendorForms};

/// The prefix of a shared subscription.
const SHARED: &str = "$share/";

/// How a broker reads topics.
///
/// Some brokers translate topics into those of another protocol. Names that differ on the wire can
/// be one topic to them, and ordinary characters can be wildcards. A layer that authorises or
/// rewrites topics must use what the broker reads: the equivalent [name](Self::read_name) or
/// [filter](Self::read_filter) of the standard. [`NameParts`](super::NameParts) and
/// [`FilterParts`](super::FilterParts) do.
///
/// | | in a name | in a filter | `$` | shared subscriptions |
/// |---|---|---|---|---|
/// | [`Mqtt`](Self::Mqtt) | as it is written | as it is written | the broker's own | `$share/group/filter` |
/// | [`Amqp`](Self::Amqp) | `.` is `/` | `.` is `/`, `*` is `+` | a letter | none |
/// | [`Nats`](Self::Nats) | as it is written | `*` is `+`, `>` is `#` | the broker's own, but kept messages | none |
///
/// A topic without an equivalent in the standard has no reading, and is refused: a name
/// with a wildcard of the broker, `a*b` in AMQP, shared subscriptions, a topic of Sparkplug in AMQP
/// (`spBv1.0/...`; how RabbitMQ reads it depends on its setting `mqtt.sparkplug`), white space in
/// NATS.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::{Dialect, TopicError};
///
/// assert_eq!(Dialect::Amqp.read_filter("devices.*/#")?, "devices/+/#");
/// assert_eq!(Dialect::Amqp.read_name("secret.x")?, "secret/x");
/// assert_eq!(Dialect::Nats.read_name("secret.x")?, "secret.x");
///
/// // RabbitMQ delivers it as `a/+`, which is not a topic name
/// assert_eq!(Dialect::Amqp.read_name("a/*"), Err(TopicError::Untranslatable));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// As the standard says, and with these vendor forms: mosquitto, EMQX, VerneMQ and most others.
    Mqtt(VendorForms),
    /// As a topic exchange of AMQP 0-9-1 does: RabbitMQ.
    Amqp,
    /// As NATS does, where a topic is a subject.
    Nats,
}

impl Default for Dialect {
    fn default() -> Self {
        Self::MQTT
    }
}

impl Dialect {
    /// The standard and nothing else.
    pub const MQTT: Self = Self::Mqtt(VendorForms::NONE);

    /// Returns the forms beyond the standard that the broker knows.
    pub const fn forms(self) -> VendorForms {
        match self {
            Self::Mqtt(forms) => forms,
            Self::Amqp | Self::Nats => VendorForms::NONE,
        }
    }

    /// Says whether topics that begin with `$` are the broker's own, so that a wildcard in the first
    /// level of a filter does not match them. `[MQTT-4.7.2-1]`
    pub const fn reserves_dollar(self) -> bool {
        match self {
            Self::Mqtt(_) | Self::Nats => true,
            Self::Amqp => false,
        }
    }

    /// True if a subscription whose first level is a wildcard may still get messages whose topic
    /// begins with `$`: NATS sends retained ones.
    pub const fn leaks_dollar(self) -> bool {
        match self {
            Self::Mqtt(_) => false,
            Self::Amqp | Self::Nats => true,
        }
    }

    /// What the broker reads differently, for a message to an operator; empty if nothing.
    pub const fn difference(self) -> &'static str {
        match self {
            Self::Mqtt(_) => "",
            Self::Amqp => "`.` is `/` and `*` is `+`",
            Self::Nats => "`*` is `+` and `>` is `#`",
        }
    }

    /// Returns the equivalent topic name of the standard. It is not longer.
    ///
    /// # Errors
    ///
    /// The name is not valid, or has no reading.
    pub fn read_name(self, name: &str) -> Result<Cow<'_, str>, TopicError> {
        TopicName::new(name)?;
        match self {
            Self::Mqtt(_) => Ok(Cow::Borrowed(name)),
            Self::Amqp if name.contains('*') || is_sparkplug(name) => {
                Err(TopicError::Untranslatable)
            }
            Self::Amqp => Ok(replaced(name, '.', "/")),
            Self::Nats if name.split('/').any(is_wildcard_of_nats) || has_space(name) => {
                Err(TopicError::Untranslatable)
            }
            Self::Nats => Ok(Cow::Borrowed(name)),
        }
    }

    /// Returns the equivalent topic filter of the standard. It is not longer.
    ///
    /// # Errors
    ///
    /// The filter is not valid, or has no reading.
    pub fn read_filter(self, filter: &str) -> Result<Cow<'_, str>, TopicError> {
        TopicFilter::new(filter)?;
        let read = match self {
            Self::Mqtt(_) => return Ok(Cow::Borrowed(filter)),
            Self::Amqp if is_sparkplug(filter) => return Err(TopicError::Untranslatable),
            Self::Amqp => match replaced(filter, '.', "/") {
                Cow::Borrowed(filter) => replaced(filter, '*', "+"),
                Cow::Owned(filter) => Cow::Owned(filter.replace('*', "+")),
            },
            Self::Nats if has_space(filter) => return Err(TopicError::Untranslatable),
            Self::Nats if filter.split('/').any(is_wildcard_of_nats) => {
                let levels = filter.split('/').map(|level| match level {
                    "*" => "+",
                    ">" => "#",
                    level => level,
                });
                Cow::Owned(levels.collect::<Vec<_>>().join("/"))
            }
            Self::Nats => Cow::Borrowed(filter),
        };
        if read.starts_with(SHARED) || TopicFilter::new(&read).is_err() {
            return Err(TopicError::Untranslatable);
        }
        Ok(read)
    }

    /// Says whether a text, as a piece of one level of a topic, stands for nothing but itself.
    ///
    /// It is not empty, has no `/`, no wildcard and no U+0000, and nothing in it is read otherwise.
    pub fn is_literal(self, text: &str) -> bool {
        let literal = !text.is_empty() && !text.contains(['/', '+', '#', '\0']);
        literal
            && match self {
                Self::Mqtt(_) => true,
                Self::Amqp => !text.contains(['.', '*']),
                Self::Nats => !text.contains(['*', '>']) && !has_space(text),
            }
    }
}

fn replaced<'a>(text: &'a str, from: char, to: &str) -> Cow<'a, str> {
    if text.contains(from) {
        Cow::Owned(text.replace(from, to))
    } else {
        Cow::Borrowed(text)
    }
}

fn is_wildcard_of_nats(level: &str) -> bool {
    matches!(level, "*" | ">")
}

/// Says whether a text has what ends a word in the protocol of NATS, or DEL, by which it tells levels
/// apart.
fn has_space(text: &str) -> bool {
    text.contains([' ', '\t', '\n', '\r', '\u{c}', '\u{7f}'])
}

/// Says whether a topic begins with a version of Sparkplug, `spBv1.0/`, or with what RabbitMQ makes of
/// one, `spBv1___0/`, if it was told to.
fn is_sparkplug(topic: &str) -> bool {
    let number = |text: &str| {
        let rest = text.trim_start_matches(|it: char| it.is_ascii_digit());
        (rest.len() < text.len()).then_some(text.len() - rest.len())
    };
    let version = || {
        let after = topic
            .strip_prefix("spA")
            .or_else(|| topic.strip_prefix("spB"))?;
        let major = after.strip_prefix('v')?;
        let rest = &major[number(major)?..];
        let minor = rest
            .strip_prefix('.')
            .or_else(|| rest.strip_prefix("___"))?;
        Some(minor[number(minor)?..].starts_with(['/', '.']))
    };
    version().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTRANSLATABLE: Result<&str, TopicError> = Err(TopicError::Untranslatable);

    fn name(dialect: Dialect, name: &str) -> Result<String, TopicError> {
        dialect.read_name(name).map(Cow::into_owned)
    }

    fn filter(dialect: Dialect, filter: &str) -> Result<String, TopicError> {
        dialect.read_filter(filter).map(Cow::into_owned)
    }

    #[test]
    fn the_standard_is_read_as_it_is_written() {
        let dialect = Dialect::Mqtt(VendorForms::ALL);
        for text in ["a.b/*", "spBv1.0/x", "a/>", "$queue/a", "$share/g/a", " "] {
            assert_eq!(name(dialect, text).as_deref(), Ok(text));
            assert_eq!(filter(dialect, text).as_deref(), Ok(text));
        }
        assert_eq!(name(dialect, "a/+"), Err(TopicError::WildcardInName));
        assert_eq!(filter(dialect, "a+"), Err(TopicError::SingleLevelWildcard));
    }

    #[test]
    fn amqp_reads_dots_and_stars() {
        for (text, read) in [
            ("a/b", Ok("a/b")),
            ("a.b", Ok("a/b")),
            (".", Ok("/")),
            ("a..b/", Ok("a//b/")),
            ("$internal.x", Ok("$internal/x")),
            ("a>b", Ok("a>b")),
            ("*", UNTRANSLATABLE),
            ("a/b*", UNTRANSLATABLE),
            ("spBv1.0/x", UNTRANSLATABLE),
            ("spBv1___0/x", UNTRANSLATABLE),
            ("spBv1___0.x", UNTRANSLATABLE),
            ("spAv23.45/", UNTRANSLATABLE),
            ("spBv1/0/x", Ok("spBv1/0/x")),
            ("x/spBv1.0/x", Ok("x/spBv1/0/x")),
            ("spBv1.0", Ok("spBv1/0")),
            ("spCv1.0/x", Ok("spCv1/0/x")),
            ("spBv.0/x", Ok("spBv/0/x")),
            ("", Err(TopicError::Empty)),
            ("a/#", Err(TopicError::WildcardInName)),
        ] {
            assert_eq!(name(Dialect::Amqp, text).as_deref(), read.as_ref().copied());
        }
        for (text, read) in [
            ("devices/*/#", Ok("devices/+/#")),
            ("devices.*.up", Ok("devices/+/up")),
            ("*", Ok("+")),
            ("+/*/a.b", Ok("+/+/a/b")),
            ("a*", UNTRANSLATABLE),
            ("*.**", UNTRANSLATABLE),
            ("spBv1.0/#", UNTRANSLATABLE),
            ("$share/g/a", UNTRANSLATABLE),
            ("$share.g.a", UNTRANSLATABLE),
            ("$share", Ok("$share")),
            ("$queue.a", Ok("$queue/a")),
            // not valid as it is written
            ("a.#", Err(TopicError::MultiLevelWildcard)),
            ("a.+", Err(TopicError::SingleLevelWildcard)),
        ] {
            let found = filter(Dialect::Amqp, text);
            assert_eq!(found.as_deref(), read.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn nats_reads_stars_and_arrows_that_stand_alone() {
        for (text, read) in [
            ("a.b/c", Ok("a.b/c")),
            ("a*/b>", Ok("a*/b>")),
            ("a/*", UNTRANSLATABLE),
            (">/a", UNTRANSLATABLE),
            ("a b", UNTRANSLATABLE),
            ("a\r\nb", UNTRANSLATABLE),
            ("a\u{7f}", UNTRANSLATABLE),
        ] {
            assert_eq!(name(Dialect::Nats, text).as_deref(), read.as_ref().copied());
        }
        for (text, read) in [
            ("devices/*/#", Ok("devices/+/#")),
            ("devices/>", Ok("devices/#")),
            (">", Ok("#")),
            ("*/a*/+", Ok("+/a*/+")),
            (">/a", UNTRANSLATABLE),
            ("a/>/#", UNTRANSLATABLE),
            ("a /b", UNTRANSLATABLE),
            ("$share/g/a", UNTRANSLATABLE),
        ] {
            let found = filter(Dialect::Nats, text);
            assert_eq!(found.as_deref(), read.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn a_literal_is_read_as_it_is_written() {
        for (text, mqtt, amqp, nats) in [
            ("dev1", true, true, true),
            ("$x", true, true, true),
            ("dev1.key", true, false, true),
            ("*", true, false, false),
            ("a*b", true, false, false),
            (">", true, true, false),
            ("a b", true, true, false),
            ("", false, false, false),
            ("a/b", false, false, false),
            ("+", false, false, false),
            ("a#", false, false, false),
            ("a\0", false, false, false),
        ] {
            let found = [Dialect::MQTT, Dialect::Amqp, Dialect::Nats].map(|it| it.is_literal(text));
            assert_eq!(found, [mqtt, amqp, nats], "{text:?}");
        }
    }
}
