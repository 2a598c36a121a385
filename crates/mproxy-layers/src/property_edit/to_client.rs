//! What the broker delivers.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mproxy_session::{Packet, ReviewFuture, Reviewer, Verdict};
use tower_service::Service;

use super::to_server::Shared;
use crate::Observer;

/// The packet service that edits what is delivered to a client.
///
/// It asks the services inside first, and edits what they forward.
#[derive(Debug)]
pub struct PropertyEditToClient<S, O = ()> {
    inner: S,
    /// `None` if nothing is edited.
    shared: Option<Arc<Shared<O>>>,
}

impl<S, O> PropertyEditToClient<S, O> {
    pub(super) const fn new(inner: S, shared: Option<Arc<Shared<O>>>) -> Self {
        Self { inner, shared }
    }
}

impl<S, O> Service<Packet> for PropertyEditToClient<S, O>
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

/// The response future of [`PropertyEditToClient`].
pub type DeliveryFuture<F, O = ()> = ReviewFuture<F, Arc<Shared<O>>>;

impl<O: Observer> Reviewer for Shared<O> {
    #[inline]
    fn review(&self, mut packet: Packet) -> Verdict {
        match self.edit(&mut packet) {
            Ok(()) => Verdict::Forward(packet),
            // what must not be seen is not delivered
            Err(_) => {
                self.observer.dropped(packet.kind());
                Verdict::Discard
            }
        }
    }
}
