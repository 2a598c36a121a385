//! `type = "topic-map"`: where the client's topics are at the broker.

use super::{At, Built, LayerConfig, Place, Reauthentication};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::{PrefixTemplate, Scalar, StartTemplate, Template, Text, with_forms};
use crate::section::{Flags, Listing, Located, Maybe, Setting, Sub, Tables, section};
use crate::validate::placeholders::{self, Known};
use crate::validate::who::literal;
use mproxy_codec::topic::{Dialect, VendorForms};
use mproxy_layers::topic_map::{
    self, MapProblem, MapRule, TopicMapError, TopicMapLayer, TopicMapToClient, TopicMapToServer,
};
use mproxy_layers::{DeniedWill, Observer};
use mproxy_session::{BoxError, Heads, Tap};
use std::ops::Range;

section! {
    /// Moves the client's topics to another place at the broker; the client does not notice.
    ///
    /// mproxy checks at the start that the map can be reversed for every client and every topic, and otherwise
    /// refuses it with an example. Clients without a usable value for a placeholder are not let in. The broker
    /// finds sessions by client id, not by topic: put a layer of type client-id with a `prefix` before this
    /// one to keep the sessions of tenants apart.
    TopicMap, TopicMapKeys in "[layers.NAME] of type \"topic-map\"" layer "topic-map",
        reload "at once; sessions that the old map has mapped are closed"
    {
        /// Prefix of the client's topics at the broker; ends with a slash.
        ///
        /// ${username}, ${client_id} and ${cn} are filled in. With rules, it applies to topics that no rule
        /// matches.
        prefix: Option<Template> as Maybe<PrefixTemplate>, given prefix;
        /// A client whose will the map does not cover: "refuse" (not let in) or "strip" (no will).
        ///
        /// For example, a mosquitto bridge with notifications has a will under `$SYS`, which is never mapped.
        will: DeniedWill = "refuse";
        /// Topic forms beyond the standard that the broker supports; the topic inside is mapped.
        ///
        /// The values are those of an acl. mproxy refuses other forms, like all topics that begin with `$`.
        vendor: VendorForms as Flags<VendorForms> = [];
        /// Put the groups of shared subscriptions under the tenant, so that tenants never share one.
        ///
        /// $share/workers/f becomes $share/acme:workers/tenants/acme/f.
        group_prefix: bool = true;
        /// Whether an MQTT 5 client may authenticate again while it is connected: "refuse" or "pass".
        ///
        /// This matters if the layer uses client ids or user names. refuse: mproxy closes the client with
        /// 0x8C, because for the broker it may be another user afterwards, while the layer would still know
        /// it by its old names. pass: for brokers that keep the names, or if it does not matter. A map that
        /// is the same for all clients lets the packet pass.
        reauthentication: Reauthentication = "refuse";
        /// Clients that are not mapped: they see the broker as it is, all tenants included.
        super_clients("super"): SuperClients as Sub<SuperClients>, given super_clients;
        /// Other places for some topics; the first rule whose `from` a topic begins with applies.
        rules: Vec<TopicMapRule> as Tables<TopicMapRule>, given rules;
    }
}

section! {
    /// Clients that are not mapped.
    SuperClients, SuperClientsKeys in "[layers.NAME.super]",
        reload "at once; sessions that the old map has mapped are closed"
    {
        /// By user name. Any client can claim one if the broker does not check it.
        usernames: Vec<String> as Listing<Text> = [], given usernames;
        /// By client id. Any client can claim one, unless a layer of type client-id checks it.
        client_ids: Vec<String> as Listing<Text> = [], given client_ids;
    }
}

section! {
    /// A rule of a topic map: it applies before `prefix`.
    ///
    /// mproxy refuses a topic that neither a rule nor `prefix` matches. It maps a subscription filter only if
    /// every topic that the filter can match falls under the same rule.
    TopicMapRule, TopicMapRuleKeys in "[[layers.NAME.rules]] of a layer of type \"topic-map\"",
        reload "at once; sessions that the old map has mapped are closed"
    {
        /// Start of topics at the client, whole levels: "news/" is `news` and what is below it.
        ///
        /// "" is every topic.
        from: Template as Setting<StartTemplate>, given from;
        /// Start of these topics at the broker; ${username}, ${client_id} and ${cn} are filled in.
        to: Template as Setting<StartTemplate>, given to;
        /// All clients share these topics, although other rules keep clients apart.
        ///
        /// They may subscribe there. mproxy refuses messages, wills and Response Topics there with 0x87,
        /// because all tenants would receive them.
        shared: bool = false;
        /// With `shared`: all clients may publish there, too.
        writable: bool = false, shown Self::is_shared;
    }
}

