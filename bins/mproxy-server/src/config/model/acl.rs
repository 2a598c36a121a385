//! `type = "acl"`: who may publish and subscribe where.

use super::{Choice, Dialect, Template, VendorForm};
use mproxy_layers::acl::{self, AclError, Actions, Effect, Rule};

/// The settings of an access control list; the first rule that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    /// What happens when no rule matches.
    pub(crate) default: AclDefault,
    /// How subscriptions wider than the rules are answered.
    pub(crate) subscribe: AclSubscribe,
    /// What a client is told when it is denied.
    pub(crate) on_deny: AclOnDeny,
    /// What becomes of a client whose will is denied.
    pub(crate) will: DeniedWill,
    /// Whether Response Topics are judged, too.
    pub(crate) check_response_topics: bool,
    /// The forms of topics that are judged by what is inside; sorted, each once.
    pub(crate) vendor: Vec<VendorForm>,
    /// The rules, in the order in which they are asked.
    pub(crate) rules: Vec<AclRule>,
}

impl Acl {
    /// Compiles the rules before a broker of this dialect.
    ///
    /// # Errors
    ///
    /// The broker reads a pattern otherwise than it is written.
    pub(crate) fn compile(&self, dialect: Dialect) -> Result<acl::Acl, AclError> {
        let mut builder = acl::Acl::builder();
        builder.dialect(dialect.with_forms(&self.vendor));
        builder.default_effect(match self.default {
            AclDefault::Deny => Effect::Deny,
            AclDefault::Allow => Effect::Allow,
        });
        for rule in &self.rules {
            builder.rule(rule.compile())?;
        }
        Ok(builder.build())
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AclRule {
    /// What a denial is reported under; `rule N` when it was not given.
    pub(crate) name: String,
    /// True for `allow`, false for `deny`.
    pub(crate) allow: bool,
    /// What is allowed or denied; sorted, each once, not empty.
    pub(crate) actions: Vec<AclAction>,
    /// Topics, as topic filters that may hold placeholders.
    pub(crate) topics: Vec<Template>,
    /// Subscription filters, compared as they stand.
    pub(crate) filters: Vec<Template>,
    /// Where the rule was written, `file:line`, for the report of a denial.
    pub(crate) at: String,
}

impl AclRule {
    fn compile(&self) -> Rule {
        let effect = if self.allow {
            Effect::Allow
        } else {
            Effect::Deny
        };
        let actions = self.actions.iter().fold(Actions::NONE, |set, action| {
            set | match action {
                AclAction::Publish => Actions::PUBLISH,
                AclAction::Subscribe => Actions::SUBSCRIBE,
            }
        });
        Rule::new(effect, actions)
            .name(&self.name)
            .location(&self.at)
            .topics(self.topics.iter().map(Template::as_str))
            .filters(self.filters.iter().map(Template::as_str))
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AclAction {
    /// It publishes; its will included.
    Publish,
    /// It subscribes.
    Subscribe,
}

impl Choice for AclAction {
    const ALL: &'static [(&'static str, Self)] =
        &[("publish", Self::Publish), ("subscribe", Self::Subscribe)];
}

/// What happens when no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclDefault {
    /// It is denied.
    Deny,
    /// It is allowed.
    Allow,
}

impl Choice for AclDefault {
    const ALL: &'static [(&'static str, Self)] = &[("deny", Self::Deny), ("allow", Self::Allow)];
}

/// How subscriptions wider than the rules are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclSubscribe {
    /// Refused in SUBACK.
    Strict,
    /// Accepted, and the deliveries are filtered, as mosquitto does.
    Mosquitto,
}

impl Choice for AclSubscribe {
    const ALL: &'static [(&'static str, Self)] =
        &[("strict", Self::Strict), ("mosquitto", Self::Mosquitto)];
}

/// What a client is told when it is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclOnDeny {
    /// MQTT 5: reason code 0x87; 3.1.1: acknowledged and dropped.
    Reject,
    /// Acknowledged and dropped in every version.
    Drop,
    /// The connection is closed.
    Disconnect,
}

impl Choice for AclOnDeny {
    const ALL: &'static [(&'static str, Self)] = &[
        ("reject", Self::Reject),
        ("drop", Self::Drop),
        ("disconnect", Self::Disconnect),
    ];
}

/// What becomes of a client whose will is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeniedWill {
    /// It is not let in.
    Refuse,
    /// It is let in without its will.
    Strip,
}

impl Choice for DeniedWill {
    const ALL: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("strip", Self::Strip)];
}
