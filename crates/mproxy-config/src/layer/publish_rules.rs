//! `type = "publish-rules"`: what a PUBLISH may be like, topic by topic.

use super::{At, Built, LayerConfig, Place};
use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::{MaxQos, PlainFilter, Size, with_forms};
use crate::section::{Flags, Listing, Setting, Tables, section};
use crate::validate::bounds;
use mproxy_codec::QoS;
use mproxy_codec::topic::VendorForms;
use mproxy_layers::publish_rules::{
    self as rules, PublishRulesLayer, PublishRulesToServer, Retain,
};
use mproxy_layers::{DeniedWill, Observer};
use mproxy_session::{BoxError, Heads, Tap};

section! {
    /// Limits on what clients publish. The first rule with a matching topic decides.
    ///
    /// A message that no rule matches passes. mproxy answers a refused message with a reason code in MQTT 5;
    /// in 3.1.1 it acknowledges and drops it. The rules are the same for all clients.
    PublishRules, PublishRulesKeys in "[layers.NAME] of type \"publish-rules\"" layer "publish-rules",
        reload "at once, for connected clients too"
    {
        /// A client whose will breaks a rule: "refuse" (not let in) or "strip" (let in without its will).
        will: DeniedWill = "refuse";
        /// Topic forms beyond the standard that the broker supports; rules look at the topic inside.
        ///
        /// The values are those of an acl.
        vendor: VendorForms as Flags<VendorForms> = [];
        /// The rules; the first that matches decides, and a message that none matches passes.
        rules: Vec<PublishRule> as Tables<PublishRule>, given rules;
    }
}

section! {
    /// Limits on messages to some topics.
    PublishRule, PublishRuleKeys in "[[layers.NAME.rules]] of a layer of type \"publish-rules\"",
        reload "at once, for connected clients too"
    {
        /// Topic filters.
        topics: Vec<String> as Listing<PlainFilter> = [];
        /// Highest QoS at the broker: 0, or 2 for any.
        ///
        /// 0: messages of QoS 1 and 2 go to the broker at QoS 0, and mproxy acknowledges them to the client. A
        /// message that is lost on the way is not sent again. 1 is not possible: QoS 2 cannot become QoS 1.
        max_qos: QoS as Setting<MaxQos> = 2;
        /// Retained messages: "allow", "clear" (not retained) or "refuse".
        ///
        /// clear: they pass, and the broker does not retain them. refuse: 0x87 (MQTT 5); a client with such a
        /// will is refused with 0x9A.
        retain: Retain = "allow";
        /// Largest payload; mproxy refuses a larger one with 0x97. "256MiB" = any.
        max_payload: usize as Setting<Size> = "256MiB", check bounds::payload_size;
    }
}

words! {
    Retain { "allow": Allow, "clear": Clear, "refuse": Refuse, }
}

impl PublishRules {
    pub(super) fn check(cx: &mut Context, at: At<'_>, keys: &PublishRulesKeys) -> Option<Self> {
        let At { name, header } = at;
        let mut rules = Vec::new();
        for file in keys.rules.iter() {
            if file.value.topics.is_empty() {
                let error = Diagnostic::error("a rule without `topics`").at(file.span.clone());
                cx.push(error.label("add `topics = [...]`; \"#\" stands for all"));
            }
            rules.push(PublishRule::read(cx, &file.value));
        }
        if rules.is_empty() {
            let label = format!("add [[layers.{name}.rules]]");
            cx.idle(header, format!("layer `{name}` limits nothing"), label);
        }
        Some(Self::read(cx, keys, rules))
    }
}

impl LayerConfig for PublishRules {
    const TYPE: &'static str = "publish-rules";
    const REFUSES_WILLS: bool = true;
    type Layer<O: Observer> = PublishRulesLayer<O>;
    type ToServer<S, O: Observer> = Heads<PublishRulesToServer<Tap<S>, O>>;
    type ToClient<S, O: Observer> = S;

    fn build<O: Observer>(&self, place: Place<O>) -> Result<Built<PublishRulesLayer<O>>, BoxError> {
        let mut rules =
            rules::PublishRules::builder().dialect(with_forms(place.dialect, self.vendor));
        for rule in &self.rules {
            let written = rules::PublishRule::new(&rule.topics)
                .at_most_once(rule.max_qos == QoS::AtMostOnce)
                .retain(rule.retain)
                .max_payload(rule.max_payload);
            rules = rules.rule(written)?;
        }
        let layer = PublishRulesLayer::new(rules.build())
            .denied_will(self.will)
            .log_denials(place.logs_denials)
            .observer(place.observer);
        Ok(Built::indifferent(layer))
    }
}
