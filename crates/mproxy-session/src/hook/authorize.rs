//! [`AuthorizeLayer`]: an asynchronous yes or no.

use std::future::Future;
use std::task::{Context, Poll};

use tower_service::Service;

use super::inner::{AskFuture, Inner};
use super::{Packet, PacketHead, Refusal, Verdict, Whole};

layer! {
    /// Asks somebody about each packet, and waits for the answer: `Ok(packet)` goes inward, `Err` refuses.
    ///
    /// Nothing is boxed, and the services inside need not be `Clone`.
    ///
    /// ```
    /// use mproxy_session::{AuthorizeLayer, Forward, Packet, Refusal};
    /// use mproxy_codec::ReasonCode;
    /// use tower_layer::Layer;
    ///
    /// async fn allowed(_topic: String) -> bool { true } // a database, say
    ///
    /// let ask = AuthorizeLayer::new(|packet: Packet| async move {
    ///     let topic = packet.publish().map(|publish| publish.topic().to_string());
    ///     match topic {
    ///         Some(topic) => match allowed(topic).await {
    ///             true => Ok(packet),
    ///             false => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
    ///         },
    ///         None => Ok(packet),
    ///     }
    /// });
    /// let service = ask.layer(Forward);
    /// # let _ = service;
    /// ```
    ///
    /// A layer with a name of its own, which a library can write down, asks an [`AuthorizePacket`]:
    ///
    /// ```
    /// use std::future::{Ready, ready};
    /// use mproxy_session::{Authorize, AuthorizePacket, Packet, Refusal};
    /// use mproxy_codec::ReasonCode;
    /// use tower_layer::Layer;
    ///
    /// #[derive(Clone, Copy)]
    /// struct QuietLayer;
    ///
    /// impl<S> Layer<S> for QuietLayer {
    ///     type Service = Authorize<S, Self>;
    ///
    ///     fn layer(&self, inner: S) -> Self::Service {
    ///         Authorize::new(inner, *self)
    ///     }
    /// }
    ///
    /// impl<P> AuthorizePacket<P> for QuietLayer {
    ///     type Future = Ready<Result<Packet<P>, Refusal>>;
    ///
    ///     fn authorize(&mut self, packet: Packet<P>) -> Self::Future {
    ///         ready(match packet.publish() {
    ///             Some(_) => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
    ///             None => Ok(packet),
    ///         })
    ///     }
    /// }
    /// # let _ = QuietLayer.layer(mproxy_session::Forward);
    /// ```
    AuthorizeLayer<A>: Authorize<S, A> = Authorize::new
}

impl<A> AuthorizeLayer<A> {
    /// A layer that calls `authorize` with whole packets.
    pub const fn new(authorize: A) -> Self
    where
        A: AuthorizePacket,
    {
        Self(authorize)
    }

    /// A layer that calls `authorize` with packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads<Fut>(authorize: A) -> Self
    where
        A: FnMut(PacketHead) -> Fut,
        Fut: Future<Output = Result<PacketHead, Refusal>>,
    {
        Self(authorize)
    }
}

/// Decides on a packet on its way inward, and may wait. Implemented by closures, and by named
/// layer types.
pub trait AuthorizePacket<P = Whole> {
    /// The decision: the packet, perhaps changed, or why it is refused.
    type Future: Future<Output = Result<Packet<P>, Refusal>>;

    /// Judges a packet. Later packets of the same direction wait for the result.
    fn authorize(&mut self, packet: Packet<P>) -> Self::Future;
}

impl<F, Fut, P> AuthorizePacket<P> for F
where
    F: FnMut(Packet<P>) -> Fut,
    Fut: Future<Output = Result<Packet<P>, Refusal>>,
{
    type Future = Fut;

    fn authorize(&mut self, packet: Packet<P>) -> Fut {
        self(packet)
    }
}

/// The service of [`AuthorizeLayer`], and of layers like it.
#[derive(Clone, Debug)]
pub struct Authorize<S, A> {
    inner: Inner<S>,
    authorize: A,
}

impl<S, A> Authorize<S, A> {
    /// Calls `authorize`, and then `inner`.
    pub fn new(inner: S, authorize: A) -> Self {
        Self {
            inner: Inner::new(inner),
            authorize,
        }
    }
}

impl<S, A, P> Service<Packet<P>> for Authorize<S, A>
where
    S: Service<Packet<P>, Response = Verdict<P>>,
    A: AuthorizePacket<P>,
{
    type Response = Verdict<P>;
    type Error = S::Error;
    type Future = AskFuture<S, A::Future, S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        AskFuture::new(self.authorize.authorize(packet), self.inner.reserve())
    }
}
