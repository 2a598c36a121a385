//! [`InspectLayer`]: sees packets and verdicts, and changes nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use super::{HeadOnly, Packet, Verdict};

/// Calls a closure with each verdict of the services inside, including the packet as forwarded.
///
/// ```
/// use mproxy_session::{Forward, InspectLayer, Verdict};
/// use tower_layer::Layer;
///
/// let audit = InspectLayer::new(|verdict: &Verdict| {
///     if let Verdict::Refuse(refusal) = verdict {
///         println!("refused: {}", refusal.reason);
///     }
/// });
/// let service = audit.layer(Forward);
/// # let _ = service;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InspectLayer<F> {
    look: F,
}

impl<F> InspectLayer<F> {
    /// A layer that calls `look` with verdicts on whole packets.
    pub const fn new(look: F) -> Self
    where
        F: FnMut(&Verdict),
    {
        Self { look }
    }

    /// A layer that calls `look` with verdicts on packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads(look: F) -> Self
    where
        F: FnMut(&Verdict<HeadOnly>),
    {
        Self { look }
    }
}

impl<S, F: Clone> Layer<S> for InspectLayer<F> {
    type Service = Inspect<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Inspect {
            inner,
            look: self.look.clone(),
        }
    }
}

/// See [`InspectLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Inspect<S, F> {
    inner: S,
    look: F,
}

impl<S, F, P> Service<Packet<P>> for Inspect<S, F>
where
    S: Service<Packet<P>, Response = Verdict<P>>,
    F: FnMut(&Verdict<P>) + Clone,
{
    type Response = Verdict<P>;
    type Error = S::Error;
    type Future = InspectFuture<S::Future, F>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        InspectFuture {
            future: self.inner.call(packet),
            look: self.look.clone(),
        }
    }
}

pin_project_lite::pin_project! {
    /// The response future of [`Inspect`].
    #[derive(Debug)]
    pub struct InspectFuture<Fut, F> {
        #[pin]
        future: Fut,
        look: F,
    }
}

impl<Fut, F, E, P> Future for InspectFuture<Fut, F>
where
    Fut: Future<Output = Result<Verdict<P>, E>>,
    F: FnMut(&Verdict<P>),
{
    type Output = Result<Verdict<P>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.future.poll(cx))?;
        (this.look)(&verdict);
        Poll::Ready(Ok(verdict))
    }
}
