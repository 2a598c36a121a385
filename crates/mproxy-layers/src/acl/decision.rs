//! The decision of the rules on one action.

use std::fmt;

use super::RuleInfo;
use crate::identity::Placeholder;

/// The decision whether a client may do something, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    allowed: bool,
    cause: Cause,
    rule: Option<&'a RuleInfo>,
    unusable: Option<Unusable<'a>>,
}

/// A rule that applies differently to a client without a usable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable<'a> {
    pub(super) rule: &'a RuleInfo,
    pub(super) placeholder: Placeholder,
}

/// The cause of a [`Decision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A rule applied.
    Rule,
    /// A deny rule needs a client id or user name that this client does not have in a usable form.
    UnusableName,
    /// No rule applied.
    Default,
    /// No rule applied to a topic or filter that begins with `$`.
    Dollar,
    /// The filter begins with `$share/` but is not a shared subscription, or is not a filter at
    /// all; or the same for a vendor form of the dialect.
    Malformed,
    /// The broker does not read the text as an MQTT topic or filter.
    Untranslatable,
    /// The filter is a shared subscription, which the broker does not support.
    NotShared,
}

impl<'a> Decision<'a> {
    pub(super) const fn new(allowed: bool, cause: Cause, rule: Option<&'a RuleInfo>) -> Self {
        Self {
            allowed,
            cause,
            rule,
            unusable: None,
        }
    }

    pub(super) const fn unusable(mut self, unusable: Option<Unusable<'a>>) -> Self {
        self.unusable = unusable;
        self
    }

    /// Whether the action is allowed.
    pub const fn allowed(&self) -> bool {
        self.allowed
    }

    /// Returns why.
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns the rule that decided, if one did.
    pub const fn rule(&self) -> Option<&'a RuleInfo> {
        self.rule
    }

    /// Returns an allow rule for such topics that does not apply because this client has no usable
    /// value for its placeholder. Always `None` if a rule decided.
    pub fn left_out(&self) -> Option<&'a RuleInfo> {
        let unusable = self.unusable.filter(|_| self.rule.is_none());
        unusable.map(|unusable| unusable.rule)
    }
}

/// Writes a sentence for a log.
impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed" } else { "denied" })?;
        match (self.cause, self.rule) {
            (_, Some(rule)) => write!(f, " by {rule}"),
            // with any default
            (Cause::Dollar, None) => f.write_str(", because no rule names this `$` topic"),
            (Cause::Malformed, None) => f.write_str(", because the topic is malformed"),
            (Cause::Untranslatable, None) => f.write_str(
                ", because the broker would read it as something that is not an MQTT topic",
            ),
            (Cause::NotShared, None) => {
                f.write_str(", because the broker does not support shared subscriptions")
            }
            (Cause::Rule | Cause::UnusableName | Cause::Default, None) => {
                f.write_str(" by default")
            }
        }?;
        let Some(Unusable { rule, placeholder }) = &self.unusable else {
            return Ok(());
        };
        if self.rule.is_none() {
            write!(f, "; {rule} does not apply")?;
        }
        write!(
            f,
            ", because this client has no usable value for `{}`",
            placeholder.name()
        )
    }
}
