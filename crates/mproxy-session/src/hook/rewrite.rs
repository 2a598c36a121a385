//! [`RewriteLayer`]: a synchronous change.

use tower_layer::Layer;

use super::{Filter, Judge, Packet, PacketHead, Refusal, Verdict};

/// Lets a closure change each packet on its way inward.
///
/// If the closure fails, the packet is refused, because a change must not be skipped. The error
/// may be a [`Refusal`] or convert into one, as [`EncodeError`](mproxy_codec::EncodeError) does.
///
/// ```
/// use mproxy_session::{Forward, Packet, RewriteLayer};
/// use tower_layer::Layer;
///
/// let prefix = RewriteLayer::new(|packet: &mut Packet| {
///     match packet.publish().map(|publish| format!("plant-7/{}", publish.topic())) {
///         Some(topic) => packet.set_topic(&topic),
///         None => Ok(()),
///     }
/// });
/// let service = prefix.layer(Forward);
/// # let _ = service;
/// ```
///
/// A closure with several error types names its result type:
///
/// ```
/// use mproxy_session::{Packet, Refusal, RewriteLayer};
///
/// let stamped = RewriteLayer::new(|packet: &mut Packet| {
///     packet.add_user_property("via", "mproxy")?;
///     Ok::<_, Refusal>(())
/// });
/// # let _ = stamped;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RewriteLayer<F> {
    change: F,
}

impl<F> RewriteLayer<F> {
    /// A layer that calls `change` with whole packets.
    pub const fn new<E>(change: F) -> Self
    where
        F: FnMut(&mut Packet) -> Result<(), E>,
        E: Into<Refusal>,
    {
        Self { change }
    }

    /// A layer that calls `change` with packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads<E>(change: F) -> Self
    where
        F: FnMut(&mut PacketHead) -> Result<(), E>,
        E: Into<Refusal>,
    {
        Self { change }
    }
}

impl<S, F: Clone> Layer<S> for RewriteLayer<F> {
    type Service = Rewrite<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Filter::new(inner, Change(self.change.clone()))
    }
}

/// The service of [`RewriteLayer`].
pub type Rewrite<S, F> = Filter<S, Change<F>>;

/// A closure that changes packets.
#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `Rewrite` that callers need not name
pub struct Change<F>(F);

impl<F, P, E> Judge<P> for Change<F>
where
    F: FnMut(&mut Packet<P>) -> Result<(), E>,
    E: Into<Refusal>,
{
    #[inline]
    fn judge(&mut self, mut packet: Packet<P>) -> Result<Packet<P>, Verdict<P>> {
        match (self.0)(&mut packet) {
            Ok(()) => Ok(packet),
            Err(refusal) => Err(Verdict::Refuse(refusal.into())),
        }
    }
}
