//! [`ReviewLayer`]: decides after the services inside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{HeadOnly, Packet, PacketHead, Verdict, Whole};

layer! {
    /// Asks the services inside first, and lets a closure decide about what they forward.
    ///
    /// The other layers look at a packet on its way inward. That is the order for what a client sends,
    /// and the wrong one for what is delivered to it: there the layers inside, which are nearer to the
    /// broker, come first, so that a layer sees the same topics in both directions. What is not
    /// forwarded inside is not shown.
    ///
    /// ```
    /// use mproxy_codec::KindSet;
    /// use mproxy_session::{Forward, ReviewLayer, Tap, Verdict};
    /// use tower_layer::Layer;
    ///
    /// let no_secrets = ReviewLayer::heads(|packet| {
    ///     match packet.publish() {
    ///         Some(publish) if publish.topic().starts_with("secret/") => Verdict::Discard,
    ///         _ => Verdict::Forward(packet),
    ///     }
    /// });
    /// let tap = Tap::only(KindSet::PUBLISH, no_secrets.layer(Forward)).head_only();
    /// # let _ = tap;
    /// ```
    ReviewLayer<F>: Review<S, F> = |inner, decide| Review::new(inner, Some(decide))
}

impl<F> ReviewLayer<F> {
    /// A layer that calls `decide` with whole packets.
    pub const fn new(decide: F) -> Self
    where
        F: Fn(Packet) -> Verdict + Clone,
    {
        Self(decide)
    }

    /// A layer that calls `decide` with packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads(decide: F) -> Self
    where
        F: Fn(PacketHead) -> Verdict<HeadOnly> + Clone,
    {
        Self(decide)
    }
}

/// The service of [`ReviewLayer`], and of layers like it.
#[derive(Clone, Copy, Debug)]
pub struct Review<S, R> {
    inner: S,
    reviewer: Option<R>,
}

impl<S, R> Review<S, R> {
    /// Calls `inner`, and then the reviewer, if there is one.
    pub const fn new(inner: S, reviewer: Option<R>) -> Self {
        Self { inner, reviewer }
    }
}

impl<S, R, P> Service<Packet<P>> for Review<S, R>
where
    S: Service<Packet<P>, Response = Verdict<P>>,
    R: Reviewer<P> + Clone,
{
    type Response = Verdict<P>;
    type Error = S::Error;
    type Future = ReviewFuture<S::Future, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        ReviewFuture::new(self.inner.call(packet), self.reviewer.clone())
    }
}

/// Decides on a packet that the services inside have forwarded. Implemented by closures; a layer may
/// implement it for its shared state.
pub trait Reviewer<P = Whole> {
    /// Decides on the packet.
    fn review(&self, packet: Packet<P>) -> Verdict<P>;

    /// Decides about any verdict of the services inside. By itself it is asked about what they forward.
    #[inline]
    fn settle(&mut self, verdict: Verdict<P>) -> Verdict<P> {
        match verdict {
            Verdict::Forward(packet) => self.review(packet),
            verdict => verdict,
        }
    }
}

impl<P, F: Fn(Packet<P>) -> Verdict<P>> Reviewer<P> for F {
    #[inline]
    fn review(&self, packet: Packet<P>) -> Verdict<P> {
        self(packet)
    }
}

impl<P, R: Reviewer<P>> Reviewer<P> for Arc<R> {
    #[inline]
    fn review(&self, packet: Packet<P>) -> Verdict<P> {
        R::review(self, packet)
    }
}

pin_project! {
    /// The response future of [`Review`], and of packet services that also call the inner service first.
    #[derive(Debug)]
    pub struct ReviewFuture<F, R> {
        #[pin]
        future: F,
        reviewer: Option<R>,
    }
}

impl<F, R> ReviewFuture<F, R> {
    /// Waits for the inner service, and calls the reviewer, if there is one, with what is forwarded.
    #[inline]
    pub const fn new(future: F, reviewer: Option<R>) -> Self {
        Self { future, reviewer }
    }
}

impl<F, R, E, P> Future for ReviewFuture<F, R>
where
    F: Future<Output = Result<Verdict<P>, E>>,
    R: Reviewer<P>,
{
    type Output = Result<Verdict<P>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(match this.reviewer {
            Some(reviewer) => reviewer.settle(verdict),
            None => verdict,
        }))
    }
}
