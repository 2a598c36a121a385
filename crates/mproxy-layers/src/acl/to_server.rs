//! Packets from the client.

use std::sync::Arc;

use mproxy_codec::{Kind, ReasonCode, Subscription};
use mproxy_session::{Filter, HeadOnly, Judge, PacketHead, Verdict};

use super::{
    OnDeny, SubscribePolicy, layer::response_topic, memory::Memory, session::is_shared,
    shared::Shared,
};
use crate::{Action, Observer, observe::Of, unwritable::Sent};

/// The packet service that judges what a client publishes and subscribes to.
pub type AclToServer<S, O = ()> = Filter<S, AclJudge<O>>;

/// The rules of a session, and the last verdict.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct AclJudge<O> {
    pub(super) shared: Arc<Shared<O>>,
    pub(super) memory: Memory,
}

impl<O: Observer> Judge<HeadOnly> for AclJudge<O> {
    #[inline]
    fn judge(&mut self, packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        match packet.kind() {
            Kind::Publish => match self.judge_publish(&packet) {
                None => Ok(packet),
                Some(verdict) => Err(verdict),
            },
            Kind::Subscribe => self.judge_subscribe(packet),
            _ => Ok(packet),
        }
    }
}

impl<O: Observer> AclJudge<O> {
    /// Returns the verdict on a PUBLISH or will that is not forwarded.
    #[inline]
    fn judge_publish(&mut self, packet: &PacketHead) -> Option<Verdict<HeadOnly>> {
        let Some(publish) = packet.publish() else {
            return Some(unjudgeable(&self.shared.observer, packet));
        };
        let shared = &self.shared;
        let action = if packet.is_will() {
            Action::Will
        } else {
            Action::Publish
        };
        if let Some(topic) = response_topic(shared.settings, &publish.properties()) {
            let verdict = shared.client.judge_publish(topic.as_bytes());
            if !verdict.allowed() {
                return shared.settle(action, verdict, Of::Response, || topic);
            }
        }
        let verdict = self
            .memory
            .judge_publish(&shared.client, publish.topic_bytes());
        shared.settle(action, verdict, Of::Message, || publish.topic().as_str())
    }

    fn judge_subscribe(&self, mut packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        let shared = &self.shared;
        let strict = shared.settings.subscribe == SubscribePolicy::Strict;
        let mut denied = None;
        let left = packet.retain_filters(|Subscription { filter, .. }| {
            // Other clients lose the messages of this subscription, even if this client does not get them.
            if !strict && !is_shared(&filter) {
                shared.observer.decision(Action::Subscribe, true);
                return Ok(());
            }
            let verdict = shared.client.judge_subscribe(&filter);
            let Some(settled) =
                shared.settle(Action::Subscribe, verdict, Of::Message, || filter.as_str())
            else {
                return Ok(());
            };
            denied = Some(settled);
            Err(if verdict.is_malformed() {
                ReasonCode::TOPIC_FILTER_INVALID
            } else {
                ReasonCode::NOT_AUTHORIZED
            })
        });
        let disconnects = shared.settings.on_deny == OnDeny::Disconnect;
        match (left, denied) {
            (Err(_), _) => Err(unjudgeable(&shared.observer, &packet)),
            (Ok(_), Some(settled)) if disconnects => Err(settled),
            (Ok(0), None) if packet.subscribe().is_none() => {
                Err(unjudgeable(&shared.observer, &packet))
            }
            // The session answers if all filters are refused; inner layers need not see them.
            (Ok(0), _) => Err(Verdict::Forward(packet)),
            (Ok(_), _) => Ok(packet),
        }
    }
}

/// The verdict on a packet that cannot be parsed: it is not forwarded.
#[cold]
fn unjudgeable(observer: &impl Observer, packet: &PacketHead) -> Verdict<HeadOnly> {
    Sent::of(packet).count(observer);
    Verdict::refuse(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR)
}
