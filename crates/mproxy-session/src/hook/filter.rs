//! [`FilterLayer`]: a synchronous yes or no.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Packet, Refusal, Verdict};

/// Asks a closure about each packet: `Ok(())` lets it go inward, `Err` refuses it.
///
/// Unboxed and without allocation.
///
/// ```
/// use mproxy_session::{FilterLayer, Forward, Refusal, Tap};
/// use mproxy_codec::{KindSet, ReasonCode};
/// use tower_layer::Layer;
///
/// let no_secrets = FilterLayer::new(|packet: &mproxy_session::Packet| {
///     match packet.publish() {
///         Some(publish) if publish.topic().starts_with("secret/") =>
///             Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
///         _ => Ok(()),
///     }
/// });
/// let tap = Tap::only(KindSet::PUBLISH, no_secrets.layer(Forward)).head_only();
/// # let _ = tap;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FilterLayer<F> {
    judge: F,
}

impl<F> FilterLayer<F>
where
    F: FnMut(&Packet) -> Result<(), Refusal>,
{
    /// A layer that asks `judge`.
    pub const fn new(judge: F) -> Self {
        Self { judge }
    }
}

impl<S, F: Clone> Layer<S> for FilterLayer<F> {
    type Service = Filter<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Filter {
            inner,
            judge: self.judge.clone(),
        }
    }
}

/// See [`FilterLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Filter<S, F> {
    inner: S,
    judge: F,
}

impl<S, F> Service<Packet> for Filter<S, F>
where
    S: Service<Packet, Response = Verdict>,
    F: FnMut(&Packet) -> Result<(), Refusal>,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = FilterFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        match (self.judge)(&packet) {
            Ok(()) => FilterFuture::inner(self.inner.call(packet)),
            Err(refusal) => FilterFuture::verdict(Verdict::Refuse(refusal)),
        }
    }
}

pin_project_lite::pin_project! {
    /// A verdict that is ready, or the inner service's future.
    #[derive(Debug)]
    pub struct FilterFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Inner { #[pin] future: F },
        Verdict { verdict: Option<Verdict> },
    }
}

impl<F> FilterFuture<F> {
    /// Waits for the inner service.
    #[inline]
    pub const fn inner(future: F) -> Self {
        Self {
            state: State::Inner { future },
        }
    }

    /// Is ready with a verdict.
    #[inline]
    #[must_use]
    pub const fn verdict(verdict: Verdict) -> Self {
        Self {
            state: State::Verdict {
                verdict: Some(verdict),
            },
        }
    }
}

impl<F, E> Future for FilterFuture<F>
where
    F: Future<Output = Result<Verdict, E>>,
{
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future } => future.poll(cx),
            // polled after completion: discarding is the safe answer
            StateProj::Verdict { verdict } => {
                Poll::Ready(Ok(verdict.take().unwrap_or(Verdict::Discard)))
            }
        }
    }
}
