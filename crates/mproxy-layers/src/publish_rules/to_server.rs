//! Packets from the client.

use std::fmt;

use mproxy_codec::{Kind, PublishEdit, QoS, ReasonCode};
use mproxy_session::{Filter, HeadOnly, Judge, PacketHead, Refusal, SessionInfo, Verdict};

use super::{PublishRule, PublishRules, Retain};
use crate::{
    Action, DeniedWill, Observer,
    denials::Denials,
    observe::{Of, of_layer},
    unwritable::{Sent, refuse},
};

/// The packet service that applies the rules to what a client publishes.
pub type PublishRulesToServer<S, O = ()> = Filter<S, PublishJudge<O>>;

/// What a session needs.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct PublishJudge<O> {
    pub(super) rules: PublishRules,
    pub(super) info: SessionInfo,
    pub(super) will: DeniedWill,
    pub(super) logs: bool,
    pub(super) observer: O,
    pub(super) denials: Denials,
}

impl<O: Observer> Judge<HeadOnly> for PublishJudge<O> {
    #[inline]
    fn judge(&mut self, mut packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        match self.settle(&mut packet) {
            None => Ok(packet),
            Some(verdict) => Err(verdict),
        }
    }
}

/// Why a PUBLISH is refused.
#[derive(Debug, Clone, Copy)]
enum Why<'a> {
    /// The broker would retain it.
    Retained(&'a PublishRule),
    /// Its payload has this many bytes.
    TooLarge(&'a PublishRule, usize),
    /// The broker reads its topic as none of the standard.
    Unreadable,
}

impl<O: Observer> PublishJudge<O> {
    /// Changes a PUBLISH as its rule says, and returns the verdict if it is not forwarded.
    #[inline]
    fn settle(&self, packet: &mut PacketHead) -> Option<Verdict<HeadOnly>> {
        // only PUBLISH is asked for
        let publish = packet.publish()?;
        let (number, rule) = match self.rules.of(&publish.topic()) {
            Ok(None) => return None,
            Ok(Some(found)) => found,
            Err(_) => return Some(self.refuse(packet, usize::MAX, Why::Unreadable)),
        };
        let size = publish.payload_len();
        let (lowered, retained) = (publish.qos() != QoS::AtMostOnce, publish.retain());
        if retained && rule.retain == Retain::Refuse {
            return Some(self.refuse(packet, number, Why::Retained(rule)));
        }
        if size > rule.max_payload {
            return Some(self.refuse(packet, number, Why::TooLarge(rule, size)));
        }
        self.observer.decision(action(packet), true);
        let mut edit = PublishEdit::new();
        edit.at_most_once = lowered && rule.at_most_once;
        edit.retain = (retained && rule.retain == Retain::Clear).then_some(false);
        if !edit.at_most_once && edit.retain.is_none() {
            return None;
        }
        if let Err(error) = packet.edit_publish(&edit) {
            return Some(refuse(&self.observer, Sent::of(packet), error));
        }
        if !packet.is_will() {
            self.observer.modified(Kind::Publish);
        }
        None
    }

    #[cold]
    fn refuse(&self, packet: &PacketHead, number: usize, why: Why<'_>) -> Verdict<HeadOnly> {
        let topic = packet
            .publish()
            .map_or("", |publish| publish.topic().as_str());
        let action = action(packet);
        self.observer.decision(action, false);
        if action == Action::Will && self.will == DeniedWill::Refuse {
            let refusal = Refusal::new(why.reason());
            let refusal = refusal.with_text(Of::Message.will(topic, " is not allowed"));
            // The line about the refused client says everything.
            return Verdict::Refuse(of_layer(&self.observer, refusal, Some(&why)));
        }
        if self.logs {
            let why = Of::Message.explain(action, &why);
            let rule = u32::try_from(number).unwrap_or(u32::MAX);
            self.denials.note(&self.info, action, rule, topic, &why);
        }
        if action == Action::Will {
            return Verdict::Discard;
        }
        self.observer.dropped(Kind::Publish);
        Verdict::refuse(why.reason())
    }
}

fn action(packet: &PacketHead) -> Action {
    match packet.is_will() {
        true => Action::Will,
        false => Action::Publish,
    }
}

impl Why<'_> {
    /// The reason of CONNACK for a will. PUBACK and PUBREC have no 0x9A: there, the session says 0x87.
    const fn reason(self) -> ReasonCode {
        match self {
            Self::Retained(_) => ReasonCode::RETAIN_NOT_SUPPORTED,
            Self::TooLarge(..) => ReasonCode::QUOTA_EXCEEDED,
            Self::Unreadable => ReasonCode::TOPIC_NAME_INVALID,
        }
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retained(rule) => write!(
                f,
                "the rule for `{}` refuses messages with RETAIN",
                rule.name()
            ),
            Self::TooLarge(rule, size) => write!(
                f,
                "a payload of {size} bytes; the rule for `{}` allows {}",
                rule.name(),
                rule.max_payload
            ),
            Self::Unreadable => {
                f.write_str("the broker would read it as something that is not an MQTT topic")
            }
        }
    }
}
