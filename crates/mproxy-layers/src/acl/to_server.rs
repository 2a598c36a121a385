//! What the client sends.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mproxy_codec::{Kind, ReasonCode};
use mproxy_session::{FilterFuture, HeadOnly, PacketHead, Verdict};
use tower_service::Service;

use super::{
    OnDeny, SubscribePolicy,
    layer::response_topic,
    session::{Memory, is_shared},
    shared::Shared,
};
use crate::{Action, Observer, observe::Of, unwritable::Sent};

/// The packet service that judges what a client publishes and subscribes to.
#[derive(Debug)]
pub struct AclToServer<S, O = ()> {
    inner: S,
    shared: Arc<Shared<O>>,
    memory: Memory,
}

impl<S, O> AclToServer<S, O> {
    pub(super) const fn new(inner: S, shared: Arc<Shared<O>>, memory: Memory) -> Self {
        Self {
            inner,
            shared,
            memory,
        }
    }
}

impl<S, O> Service<PacketHead> for AclToServer<S, O>
where
    S: Service<PacketHead, Response = Verdict<HeadOnly>>,
    O: Observer,
{
    type Response = Verdict<HeadOnly>;
    type Error = S::Error;
    type Future = FilterFuture<S::Future, HeadOnly>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut packet: PacketHead) -> Self::Future {
        let settled = match packet.kind() {
            Kind::Publish => self.judge_publish(&packet),
            Kind::Subscribe => match self.judge_subscribe(&mut packet) {
                Filters::Left => None,
                // The session answers for filters that are all refused; nobody inside needs to
                // see them.
                Filters::NoneLeft => return FilterFuture::verdict(Verdict::Forward(packet)),
                Filters::Settled(verdict) => Some(verdict),
            },
            _ => None,
        };
        match settled {
            None => FilterFuture::inner(self.inner.call(packet)),
            Some(verdict) => FilterFuture::verdict(verdict),
        }
    }
}

/// What is left of a SUBSCRIBE.
enum Filters {
    Left,
    NoneLeft,
    Settled(Verdict<HeadOnly>),
}

impl<S, O: Observer> AclToServer<S, O> {
    /// Returns the verdict on a PUBLISH that does not go on. A will is one, in advance.
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
        shared.settle(action, verdict, Of::Message, || publish.topic())
    }

    fn judge_subscribe(&self, packet: &mut PacketHead) -> Filters {
        let shared = &self.shared;
        let strict = shared.settings.subscribe == SubscribePolicy::Strict;
        let mut denied = None;
        let left = packet.retain_filters(|subscription| {
            // Others lose the messages that this client takes, even if it is not given them.
            if !strict && !is_shared(subscription.filter) {
                shared.observer.decision(Action::Subscribe, true);
                return Ok(());
            }
            let verdict = shared.client.judge_subscribe(subscription.filter);
            let Some(settled) = shared.settle(Action::Subscribe, verdict, Of::Message, || {
                subscription.filter
            }) else {
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
            (Err(_), _) => Filters::Settled(unjudgeable(&shared.observer, packet)),
            (Ok(_), Some(settled)) if disconnects => Filters::Settled(settled),
            (Ok(0), None) if packet.subscribe().is_none() => {
                Filters::Settled(unjudgeable(&shared.observer, packet))
            }
            (Ok(0), _) => Filters::NoneLeft,
            (Ok(_), _) => Filters::Left,
        }
    }
}

/// The verdict on a packet that does not let itself be taken apart: nothing of it goes on.
#[cold]
fn unjudgeable(observer: &impl Observer, packet: &PacketHead) -> Verdict<HeadOnly> {
    Sent::of(packet).count(observer);
    Verdict::refuse(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR)
}
