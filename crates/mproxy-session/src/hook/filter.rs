//! [`FilterLayer`]: a synchronous yes or no, and [`Filter`], the service for any [`Judge`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::{Packet, PacketHead, Refusal, Verdict, Whole};

layer! {
    /// Asks a closure about each packet: `Ok(())` lets it go inward, `Err` refuses it.
    ///
    /// Unboxed and without allocation.
    ///
    /// ```
    /// use mproxy_session::{FilterLayer, Forward, Refusal, Tap};
    /// use mproxy_codec::{KindSet, ReasonCode};
    /// use tower_layer::Layer;
    ///
    /// // it needs no payload, and so does not make the session wait for one
    /// let no_secrets = FilterLayer::heads(|packet| {
    ///     match packet.publish() {
    ///         Some(publish) if publish.topic().starts_with("secret/") =>
    ///             Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
    ///         _ => Ok(()),
    ///     }
    /// });
    /// let tap = Tap::only(KindSet::PUBLISH, no_secrets.layer(Forward)).head_only();
    /// # let _ = tap;
    /// ```
    FilterLayer<F>: Filter<S, F> = Filter::new
}

impl<F> FilterLayer<F> {
    /// A layer that calls `judge` with whole packets.
    pub const fn new(judge: F) -> Self
    where
        F: FnMut(&Packet) -> Result<(), Refusal>,
    {
        Self(judge)
    }

    /// A layer that calls `judge` with packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads(judge: F) -> Self
    where
        F: FnMut(&PacketHead) -> Result<(), Refusal>,
    {
        Self(judge)
    }
}

/// Decides on a packet before the services inside see it. Implemented by closures that say yes or no, and by
/// types that a layer makes per session.
pub trait Judge<P = Whole> {
    /// Returns the packet that goes inward, changed or not, or a verdict without calling the
    /// services inside.
    fn judge(&mut self, packet: Packet<P>) -> Result<Packet<P>, Verdict<P>>;
}

impl<P, F: FnMut(&Packet<P>) -> Result<(), Refusal>> Judge<P> for F {
    #[inline]
    fn judge(&mut self, packet: Packet<P>) -> Result<Packet<P>, Verdict<P>> {
        match self(&packet) {
            Ok(()) => Ok(packet),
            Err(refusal) => Err(Verdict::Refuse(refusal)),
        }
    }
}

/// The service of layers that decide at once: it calls a [`Judge`], and then the services inside.
#[derive(Clone, Copy, Debug)]
pub struct Filter<S, J> {
    inner: S,
    judge: J,
}

impl<S, J> Filter<S, J> {
    /// Calls the judge, and then `inner` with what goes inward.
    pub const fn new(inner: S, judge: J) -> Self {
        Self { inner, judge }
    }
}

impl<S, J, P> Service<Packet<P>> for Filter<S, J>
where
    S: Service<Packet<P>, Response = Verdict<P>>,
    J: Judge<P>,
{
    type Response = Verdict<P>;
    type Error = S::Error;
    type Future = FilterFuture<S::Future, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        match self.judge.judge(packet) {
            Ok(packet) => FilterFuture::inner(self.inner.call(packet)),
            Err(verdict) => FilterFuture::verdict(verdict),
        }
    }
}

pin_project_lite::pin_project! {
    /// A verdict that is ready, or the inner service's future.
    #[derive(Debug)]
    pub struct FilterFuture<F, P = Whole> {
        #[pin]
        state: State<F, P>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F, P> {
        Inner { #[pin] future: F },
        Verdict { verdict: Option<Verdict<P>> },
    }
}

impl<F, P> FilterFuture<F, P> {
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
    pub const fn verdict(verdict: Verdict<P>) -> Self {
        Self {
            state: State::Verdict {
                verdict: Some(verdict),
            },
        }
    }
}

impl<F: Future<Output = Result<Verdict<P>, E>>, E, P> Future for FilterFuture<F, P> {
    type Output = Result<Verdict<P>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future } => future.poll(cx),
            // polled after completion: discarding is safe
            StateProj::Verdict { verdict } => {
                Poll::Ready(Ok(verdict.take().unwrap_or(Verdict::Discard)))
            }
        }
    }
}
