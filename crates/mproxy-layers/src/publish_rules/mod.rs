//! What a PUBLISH may be like, topic by topic: its quality of service, its RETAIN flag, its size.
//!
//! Rules are asked in their order, and the first with a matching topic filter decides. A PUBLISH that no
//! rule matches goes on as it is. The rules hold for all clients, and for wills as well: a will is a
//! PUBLISH in advance.
//!
//! | setting | PUBLISH | will |
//! |---|---|---|
//! | [`at_most_once`](PublishRule::at_most_once) | goes on at QoS 0 | is left at QoS 0 |
//! | [`Retain::Clear`] | goes on without RETAIN | the same |
//! | [`Retain::Refuse`] | refused, 0x87 Not authorized | refused, 0x9A Retain not supported |
//! | [`max_payload`](PublishRule::max_payload) | refused, 0x97 Quota exceeded | the same |
//!
//! The reason codes are those that the standard has at that place. PUBACK and PUBREC have neither 0x95
//! Packet too large nor 0x9A, which are for CONNACK and DISCONNECT. 0x97 says that "an implementation or
//! administrative imposed limit has been exceeded" and is in all of them. 0x99 Payload format invalid is
//! about Payload Format Indicator, and not about size. Before MQTT 5.0 a refused PUBLISH is acknowledged
//! and dropped.
//!
//! A client gets the acknowledgements that it waits for: at QoS 0 the broker sends none, and the session
//! sends them as soon as the message is on its way. So the message may be lost where the client
//! believes that it arrived, as with every message of QoS 0. There is no rule that makes QoS 1 of QoS 2:
//! their acknowledgements differ, and a session cannot translate them. The client is not told a Maximum
//! QoS in CONNACK, which would hold for all topics.

mod layer;
mod rules;
mod to_server;

pub use self::{
    layer::PublishRulesLayer,
    rules::{PublishRule, PublishRuleError, PublishRules, PublishRulesBuilder, Retain},
    to_server::PublishRulesToServer,
};
