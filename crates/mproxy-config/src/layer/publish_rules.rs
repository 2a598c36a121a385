//! `type = "publish-rules"`: what a PUBLISH may be like, topic by topic.

use super::{Built, LayerConfig, Place};
use crate::choice::Choice;
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
use std::ops::Range;

section! {
    /// Limits on what clients publish: QoS, retained messages, size. The first rule with a matching
    /// topic decides.
    PublishRules, PublishRulesKeys in "[layers.NAME] of type \"publish-rules\"" layer "publish-rules" {
        /// A client whose will breaks a rule. refuse: it is not let in; strip: it is let in without its
        /// will.
        will: DeniedWill = "refuse";
        /// Forms beyond the standard that the broker knows; the rules look at the topic inside.
        vendor: VendorForms as Flags<VendorForms> = [];
        /// The rules; the first that matches decides, and a message that none matches passes.
        rules: Vec<PublishRule> as Tables<PublishRule>, given rules;
    }
}

section! {
    /// What messages to some topics may be like.
    PublishRule, PublishRuleKeys in "[[layers.NAME.rules]] of a layer of type \"publish-rules\"" {
        /// Topic filters.
        topics: Vec<String> as Listing<PlainFilter> = [];
        /// Highest QoS. 0: messages go on at QoS 0, and mproxy sends the acknowledgements that the client
        /// waits for; 2: any.
        max_qos: QoS as Setting<MaxQos> = 2;
        /// Messages that the broker would keep for later subscribers. allow: they pass; clear: they pass,
        /// and the broker does not keep them; refuse: 0x87 Not authorized (MQTT 5), dropped (3.1.1).
        retain: Retain = "allow";
        /// Largest payload; a larger one is refused with 0x97 Quota exceeded (MQTT 5), or dropped
        /// (3.1.1). 256MiB = any.
        max_payload: usize as Setting<Size> = "256MiB", check bounds::payload_size;
    }
}

impl Choice for Retain {
    const ALL: &'static [(&'static str, Self)] = &[
        ("allow", Self::Allow),
        ("clear", Self::Clear),
        ("refuse", Self::Refuse),
    ];
}

impl PublishRules {
    pub(super) fn check(
        cx: &mut Context,
        name: &str,
        keys: &PublishRulesKeys,
        header: &Range<usize>,
    ) -> Option<Self> {
        let mut rules = Vec::new();
        for file in keys.rules.iter() {
            if file.value.topics.is_empty() {
                let error = Diagnostic::error("a rule without `topics`").at(file.span.clone());
                cx.push(error.label("add `topics = [...]`; \"#\" stands for all"));
            }
            rules.push(PublishRule::read(cx, &file.value));
        }
        if rules.is_empty() {
            let message = format!("layer `{name}` limits nothing");
            let label = "add [[layers.NAME.rules]]";
            cx.push(Diagnostic::warning(message).at(header.clone()).label(label));
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