impl TopicMapRule {
    fn is_shared(&self) -> bool {
        self.shared
    }
}

impl TopicMap {
    /// True if it has a placeholder, or shares topics on purpose.
    pub fn keeps_apart(&self) -> bool {
        let rules = self.rules.iter();
        let mut written = rules.map(|rule| &rule.to).chain(&self.prefix);
        self.rules.iter().any(|rule| rule.shared) || written.any(|to| to.as_str().contains("${"))
    }

    /// Compiles the map before a broker of this dialect. The prefix is its last rule.
    ///
    /// # Errors
    ///
    /// It cannot be reversed, or the broker reads a text in it differently.
    pub fn compile(&self, dialect: Dialect) -> Result<topic_map::TopicMap, TopicMapError> {
        let mut map = topic_map::TopicMap::builder();
        for rule in &self.rules {
            let written = MapRule::new(rule.from.as_str(), rule.to.as_str());
            map = map.rule(written.shared(rule.shared).writable(rule.writable));
        }
        if let Some(prefix) = &self.prefix {
            map = map.rule(MapRule::new("", prefix.as_str()));
        }
        map.dialect(with_forms(dialect, self.vendor))
            .tenant_groups(self.group_prefix)
            .super_usernames(self.super_clients.usernames.iter().map(String::as_str))
            .super_client_ids(self.super_clients.client_ids.iter().map(String::as_str))
            .build()
    }
}

const AS_THEY_STAND: &str = "names are compared literally";

impl TopicMap {
    /// Checks a topic map, and that it can be reversed.
    pub(super) fn check(cx: &mut Context, at: At<'_>, keys: &TopicMapKeys) -> Option<Self> {
        let header = at.header;
        if keys.prefix.given.is_none() && keys.rules.is_empty() {
            let message = "a topic-map without `prefix` and without `rules`";
            let label = "add, for example, `prefix = \"tenants/${username}/\"`";
            cx.push(Diagnostic::error(message).at(header.clone()).label(label));
            return None;
        }
        let mut rules = Vec::new();
        let mut mistaken = false;
        for file in keys.rules.iter() {
            rules.extend(rule(cx, file, &mut mistaken));
        }
        let prefix = template(cx, &keys.prefix, &mut mistaken);
        let complete =
            rules.len() == keys.rules.len() && prefix.is_some() == keys.prefix.given.is_some();
        let clients = &keys.super_clients;
        let usernames = literal(cx, &clients.usernames, AS_THEY_STAND);
        let client_ids = literal(cx, &clients.client_ids, AS_THEY_STAND);
        let clients = SuperClients::read(cx, clients, usernames, client_ids);
        let map = Self::read(cx, keys, prefix, clients, rules);
        // missing keys were reported, and may be why the rest is wrong
        if complete && let Err(error) = map.compile(Dialect::MQTT) {
            report(cx, keys, &error, header);
            return None;
        }
        if complete && !mistaken && !map.keeps_apart() {
            all_meet(cx, keys, header);
        }
        complete.then_some(map)
    }
}

fn all_meet(cx: &mut Context, keys: &TopicMapKeys, header: &Range<usize>) {
    let message = "all clients of this topic-map share the same topics: it has no placeholder";
    let span = keys.prefix.span().unwrap_or_else(|| header.clone());
    let warning = Diagnostic::warning(message).at(span);
    let label = "add a placeholder, for example `${username}/`";
    let note = "if that is intended, write a rule with `shared = true`, and `writable = true` if they publish there";
    cx.push(warning.label(label).note(note));
}

