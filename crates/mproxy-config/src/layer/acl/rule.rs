//! `[[layers.NAME.rules]]` of an acl.

use crate::choice::Choice;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::diff;
use crate::scalar::{FilterTemplate, Scalar, Template, Text};
use crate::section::{Flags, Key, Listing, Located, Section, Setting, Titled, keys};
use crate::validate::placeholders::{self, Known};
use crate::validate::{levels, who};
use mproxy_codec::topic::VendorForms;
use mproxy_layers::acl::{Actions, Effect, Network, Rule};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml_edit::value;

keys! {
    /// A rule of an access list. It has either `allow` or `deny`, and `topics` or `filters` or both.
    ///
    /// A rule applies to all clients, unless it has `usernames`, `client_ids`, `anonymous`, `listeners` or
    /// `networks`. A client must match all of those that the rule has. An empty list is an error; it never
    /// means everybody.
    RuleKeys in "[[layers.NAME.rules]]", reload "at once, for connected clients too" {
        /// Name of the rule in logs.
        name: Setting<Text>;
        /// What the rule allows: "publish", "subscribe" or both.
        allow: Listing<Actions>;
        /// What the rule denies: "publish", "subscribe" or both.
        deny: Listing<Actions>;
        /// Topic filters; ${client_id}, ${username} and ${cn} are filled in for each session.
        ///
        /// "#" does not match topics that begin with `$`.
        topics: Listing<FilterTemplate>;
        /// Subscription filters, compared as they are written: "#" is the filter "#", not every topic.
        filters: Listing<FilterTemplate>;
        /// Only for clients with one of these user names.
        ///
        /// The broker must check the name together with the password; a token alone or enhanced
        /// authentication does not do that, and neither does mproxy.
        #[schemars(extend("minItems" = 1))]
        usernames: Listing<Text>;
        /// Only for clients with one of these client ids.
        ///
        /// Any client can claim any id, unless a layer of type client-id checks it.
        #[schemars(extend("minItems" = 1))]
        client_ids: Listing<Text>;
        /// true: only for clients without a user name; false: only for those with one.
        anonymous: Setting<bool>;
        /// Only for clients of one of these listeners.
        #[schemars(extend("minItems" = 1))]
        listeners: Listing<Text>;
        /// Only for clients whose address is in one of these networks.
        ///
        /// Behind a load balancer or a TLS terminator all clients have its address; clients of a Unix socket
        /// have none.
        #[schemars(extend("minItems" = 1))]
        networks: Listing<Network>;
    }
    reserved {
        "user": "write `usernames = [\"...\"]`";
        "clients": "write `client_ids = [\"...\"]`";
        "when": "use `usernames`, `client_ids`, `anonymous`, `listeners` or `networks`";
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Its name in logs; `rule N` if it has none.
    pub name: String,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// What is allowed or denied; not empty.
    pub actions: Actions,
    /// Topics, as topic filters that may hold placeholders.
    pub topics: Vec<Template>,
    /// Subscription filters, compared literally.
    pub filters: Vec<Template>,
    /// Which clients it matches.
    pub who: AclWho,
    /// Where the rule was written, `file:line`, for log lines about denials.
    pub at: String,
}

/// The clients that a rule matches: those with one value of each non-empty list. Sorted,
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
    /// Adds the clients to a rule. An empty list was not given.
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

    /// True if this matches all clients that `other` matches.
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

impl AclRule {
    /// Whether it allows.
    pub fn allows(&self) -> bool {
        self.effect == Effect::Allow
    }

    pub(super) fn compile(&self) -> Rule {
        let rule = Rule::new(self.effect, self.actions)
            .name(&self.name)
            .location(&self.at)
            .topics(self.topics.iter().map(Template::as_str))
            .filters(self.filters.iter().map(Template::as_str));
        self.who.add_to(rule)
    }
}

impl Titled for AclRule {
    /// Rules may have the same name.
    fn title(&self) -> &str {
        ""
    }
}

impl Section for AclRule {
    type Keys = RuleKeys;

    fn show(&self) -> toml_edit::Table {
        fn list<T: Scalar<Value: PartialEq>>(
            table: &mut toml_edit::Table,
            key: &str,
            values: &Vec<T::Value>,
        ) {
            if !values.is_empty() {
                Listing::<T>::show(values, table, key);
            }
        }
        let mut table = toml_edit::Table::new();
        table["name"] = value(&self.name);
        Flags::<Actions>::show(&self.actions, &mut table, self.effect.word());
        list::<FilterTemplate>(&mut table, "topics", &self.topics);
        list::<FilterTemplate>(&mut table, "filters", &self.filters);
        let who = &self.who;
        list::<Text>(&mut table, "usernames", &who.usernames);
        list::<Text>(&mut table, "client_ids", &who.client_ids);
        if let Some(anonymous) = who.anonymous {
            table["anonymous"] = value(anonymous);
        }
        list::<Text>(&mut table, "listeners", &who.listeners);
        list::<Network>(&mut table, "networks", &who.networks);
        table.decor_mut().set_prefix(format!("\n# {}\n", self.at));
        table
    }

    /// A rule that was moved within its file does not differ.
    fn compare(&self, new: &Self, path: &diff::Path<'_>) {
        let at = new.at.clone();
        path.compare(&Self { at, ..self.clone() }, new);
    }
}

/// Checks a rule.
pub(super) fn rule(
    cx: &mut Context,
    index: usize,
    file: &Located<RuleKeys>,
    vendor: VendorForms,
) -> Option<AclRule> {
    let keys = &file.value;
    let name = cx.given(&keys.name);
    let name = name.unwrap_or_else(|| format!("rule {}", index + 1));
    let topics = patterns(cx, &keys.topics, vendor);
    let filters = patterns(cx, &keys.filters, vendor);
    if keys.topics.is_empty() && keys.filters.is_empty() {
        let message = format!("rule `{name}` has neither `topics` nor `filters`");
        let label = "add `topics = [...]`; \"#\" stands for all";
        let error = Diagnostic::error(message).at(file.span.clone());
        cx.push(error.label(label));
    }
    let (effect, listing) = effect(cx, &name, file)?;
    let who = who::who(cx, &name, keys);
    let actions = actions(cx, &name, listing)?;
    for_subscribing(cx, &name, keys, actions);
    Some(AclRule {
        name,
        effect,
        actions,
        topics,
        filters,
        who,
        at: place(cx, &file.span),
    })
}

/// Whether a rule allows or denies, and what.
fn effect<'a>(
    cx: &mut Context,
    rule: &str,
    file: &'a Located<RuleKeys>,
) -> Option<(Effect, &'a Listing<Actions>)> {
    let keys = &file.value;
    let error = match (keys.allow.span(), keys.deny.span()) {
        (Some(_), None) => return Some((Effect::Allow, &keys.allow)),
        (None, Some(_)) => return Some((Effect::Deny, &keys.deny)),
        (Some(allow), Some(deny)) => {
            let error = Diagnostic::error(format!("rule `{rule}` both allows and denies"));
            let error = error.at(deny).label("make this a second rule");
            error.related(allow, "allowed here")
        }
        (None, None) => {
            let error = Diagnostic::error(format!("rule `{rule}` neither allows nor denies"));
            let label = "add `allow = [\"publish\", \"subscribe\"]` or `deny = [...]`";
            error.at(file.span.clone()).label(label)
        }
    };
    cx.push(error);
    None
}

