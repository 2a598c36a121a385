//! What the broker delivers.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mproxy_session::{Packet, Verdict};
use pin_project_lite::pin_project;
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
        DeliveryFuture {
            future: self.inner.call(packet),
            shared: self.shared.clone(),
        }
    }
}

pin_project! {
    /// The response future of [`PropertyEditToClient`].
    #[derive(Debug)]
    pub struct DeliveryFuture<F, O = ()> {
        #[pin]
        future: F,
        shared: Option<Arc<Shared<O>>>,
    }
}

impl<F, E, O> Future for DeliveryFuture<F, O>
where
    F: Future<Output = Result<Verdict, E>>,
    O: Observer,
{
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(match (this.shared, verdict) {
            (Some(shared), Verdict::Forward(mut packet)) => match shared.edit(&mut packet) {
                Ok(()) => Verdict::Forward(packet),
                // what must not be seen is not delivered
                Err(_) => {
                    shared.observer.dropped(packet.kind());
                    Verdict::Discard
                }
            },
            (_, verdict) => verdict,
        }))
    }
}
