//! [`OnPublishLayer`] and [`OnSubscribeLayer`]: a closure for one packet type.

use std::task::{Context, Poll};

use mproxy_codec::{Kind, ReasonCode, Subscription};
use tower_layer::Layer;
use tower_service::Service;

use super::{FilterFuture, Packet, PublishRef, Refusal, Verdict};

/// Asks a closure about each PUBLISH; everything else passes.
///
/// ```
/// use mproxy_session::{Forward, OnPublishLayer, PublishRef, Refusal};
/// use mproxy_codec::ReasonCode;
/// use tower_layer::Layer;
///
/// let small = OnPublishLayer::new(|publish: PublishRef<'_>| {
///     if publish.payload_len() > 1024 { Err(Refusal::new(ReasonCode::QUOTA_EXCEEDED)) } else { Ok(()) }
/// });
/// # let _ = small.layer(Forward);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OnPublishLayer<F> {
    judge: F,
}

impl<F> OnPublishLayer<F>
where
    F: FnMut(PublishRef<'_>) -> Result<(), Refusal>,
{
    /// A layer that asks `judge`.
    pub const fn new(judge: F) -> Self {
        Self { judge }
    }
}

impl<S, F: Clone> Layer<S> for OnPublishLayer<F> {
    type Service = OnKind<S, OnPublish<F>>;

    fn layer(&self, inner: S) -> Self::Service {
        OnKind {
            inner,
            judge: OnPublish(self.judge.clone()),
        }
    }
}

/// Asks a closure about each topic filter of a SUBSCRIBE; everything else passes.
///
/// ```
/// use mproxy_session::{Forward, OnSubscribeLayer};
/// use mproxy_codec::{ReasonCode, Subscription};
/// use tower_layer::Layer;
///
/// let not_everything = OnSubscribeLayer::new(|subscription: Subscription<'_>| {
///     if subscription.filter == "#" { Err(ReasonCode::NOT_AUTHORIZED) } else { Ok(()) }
/// });
/// # let _ = not_everything.layer(Forward);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OnSubscribeLayer<F> {
    judge: F,
}

impl<F> OnSubscribeLayer<F>
where
    F: FnMut(Subscription<'_>) -> Result<(), ReasonCode>,
{
    /// A layer that asks `judge`.
    pub const fn new(judge: F) -> Self {
        Self { judge }
    }
}

impl<S, F: Clone> Layer<S> for OnSubscribeLayer<F> {
    type Service = OnKind<S, OnSubscribe<F>>;

    fn layer(&self, inner: S) -> Self::Service {
        OnKind {
            inner,
            judge: OnSubscribe(self.judge.clone()),
        }
    }
}

/// The service of [`OnPublishLayer`] and [`OnSubscribeLayer`].
#[derive(Clone, Copy, Debug)]
pub struct OnKind<S, J> {
    inner: S,
    judge: J,
}

/// What a closure for one packet type says about any packet.
pub(crate) trait Judge {
    fn judge(&mut self, packet: &mut Packet) -> Result<(), Refusal>;
}

#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `OnKind` that nobody need write down
pub struct OnPublish<F>(F);

impl<F> Judge for OnPublish<F>
where
    F: FnMut(PublishRef<'_>) -> Result<(), Refusal>,
{
    fn judge(&mut self, packet: &mut Packet) -> Result<(), Refusal> {
        packet.publish().map_or(Ok(()), &mut self.0)
    }
}

#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `OnKind` that nobody need write down
pub struct OnSubscribe<F>(F);

impl<F> Judge for OnSubscribe<F>
where
    F: FnMut(Subscription<'_>) -> Result<(), ReasonCode>,
{
    fn judge(&mut self, packet: &mut Packet) -> Result<(), Refusal> {
        if packet.kind() != Kind::Subscribe {
            return Ok(());
        }
        match packet.retain_filters(&mut self.0) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::new(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR)),
        }
    }
}

#[allow(private_bounds)] // the closures are public, how they are called is not
impl<S, J> Service<Packet> for OnKind<S, J>
where
    S: Service<Packet, Response = Verdict>,
    J: Judge,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = OnKindFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut packet: Packet) -> Self::Future {
        match self.judge.judge(&mut packet) {
            Ok(()) => FilterFuture::inner(self.inner.call(packet)),
            Err(refusal) => FilterFuture::verdict(Verdict::Refuse(refusal)),
        }
    }
}

/// The response future of [`OnKind`].
pub type OnKindFuture<F> = FilterFuture<F>;
