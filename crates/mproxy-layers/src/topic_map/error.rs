//! Why rules are not a map, and why a topic cannot be mapped.

use std::fmt;

use mproxy_codec::{ReasonCode, topic::TopicError};
use thiserror::Error;

use crate::template::TemplateError;

/// Rules that are not a map.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct TopicMapError {
    pub(super) rule: usize,
    pub(super) other: Option<usize>,
    pub(super) problem: MapProblem,
}

impl TopicMapError {
    /// Returns the number of the rule that cannot be used, from 0.
    pub const fn rule(&self) -> usize {
        self.rule
    }

    /// Returns the number of the rule that it conflicts with, if any.
    pub const fn other(&self) -> Option<usize> {
        self.other
    }

    /// Returns what is wrong with it.
    pub const fn problem(&self) -> &MapProblem {
        &self.problem
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MapProblem {
    /// There are no rules, or only an empty prefix.
    #[error("nothing is mapped")]
    Empty,
    /// There are more rules than a map takes.
    #[error("more than 64 rules")]
    TooMany,
    /// A placeholder is not valid.
    #[error(transparent)]
    Template(TemplateError),
    /// A text is not the beginning of a topic.
    #[error("`{text}`: {source}")]
    Topic {
        /// The text as written.
        text: String,
        /// What is wrong with it.
        source: TopicError,
    },
    /// The broker reads a text differently from how it is written.
    #[error("`{text}`: the broker reads it as `{read}`; write that")]
    Otherwise {
        /// The text as written.
        text: String,
        /// What the [dialect](super::TopicMapBuilder::dialect) makes of it.
        read: String,
    },
    /// A text begins with `$`.
    #[error("`{0}` begins with `$`; such topics belong to the broker")]
    Dollar(String),
    /// A text does not end with `/`.
    #[error("`{0}` does not end with `/`")]
    NoSlash(String),
    /// The text to replace has a placeholder.
    #[error("`{0}` cannot have placeholders: all clients write it the same")]
    FromPlaceholder(String),
    /// A placeholder stands twice in one text.
    #[error("`{to}` contains `{placeholder}` twice")]
    Repeated {
        /// The text as written.
        to: String,
        /// The placeholder.
        placeholder: &'static str,
    },
    /// Two placeholders stand in one level, so that different clients may have the same topics.
    #[error(
        "`{to}` does not keep clients apart: one with {one}, and another with {other}, would both \
         publish to `{topic}`"
    )]
    Ambiguous {
        /// The text as written.
        to: String,
        /// The names of one client.
        one: String,
        /// The names of the other.
        other: String,
        /// The topic that both have at the broker.
        topic: String,
    },
    /// An earlier rule covers everything that this one does.
    #[error("the rule never applies: an earlier one covers `{earlier}#`")]
    Unreachable {
        /// What the earlier rule replaces.
        earlier: String,
    },
    /// The rule has no placeholder, although others have.
    #[error(
        "`{0}` is the same for every client, while other rules keep clients apart; if clients should \
         share it, set `shared`"
    )]
    NotShared(String),
    /// The rule is shared and has a placeholder.
    #[error("`{0}` has a placeholder, so it cannot be shared")]
    Shared(String),
    /// Two different topics would become one.
    #[error("{0}")]
    Collision(Box<Collision>),
}

/// A counter-example: two topics that would become one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collision {
    /// A client and a topic of it.
    pub one: Named,
    /// Another client, or the same, and another topic.
    pub other: Named,
    /// What both would be at the broker.
    pub topic: String,
}

/// A topic of some client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Named {
    /// The names that make the client one for which this holds; empty if it holds for all.
    pub client: String,
    /// The topic as the client calls it.
    pub topic: String,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, other, topic } = self;
        if one.client == other.client {
            write!(f, "`{}` and {other}", one.topic)?;
        } else {
            write!(f, "{one} and {other}")?;
        }
        write!(f, " would both become `{topic}` at the broker")
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of ", self.topic)?;
        match self.client.as_str() {
            "" => f.write_str("any client"),
            names => write!(f, "a client with {names}"),
        }
    }
}

/// A client that has no place in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct UnusableName {
    pub(super) missing: &'static str,
    /// What the broker reads otherwise; empty if that is not why.
    pub(super) difference: &'static str,
}

impl fmt::Display for UnusableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the client has no {} that can stand in a topic",
            self.missing
        )?;
        match self.difference {
            "" => Ok(()),
            difference => write!(f, " of this broker, to which {difference}"),
        }
    }
}

/// Why a topic cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The topic begins with `$`.
    #[error("the topic begins with `$`; the topic map cannot hold it")]
    Dollar,
    /// No rule covers the topic, or all that the filter matches.
    #[error("no rule of the topic map covers it")]
    Unmapped,
    /// Several rules cover parts of what the filter matches, and none could take its place.
    #[error("the filter matches topics of several rules of the topic map")]
    Spans,
    /// The topic is shared by all tenants, who may only read there.
    #[error("the topic is shared by all tenants: they may read it, but not publish to it")]
    ReadOnly,
    /// A `$queue/` or `$exclusive/` subscription to what tenants share would be shared with the
    /// others.
    #[error("tenants would share the subscription")]
    SharedForm,
    /// The topic is not valid, or would be too long.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl MapError {
    /// Returns a number for each kind of error.
    pub(super) const fn number(&self) -> u32 {
        match self {
            Self::Dollar => 0,
            Self::Unmapped => 1,
            Self::Spans => 2,
            Self::SharedForm => 3,
            Self::Topic(_) => 4,
            Self::ReadOnly => 5,
        }
    }

    /// Returns the code that a PUBLISH is refused with.
    pub(super) const fn reason(&self) -> ReasonCode {
        match self {
            Self::ReadOnly => ReasonCode::NOT_AUTHORIZED,
            _ => ReasonCode::TOPIC_NAME_INVALID,
        }
    }
}