/// Reports filters in a rule without the action "subscribe", or with "publish" but no topics.
fn for_subscribing(cx: &mut Context, rule: &str, keys: &RuleKeys, actions: Actions) {
    let Some(span) = keys.filters.span() else {
        return;
    };
    let subscribes = actions.contains(Actions::SUBSCRIBE);
    let (message, instead) = if !subscribes {
        let message = format!("rule `{rule}` has `filters`, but not the action \"subscribe\"");
        (message, "use `topics`")
    } else if keys.topics.is_empty() && actions.contains(Actions::PUBLISH) {
        // It would look like a rule for publishing, but match no topic.
        let message = format!("rule `{rule}` has the action \"publish\", but no `topics`");
        (message, "add `topics`, or make two rules")
    } else {
        return;
    };
    let label = format!("filters apply to SUBSCRIBE only; {instead}");
    cx.push(Diagnostic::error(message).at(span).label(label));
}

fn actions(cx: &mut Context, rule: &str, listing: &Listing<Actions>) -> Option<Actions> {
    let given = cx.list(listing)?.into_iter().map(Spanned::into_inner);
    let actions = given.fold(Actions::NONE, |all, action| all | action);
    if !actions.is_empty() {
        return Some(actions);
    }
    // Wrong words were reported; an empty list was not.
    if let (true, Some(span)) = (listing.is_empty(), listing.span()) {
        let message = format!("rule `{rule}` has an empty list of actions");
        let label = "expected \"publish\", \"subscribe\" or both";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    None
}

fn patterns(
    cx: &mut Context,
    listing: &Listing<FilterTemplate>,
    vendor: VendorForms,
) -> Vec<Template> {
    let Some(given) = cx.list(listing) else {
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for pattern in given {
        let span = pattern.span();
        let pattern = pattern.into_inner();
        placeholders::check(cx, &pattern, &span, Known::All);
        levels::check(cx, &pattern, &span);
        if VendorForms::of(pattern.as_str()).is_some_and(|form| vendor.contains(form)) {
            // It would never match: a denial would deny nothing.
            let message = format!("`{pattern}` would never match: the acl judges the topic inside");
            let label = "remove the part before the topic, or remove the form from `vendor`";
            cx.push(Diagnostic::error(message).at(span).label(label));
            continue;
        }
        patterns.push(pattern);
    }
    patterns
}

/// `file:line` of a rule, without the directories.
fn place(cx: &Context, span: &Range<usize>) -> String {
    let Some(place) = cx.report.sources.find(span) else {
        return String::new();
    };
    let name = Path::new(place.name).file_name();
    let name = name.map_or_else(|| place.name.into(), |it| it.to_string_lossy());
    format!("{name}:{}", place.line)
}
