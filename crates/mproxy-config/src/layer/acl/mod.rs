//! `type = "acl"`: who may publish and subscribe where.

mod rule;

pub use rule::{AclRule, AclWho};

pub(crate) use rule::RuleKeys;

use super::{At, Built, LayerConfig, Place, Reauthentication};
use crate::context::Context;
use crate::scalar::with_forms;
use crate::section::{Flags, Tables, section};
use crate::validate::{gaps, shadow};
use mproxy_codec::topic::{Dialect, VendorForms};
use mproxy_layers::acl::{
    self, AclError, AclLayer, AclToClient, AclToServer, Effect, OnDeny, SubscribePolicy,
};
use mproxy_layers::{DeniedWill, Observer};
use mproxy_session::{BoxError, Heads, Tap};

section! {
    /// Who may publish and subscribe where. The first rule that matches decides.
    ///
    /// The broker checks user names, and refuses a client before any of its packets passes. Only a layer of
    /// type client-id checks client ids. Without such a layer, any client can claim any client id, so a rule
    /// with client ids protects nothing.
    Acl, AclKeys in "[layers.NAME] of type \"acl\"" layer "acl",
        reload "at once, for connected clients too"
    {
        /// What happens when no rule matches: "deny" or "allow".
        default: Effect = "deny";
        /// How mproxy answers a subscription wider than the rules: "strict" or "mosquitto".
        ///
        /// strict: it refuses the subscription in SUBACK. mosquitto: it accepts the subscription and filters
        /// deliveries.
        ///
        /// Shared subscriptions ($share, $queue, $oshare) and $exclusive are always strict: if a client joined a
        /// group whose messages it may not read, the group would lose its share. Deliveries to a session that
        /// can be resumed are always filtered, because the client may have subscribed under other rules.
        subscribe: SubscribePolicy = "strict";
        /// What a denied client learns: "reject", "drop" or "disconnect".
        ///
        /// reject: reason code 0x87 (MQTT 5); in 3.1.1 mproxy acknowledges the message and drops it. drop:
        /// mproxy acknowledges and drops in all versions. disconnect: mproxy closes the connection.
        on_deny: OnDeny = "reject";
        /// A client whose will is denied: "refuse" (not let in) or "strip" (let in without its will).
        will: DeniedWill = "refuse";
        /// Judge Response Topics (MQTT 5) as if the client published there.
        ///
        /// A Response Topic, in a PUBLISH or in a will, makes another client publish there.
        check_response_topics: bool = false;
        /// Topic forms beyond the standard that the broker supports.
        ///
        /// "queue" ($queue/f), "exclusive" ($exclusive/f), "delayed" ($delayed/5/t) and "oshare"
        /// ($oshare/g/f). The acl judges the topic inside. Without this key, such a topic is like any other
        /// that begins with `$`: denied unless a rule names it.
        vendor: VendorForms as Flags<VendorForms> = [];
        /// Whether an MQTT 5 client may authenticate again while it is connected: "refuse" or "pass".
        ///
        /// This matters if the layer uses client ids or user names. refuse: mproxy closes the client with
        /// 0x8C, because for the broker it may be another user afterwards, while the layer would still know
        /// it by its old names. pass: for brokers that keep the names, or if it does not matter. Rules that
        /// are the same for all clients let the packet pass.
        reauthentication: Reauthentication = "refuse";
        /// The rules; the first that matches decides.
        rules: Vec<AclRule> as Tables<AclRule>, given rules;
    }
    reserved {
        "files": "write the rules here, as [[layers.NAME.rules]]";
        "recheck_on_reload": "remove it";
        "super": "write a rule that allows `topics = [\"#\"]`, with `usernames`";
    }
}

impl Acl {
    /// Compiles the rules before a broker of this dialect.
    ///
    /// # Errors
    ///
    /// The broker reads a pattern differently from how it is written.
    pub fn compile(&self, dialect: Dialect) -> Result<acl::Acl, AclError> {
        let mut builder = acl::Acl::builder();
        builder.dialect(with_forms(dialect, self.vendor));
        builder.default_effect(self.default);
        for rule in &self.rules {
            builder.rule(rule.compile())?;
        }
        Ok(builder.build())
    }

    /// Checks an access control list.
    pub(super) fn check(cx: &mut Context, at: At<'_>, keys: &AclKeys) -> Option<Self> {
        let At { name, header } = at;
        let mut acl = Self::read(cx, keys, Vec::new());
        let mut rules = Vec::new();
        for (index, file) in keys.rules.iter().enumerate() {
            rules.extend(
                rule::rule(cx, index, file, acl.vendor).map(|rule| (file.span.clone(), rule)),
            );
        }
        let index = shadow::unreachable(cx, &rules);
        gaps::check(cx, acl.default, &keys.rules, &rules, &index);
        let idle = match acl.default {
            Effect::Deny if keys.rules.is_empty() => Some("denies everything"),
            Effect::Allow if rules.iter().all(|(_, rule)| rule.allows()) => Some("denies nothing"),
            _ => None,
        };
        if let Some(what) = idle {
            let label = format!("add [[layers.{name}.rules]]");
            cx.idle(header, format!("acl `{name}` {what}"), label);
        }
        acl.rules = rules.into_iter().map(|(_, rule)| rule).collect();
        Some(acl)
    }
}

impl LayerConfig for Acl {
    const TYPE: &'static str = "acl";
    const JUDGES: bool = true;
    const REFUSES_WILLS: bool = true;
    type Layer<O: Observer> = AclLayer<O>;
    type ToServer<S, O: Observer> = Heads<AclToServer<Tap<S>, O>>;
    type ToClient<S, O: Observer> = Heads<AclToClient<Tap<S>, O>>;

    fn build<O: Observer>(&self, place: Place<O>) -> Result<Built<AclLayer<O>>, BoxError> {
        let rules = self.compile(place.dialect)?;
        let by_names = rules.goes_by_names();
        let layer = AclLayer::new(rules)
            .subscribe_policy(self.subscribe)
            .on_deny(self.on_deny)
            .denied_will(self.will)
            .check_response_topics(self.check_response_topics)
            .log_denials(place.logs_denials)
            .pass_reauthentication(self.reauthentication.passes())
            .observer(place.observer);
        Ok(self.reauthentication.built(layer, by_names))
    }
}
