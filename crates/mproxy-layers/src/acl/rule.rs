//! Rules as an operator writes them.

use std::{fmt, ops::BitOr};

use super::who::{Network, Who};
use crate::Action;

/// A set of [`Action`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);
    /// Publishing, and setting a will.
    pub const PUBLISH: Self = Self(1);
    /// Subscribing, which includes reading.
    pub const SUBSCRIBE: Self = Self(2);
    /// Deliveries only.
    pub const DELIVER: Self = Self(4);
    /// Every action.
    pub const ALL: Self = Self(7);

    /// Whether the set contains all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        match action {
            Action::Publish | Action::Will => Self::PUBLISH,
            Action::Subscribe => Self::SUBSCRIBE,
            Action::Deliver => Self::DELIVER,
        }
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions
            .into_iter()
            .fold(Self::NONE, |set, action| set | action.into())
    }
}

/// Whether a rule allows or denies its actions.
#[allow(clippy::exhaustive_enums)] // there is no third way
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It allows them.
    Allow,
    /// It denies them.
    Deny,
}

/// One rule, as an operator writes it.
///
/// Patterns are topic filters, and may contain `${client_id}`, `${username}` and `${cn}`.
///
/// A rule applies to all clients, unless it is limited by [`usernames`](Self::usernames),
/// [`client_ids`](Self::client_ids), [`anonymous`](Self::anonymous), [`listeners`](Self::listeners)
/// or [`networks`](Self::networks). With several of these, a client must match each; for all other
/// clients, the rule does not exist. An empty list matches nobody, and such a rule is
/// refused: removing the last name of a list must not make a permission apply to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) info: RuleInfo,
    pub(super) actions: Actions,
    pub(super) topics: Vec<String>,
    pub(super) filters: Vec<String>,
    pub(super) who: Who,
}

impl Rule {
    /// Starts a rule that allows.
    pub const fn allow(actions: Actions) -> Self {
        Self::new(Effect::Allow, actions)
    }

    /// Starts a rule that denies.
    pub const fn deny(actions: Actions) -> Self {
        Self::new(Effect::Deny, actions)
    }

    /// Starts a rule.
    pub const fn new(effect: Effect, actions: Actions) -> Self {
        let info = RuleInfo {
            name: String::new(),
            location: String::new(),
            effect,
        };
        Self {
            info,
            actions,
            topics: Vec::new(),
            filters: Vec::new(),
            who: Who::EVERYBODY,
        }
    }

    /// Gives the rule a name for logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.info.name = name.into();
        self
    }

    /// Sets where the rule was written, as `file:line`.
    #[must_use]
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.info.location = location.into();
        self
    }

    /// Adds a pattern of topics that the rule applies to.
    #[must_use]
    pub fn topic(mut self, pattern: impl Into<String>) -> Self {
        self.topics.push(pattern.into());
        self
    }

    /// Adds patterns of topics that the rule applies to.
    #[must_use]
    pub fn topics<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Adds a filter that the rule applies to: the filter itself, not what it matches.
    ///
    /// Filters that mean the same (`#` and `+/#`) are the same filter.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// Adds filters that the rule applies to: the filters themselves, not what they match.
    #[must_use]
    pub fn filters<T: Into<String>>(mut self, filters: impl IntoIterator<Item = T>) -> Self {
        self.filters.extend(filters.into_iter().map(Into::into));
        self
    }

    /// Limits the rule to clients with one of these user names.
    ///
    /// The user name is the one in CONNECT. The broker must check the password, and refuse the client
    /// before any packet passes; or an outer layer must.
    #[must_use]
    pub fn usernames<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        let set = self.who.usernames.get_or_insert_default();
        set.extend(names.into_iter().map(Into::into));
        self
    }

    /// Limits the rule to clients with one of these client ids.
    ///
    /// Any client can claim an id, unless a [`ClientIdLayer`](crate::client_id::ClientIdLayer) checks
    /// it.
    #[must_use]
    pub fn client_ids<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        let set = self.who.client_ids.get_or_insert_default();
        set.extend(ids.into_iter().map(Into::into));
        self
    }

    /// Limits the rule to clients without a user name, or to those with one. An empty user name counts
    /// as none.
    #[must_use]
    pub const fn anonymous(mut self, anonymous: bool) -> Self {
        self.who.anonymous = Some(anonymous);
        self
    }

    /// Limits the rule to clients of one of these listeners.
    #[must_use]
    pub fn listeners<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        let set = self.who.listeners.get_or_insert_default();
        set.extend(names.into_iter().map(Into::into));
        self
    }

    /// Limits the rule to clients with an address in one of these networks. Clients of a Unix
    /// socket have no address.
    #[must_use]
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        let set = self.who.networks.get_or_insert_default();
        set.extend(networks);
        self
    }
}

/// The parts of a rule that explain a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    name: String,
    location: String,
    effect: Effect,
}

impl RuleInfo {
    /// Returns the rule's name; empty if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the rule was written; empty if that is not known.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Returns what the rule does.
    pub const fn effect(&self) -> Effect {
        self.effect
    }
}

/// Writes the name and the location, as far as the rule has them.
impl fmt::Display for RuleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.location.as_str()) {
            ("", "") => f.write_str("rule"),
            ("", location) => write!(f, "rule at {location}"),
            (name, "") => write!(f, "rule `{name}`"),
            (name, location) => write!(f, "rule `{name}` at {location}"),
        }
    }
}
