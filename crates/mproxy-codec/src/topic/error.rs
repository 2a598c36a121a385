//! Why a string is not a topic name or filter.

use thiserror::Error;

/// The rule that a topic name, a topic filter or a shared subscription breaks.
///
/// The standards number the same rule differently: [`statement_v3`](Self::statement_v3) and
/// [`statement_v5`](Self::statement_v5) give the number for the version that the peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The string has no characters.
    #[error("topic is empty")]
    Empty,
    /// The string is longer than [`MAX_TOPIC_LENGTH`](super::MAX_TOPIC_LENGTH).
    #[error("topic is longer than 65535 bytes")]
    TooLong,
    /// The bytes are not well-formed UTF-8.
    #[error("topic is not well-formed UTF-8")]
    IllFormed,
    /// The string contains U+0000.
    #[error("topic contains U+0000")]
    Nul,
    /// A topic name contains `+` or `#`.
    #[error("topic name contains a wildcard")]
    WildcardInName,
    /// `#` is not alone in the last level of a filter.
    #[error("`#` is not alone in the last level of the topic filter")]
    MultiLevelWildcard,
    /// `+` is not alone in its level of a filter.
    #[error("`+` is not alone in its level of the topic filter")]
    SingleLevelWildcard,
    /// A shared subscription has an empty share name.
    #[error("share name is empty")]
    ShareNameEmpty,
    /// The share name contains `/`, `+`, `#` or U+0000.
    #[error("share name contains `/`, `+`, `#` or U+0000")]
    ShareNameCharacter,
    /// A shared subscription ends after its share name.
    #[error("shared subscription has no topic filter")]
    ShareFilterMissing,
    /// The delay in `$delayed/seconds/topic` is not a number of seconds.
    #[error("delay is not a number of seconds")]
    DelaySeconds,
    /// The broker does not read the text as a topic of the standard:
    /// see [`Dialect`](super::Dialect).
    #[error("the broker reads the topic otherwise, and not as a topic of MQTT")]
    Untranslatable,
}

impl TopicError {
    /// Returns the number of the normative statement in MQTT 3.1.1.
    ///
    /// Shared subscriptions came with MQTT 5.0; their rules have its numbers here too, because
    /// brokers that offer them to older clients mean the same rules.
    pub const fn statement_v3(self) -> &'static str {
        match self {
            Self::Empty => "MQTT-4.7.3-1",
            Self::TooLong => "MQTT-4.7.3-3",
            Self::IllFormed => "MQTT-1.5.3-1",
            Self::Nul => "MQTT-4.7.3-2",
            Self::WildcardInName => "MQTT-4.7.1-1",
            Self::MultiLevelWildcard => "MQTT-4.7.1-2",
            Self::SingleLevelWildcard => "MQTT-4.7.1-3",
            Self::ShareNameEmpty => "MQTT-4.8.2-1",
            Self::ShareNameCharacter | Self::ShareFilterMissing => "MQTT-4.8.2-2",
            // no standard knows the form: what begins with `$` is the broker's to define
            Self::DelaySeconds => "MQTT-4.7.2-1",
            // which says that a broker does not change topics
            Self::Untranslatable => "MQTT-4.7.3-4",
        }
    }

    /// Returns the number of the normative statement in MQTT 5.0.
    pub const fn statement_v5(self) -> &'static str {
        match self {
            Self::IllFormed => "MQTT-1.5.4-1",
            Self::WildcardInName => "MQTT-4.7.0-1",
            Self::MultiLevelWildcard => "MQTT-4.7.1-1",
            Self::SingleLevelWildcard => "MQTT-4.7.1-2",
            Self::Empty
            | Self::TooLong
            | Self::Nul
            | Self::ShareNameEmpty
            | Self::ShareNameCharacter
            | Self::ShareFilterMissing
            | Self::DelaySeconds
            | Self::Untranslatable => self.statement_v3(),
        }
    }
}
