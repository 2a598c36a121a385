//! [`Heads`]: a service without payloads, in a stack that may need them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{HeadOnly, Packet, PacketHead, Verdict};

/// Offers a service only the heads of PUBLISH packets:
/// [`Tap::head_only`](crate::Tap::head_only) and [`Tap::wrap_heads`](crate::Tap::wrap_heads) make one.
#[derive(Clone, Copy, Debug)]
pub struct Heads<S> {
    service: S,
}

impl<S> Heads<S> {
    pub(super) const fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S: Service<PacketHead, Response = Verdict<HeadOnly>>> Service<Packet> for Heads<S> {
    type Response = Verdict;
    type Error = S::Error;
    type Future = HeadsFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        HeadsFuture {
            future: self.service.call(packet.cast()),
        }
    }
}

pin_project! {
    /// The response future of [`Heads`].
    #[derive(Debug)]
    pub struct HeadsFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future<Output = Result<Verdict<HeadOnly>, E>>, E> Future for HeadsFuture<F> {
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let verdict = self.project().future.poll(cx);
        verdict.map(|verdict| verdict.map(Verdict::cast))
    }
}
