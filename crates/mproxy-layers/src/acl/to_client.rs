//! What the broker delivers.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mproxy_codec::Kind;
use mproxy_session::{Packet, ReviewFuture, Reviewer, Verdict};
use tower_service::Service;

use super::shared::Shared;
use crate::{Action, Observer};

/// The packet service that judges what is delivered to a client.
///
/// It asks the services inside first, and judges what they forward.
#[derive(Debug)]
pub struct AclToClient<S, O = ()> {
    inner: S,
    /// `None` if deliveries are not judged.
    shared: Option<Arc<Shared<O>>>,
}

impl<S, O> AclToClient<S, O> {
    pub(super) const fn new(inner: S, shared: Option<Arc<Shared<O>>>) -> Self {
        Self { inner, shared }
    }
}

impl<S, O> Service<Packet> for AclToClient<S, O>
where
    S: Service<Packet, Response = Verdict>,
    O: Observer,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = DeliveryFuture<S::Future, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        ReviewFuture::new(self.inner.call(packet), self.shared.clone())
    }
}

/// The response future of [`AclToClient`].
pub type DeliveryFuture<F, O = ()> = ReviewFuture<F, Arc<Shared<O>>>;

impl<O: Observer> Reviewer for Shared<O> {
    #[inline]
    fn review(&self, packet: Packet) -> Verdict {
        let Some(publish) = packet.publish() else {
            return match packet.kind() {
                // It does not let itself be taken apart.
                Kind::Publish => Verdict::Discard,
                _ => Verdict::Forward(packet),
            };
        };
        let verdict = self.client.judge_deliver(publish.topic_bytes());
        let settled = self.settle(Action::Deliver, verdict, || publish.topic());
        settled.unwrap_or(Verdict::Forward(packet))
    }
}
