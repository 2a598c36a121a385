//! `type = "acl"`: who may publish and subscribe where.

use super::{Choice, Dialect, Reauthentication, Template, VendorForm};
use mproxy_layers::acl::{self, AclError, Actions, Effect, Network, Rule};
use std::collections::HashSet;

/// The settings of an access control list; the first rule that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// What happens when no rule matches.
    pub default: AclDefault,
    /// How subscriptions wider than the rules are answered.
    pub subscribe: AclSubscribe,
    /// What a client is told when it is denied.
    pub on_deny: AclOnDeny,
    /// What becomes of a client whose will is denied.
    pub will: DeniedWill,
    /// Whether Response Topics are judged, too.
    pub check_response_topics: bool,
    /// The forms of topics that are judged by what is inside; sorted, each once.
    pub vendor: Vec<VendorForm>,
    /// What is done about clients that authenticate again.
    pub reauthentication: Reauthentication,
    /// The rules, in the order in which they are asked.
    pub rules: Vec<AclRule>,
}

impl Acl {
    /// Compiles the rules before a broker of this dialect.
    ///
    /// # Errors
    ///
    /// The broker reads a pattern otherwise than it is written.
    pub fn compile(&self, dialect: Dialect) -> Result<acl::Acl, AclError> {
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
pub struct AclRule {
    /// What a denial is reported under; `rule N` when it was not given.
    pub name: String,
    /// True for `allow`, false for `deny`.
    pub allow: bool,
    /// What is allowed or denied; sorted, each once, not empty.
    pub actions: Vec<AclAction>,
    /// Topics, as topic filters that may hold placeholders.
    pub topics: Vec<Template>,
    /// Subscription filters, compared as they stand.
    pub filters: Vec<Template>,
    /// Which clients it is about.
    pub who: AclWho,
    /// Where the rule was written, `file:line`, for the report of a denial.
    pub at: String,
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
        let rule = Rule::new(effect, actions)
            .name(&self.name)
            .location(&self.at)
            .topics(self.topics.iter().map(Template::as_str))
            .filters(self.filters.iter().map(Template::as_str));
        self.who.add_to(rule)
    }
}

/// The clients that a rule is about: those that have one of each list that is not empty. Sorted,
/// each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AclWho {
    /// User names.
    pub usernames: Vec<String>,
    /// Client ids.
    pub client_ids: Vec<String>,
    /// Without a user name, or with one.
    pub anonymous: Option<bool>,
    /// Names of listeners.
    pub listeners: Vec<String>,
    /// Where they come from.
    pub networks: Vec<Network>,
}

impl AclWho {
    /// Says in a rule whom it is about. A list that is empty was not given.
    fn add_to(&self, mut rule: Rule) -> Rule {
        if !self.usernames.is_empty() {
            rule = rule.usernames(&self.usernames);
        }
        if !self.client_ids.is_empty() {
            rule = rule.client_ids(&self.client_ids);
        }
        if !self.listeners.is_empty() {
            rule = rule.listeners(&self.listeners);
        }
        if !self.networks.is_empty() {
            rule = rule.networks(self.networks.iter().copied());
        }
        match self.anonymous {
            Some(anonymous) => rule.anonymous(anonymous),
            None => rule,
        }
    }

    /// True when everybody that `other` is about is one of these.
    pub fn covers(&self, other: &Self) -> bool {
        fn all<T>(wide: &[T], narrow: &[T], has: impl Fn(&T) -> bool) -> bool {
            wide.is_empty() || !narrow.is_empty() && narrow.iter().all(has)
        }
        fn names(wide: &[String], narrow: &[String]) -> bool {
            all(wide, narrow, |it| wide.binary_search(it).is_ok())
        }
        names(&self.usernames, &other.usernames)
            && names(&self.client_ids, &other.client_ids)
            && names(&self.listeners, &other.listeners)
            && all(&self.networks, &other.networks, {
                let networks: HashSet<_> = self.networks.iter().collect();
                move |it| networks.contains(it)
            })
            && (self.anonymous.is_none() || self.anonymous == other.anonymous)
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclAction {
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
pub enum AclDefault {
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
pub enum AclSubscribe {
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
pub enum AclOnDeny {
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
pub enum DeniedWill {
    /// It is not let in.
    Refuse,
    /// It is let in without its will.
    Strip,
}

impl Choice for DeniedWill {
    const ALL: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("strip", Self::Strip)];
}
