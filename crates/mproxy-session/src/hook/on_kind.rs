//! [`OnPublishLayer`] and [`OnSubscribeLayer`]: a closure for one packet type.

use std::task::{Context, Poll};

use mproxy_codec::{Kind, KindSet, ReasonCode, Subscription};
use tower_layer::Layer;
use tower_service::Service;

use super::{FilterFuture, HeadOnly, Packet, PublishRef, Refusal, Verdict, Whole};
use crate::error::packet_name;

/// Asks a closure about each PUBLISH; everything else passes.
///
/// ```
/// use mproxy_session::{Forward, OnPublishLayer, Refusal};
/// use mproxy_codec::ReasonCode;
/// use tower_layer::Layer;
///
/// let small = OnPublishLayer::heads(|publish| {
///     if publish.payload_len() > 1024 { Err(Refusal::new(ReasonCode::QUOTA_EXCEEDED)) } else { Ok(()) }
/// });
/// # let _ = small.layer(Forward);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OnPublishLayer<F> {
    judge: F,
}

impl<F> OnPublishLayer<F> {
    /// A layer that asks `judge` about whole packets.
    pub const fn new(judge: F) -> Self
    where
        F: FnMut(PublishRef<'_>) -> Result<(), Refusal>,
    {
        Self { judge }
    }

    /// A layer that asks `judge` about packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads(judge: F) -> Self
    where
        F: FnMut(PublishRef<'_, HeadOnly>) -> Result<(), Refusal>,
    {
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
pub(crate) trait Judge<P> {
    fn judge(&mut self, packet: &mut Packet<P>) -> Result<(), Refusal>;
}

#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `OnKind` that nobody need write down
pub struct OnPublish<F>(F);

impl<F, P> Judge<P> for OnPublish<F>
where
    F: FnMut(PublishRef<'_, P>) -> Result<(), Refusal>,
{
    fn judge(&mut self, packet: &mut Packet<P>) -> Result<(), Refusal> {
        packet.publish().map_or(Ok(()), &mut self.0)
    }
}

#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `OnKind` that nobody need write down
pub struct OnSubscribe<F>(F);

impl<F, P> Judge<P> for OnSubscribe<F>
where
    F: FnMut(Subscription<'_>) -> Result<(), ReasonCode>,
{
    fn judge(&mut self, packet: &mut Packet<P>) -> Result<(), Refusal> {
        if packet.kind() != Kind::Subscribe {
            return Ok(());
        }
        packet.retain_filters(&mut self.0)?;
        Ok(())
    }
}

#[allow(private_bounds)] // the closures are public, how they are called is not
impl<S, J, P> Service<Packet<P>> for OnKind<S, J>
where
    S: Service<Packet<P>, Response = Verdict<P>>,
    J: Judge<P>,
{
    type Response = Verdict<P>;
    type Error = S::Error;
    type Future = OnKindFuture<S::Future, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut packet: Packet<P>) -> Self::Future {
        match self.judge.judge(&mut packet) {
            Ok(()) => FilterFuture::inner(self.inner.call(packet)),
            Err(refusal) => FilterFuture::verdict(Verdict::Refuse(refusal)),
        }
    }
}

/// The response future of [`OnKind`].
pub type OnKindFuture<F, P = Whole> = FilterFuture<F, P>;

/// Makes sure that no [`OnPublishLayer`] or [`OnSubscribeLayer`] stands in a stack of type `S` that is
/// not offered what it judges: it would never be asked, and let all pass. A tower service has nothing
/// else to be asked about what is inside of it than its type.
///
/// # Panics
/// If one does.
#[track_caller]
pub(super) fn assert_offered<S>(kinds: KindSet) {
    let stack = std::any::type_name::<S>();
    for (name, layer, kind) in [
        (PUBLISH, "OnPublishLayer", Kind::Publish),
        (SUBSCRIBE, "OnSubscribeLayer", Kind::Subscribe),
    ] {
        assert!(
            kinds.contains(kind) || !stack.contains(name),
            "an {layer} stands in a tap that does not offer {}: it would never be asked",
            packet_name(kind)
        );
    }
}

/// Makes sure that no [`OnSubscribeLayer`] stands in a stack of type `S` that sees what a broker sends.
///
/// # Panics
/// If one does.
#[track_caller]
pub(super) fn assert_asked<S>() {
    assert!(
        !std::any::type_name::<S>().contains(SUBSCRIBE),
        "an OnSubscribeLayer stands in what sees the broker's packets: a broker sends no SUBSCRIBE"
    );
}

const PUBLISH: &str = concat!(module_path!(), "::OnPublish<");
const SUBSCRIBE: &str = concat!(module_path!(), "::OnSubscribe<");
