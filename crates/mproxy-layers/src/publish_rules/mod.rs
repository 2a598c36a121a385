//! Limits on PUBLISH per topic: quality of service, RETAIN flag and size.
//!
//! The first rule with a matching topic filter decides. A PUBLISH that no rule matches is forwarded
//! unchanged. The rules apply to all clients, and to wills as well.
//!
//! | setting | PUBLISH | will |
//! |---|---|---|
//! | [`at_most_once`](PublishRule::at_most_once) | forwarded at QoS 0 | set to QoS 0 |
//! | [`Retain::Clear`] | forwarded without RETAIN | the same |
//! | [`Retain::Refuse`] | refused, 0x87 Not authorized | refused, 0x9A Retain not supported |
//! | [`max_payload`](PublishRule::max_payload) | refused, 0x97 Quota exceeded | the same |
//!
//! These are the reason codes that the standard allows there. PUBACK and PUBREC have neither 0x95
//! Packet too large nor 0x9A, which are for CONNACK and DISCONNECT. 0x97 says that "an implementation or
//! administrative imposed limit has been exceeded", and all of these packets have it. 0x99 Payload format
//! invalid is about Payload Format Indicator, not about size. Before MQTT 5.0, a refused PUBLISH is
//! acknowledged and dropped.
//!
//! A client gets the acknowledgements that it waits for: at QoS 0 the broker sends none, so the session
//! sends them as soon as it has forwarded the message. The message may then be lost although the client
//! believes that it arrived. No rule lowers QoS 2 to QoS 1: their acknowledgements differ, and a session
//! cannot translate them. CONNACK gets no Maximum QoS, because that would apply to all topics.

mod layer;
mod rules;
mod to_server;

pub use self::{
    layer::PublishRulesLayer,
    rules::{PublishRule, PublishRuleError, PublishRules, PublishRulesBuilder, Retain},
    to_server::PublishRulesToServer,
};
