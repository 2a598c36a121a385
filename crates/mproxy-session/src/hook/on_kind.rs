//! [`OnPublishLayer`] and [`OnSubscribeLayer`]: a closure for one packet type.

use mproxy_codec::{Kind, KindSet, ReasonCode, Subscription};

use super::{Filter, HeadOnly, Judge, Packet, PublishRef, Refusal, Verdict};
use crate::error::packet_name;

layer! {
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
    OnPublishLayer<F>: Filter<S, OnPublish<F>> = |inner, judge| Filter::new(inner, OnPublish(judge))
}

impl<F> OnPublishLayer<F> {
    /// A layer that calls `judge` with whole packets.
    pub const fn new(judge: F) -> Self
    where
        F: FnMut(PublishRef<'_>) -> Result<(), Refusal>,
    {
        Self(judge)
    }

    /// A layer that calls `judge` with packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads(judge: F) -> Self
    where
        F: FnMut(PublishRef<'_, HeadOnly>) -> Result<(), Refusal>,
    {
        Self(judge)
    }
}

layer! {
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
    OnSubscribeLayer<F>: Filter<S, OnSubscribe<F>> = |inner, judge| Filter::new(inner, OnSubscribe(judge))
}

impl<F: FnMut(Subscription<'_>) -> Result<(), ReasonCode>> OnSubscribeLayer<F> {
    /// A layer that calls `judge`.
    pub const fn new(judge: F) -> Self {
        Self(judge)
    }
}

/// A closure that judges PUBLISH.
#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `Filter` that callers need not name
pub struct OnPublish<F>(F);

impl<F: FnMut(PublishRef<'_, P>) -> Result<(), Refusal>, P> Judge<P> for OnPublish<F> {
    fn judge(&mut self, packet: Packet<P>) -> Result<Packet<P>, Verdict<P>> {
        match packet.publish().map_or(Ok(()), &mut self.0) {
            Ok(()) => Ok(packet),
            Err(refusal) => Err(Verdict::Refuse(refusal)),
        }
    }
}

/// A closure that judges topic filters.
#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `Filter` that callers need not name
pub struct OnSubscribe<F>(F);

impl<F: FnMut(Subscription<'_>) -> Result<(), ReasonCode>, P> Judge<P> for OnSubscribe<F> {
    fn judge(&mut self, mut packet: Packet<P>) -> Result<Packet<P>, Verdict<P>> {
        if packet.kind() != Kind::Subscribe {
            return Ok(packet);
        }
        match packet.retain_filters(&mut self.0) {
            Ok(_) => Ok(packet),
            Err(error) => Err(Verdict::Refuse(error.into())),
        }
    }
}

/// Checks that a stack of type `S` is offered the packets of every [`OnPublishLayer`] or [`OnSubscribeLayer`]
/// in it, which would otherwise never be called and let all pass. The type name is the only way to find
/// out what is inside of a tower service.
///
/// # Panics
/// If the check fails.
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

/// Checks that a stack of type `S` for packets of the broker contains no [`OnSubscribeLayer`].
///
/// # Panics
/// If the check fails.
#[track_caller]
pub(super) fn assert_asked<S>() {
    assert!(
        !std::any::type_name::<S>().contains(SUBSCRIBE),
        "an OnSubscribeLayer stands in what sees the broker's packets: a broker sends no SUBSCRIBE"
    );
}

const PUBLISH: &str = concat!(module_path!(), "::OnPublish<");
const SUBSCRIBE: &str = concat!(module_path!(), "::OnSubscribe<");