fn rule(
    cx: &mut Context,
    file: &Located<TopicMapRuleKeys>,
    mistaken: &mut bool,
) -> Option<TopicMapRule> {
    let keys = &file.value;
    for (key, given) in [("from", &keys.from.given), ("to", &keys.to.given)] {
        if given.is_none() {
            let message = format!("a rule of a topic-map without `{key}`");
            let label =
                "add, for example, `from = \"devices/\"` and `to = \"${username}/devices/\"`";
            let error = Diagnostic::error(message).at(file.span.clone());
            cx.push(error.label(label));
        }
    }
    // What clients write has no placeholders.
    let (from, to) = (cx.given(&keys.from), template(cx, &keys.to, mistaken));
    let complete = from.is_some() && to.is_some();
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let rule = TopicMapRule::read(cx, keys, from, to);
    if let (false, Some(span)) = (rule.shared, keys.writable.span()) {
        let own = rule.to.as_str().contains("${");
        let message = "`writable` is for rules with `shared = true`";
        let label = match own {
            true => "remove it; clients may publish to their own topics",
            false => "add `shared = true`",
        };
        cx.push(Diagnostic::error(message).at(span).label(label));
        if !own {
            // Otherwise another error would say again that the rule is not shared.
            return None;
        }
    }
    complete.then_some(rule)
}

/// A value with placeholders. Checks that each can have a value, and looks for text
/// that was meant to be a placeholder.
fn template<T: Scalar<Value = Template>>(
    cx: &mut Context,
    setting: &Setting<T>,
    mistaken: &mut bool,
) -> Option<Template> {
    let template = cx.given(setting)?;
    if let Some(span) = setting.span() {
        *mistaken |= placeholders::check(cx, &template, &span, Known::All);
    }
    Some(template)
}

/// Reports why the rules are not a map, and what to write instead.
fn report(cx: &mut Context, keys: &TopicMapKeys, error: &TopicMapError, header: &Range<usize>) {
    let from = |number: usize| keys.rules.get(number).and_then(|it| it.value.from.span());
    let to = |number: usize| match keys.rules.get(number) {
        Some(rule) => rule.value.to.span(),
        None => keys.prefix.span(),
    };
    let (place, label) = match error.problem() {
        MapProblem::Ambiguous { .. } => (to, "give each placeholder a level of its own"),
        MapProblem::Repeated { .. } => (to, "remove the second one"),
        MapProblem::NotShared(_) => (to, "add a placeholder, or `shared = true`"),
        MapProblem::Shared(_) => (to, "remove `shared`"),
        MapProblem::Collision(_) => (to, "choose another place"),
        MapProblem::TooMany => (to, "at most 64"),
        MapProblem::FromPlaceholder(_) => {
            let span = from(error.rule()).unwrap_or_else(|| header.clone());
            let label = "write the topic as clients write it";
            let error = Diagnostic::error(error.to_string()).at(span);
            return cx.push(error.label(label));
        }
        MapProblem::Unreachable { .. } => {
            let place = |number| from(number).or_else(|| keys.prefix.span());
            let span = place(error.rule()).unwrap_or_else(|| header.clone());
            let report = Diagnostic::error(error.to_string()).at(span);
            let report = report.label("put it before the other one, or remove it");
            let other = error.other().and_then(place);
            return cx.push(report.related(other, "the first match wins"));
        }
        // errors in single values were reported before
        _ => (to, "not a map of topics"),
    };
    let span = place(error.rule()).unwrap_or_else(|| header.clone());
    let report = Diagnostic::error(error.to_string()).at(span).label(label);
    cx.push(report.related(error.other().and_then(to), "the other rule"));
}

impl LayerConfig for TopicMap {
    const TYPE: &'static str = "topic-map";
    const JUDGES: bool = true;
    const REFUSES_WILLS: bool = true;
    type Layer<O: Observer> = TopicMapLayer<O>;
    type ToServer<S, O: Observer> = Heads<TopicMapToServer<Tap<S>, O>>;
    type ToClient<S, O: Observer> = Heads<TopicMapToClient<Tap<S>, O>>;

    fn build<O: Observer>(&self, place: Place<O>) -> Result<Built<TopicMapLayer<O>>, BoxError> {
        let map = self.compile(place.dialect)?;
        let by_names = map.goes_by_names();
        let layer = TopicMapLayer::new(map)
            .denied_will(self.will)
            .log_denials(place.logs_denials)
            .pass_reauthentication(self.reauthentication.passes())
            .observer(place.observer);
        Ok(self.reauthentication.built(layer, by_names))
    }
}
