//! [`RewriteLayer`]: a synchronous change.

use super::{Filter, Judge, Packet, PacketHead, Refusal, Verdict};

layer! {
    /// Lets a closure change each packet on its way inward.
    ///
    /// An error of the closure refuses the packet: a change that cannot be made must not be skipped. It
    /// may be a [`Refusal`] or what becomes one, as an [`EncodeError`](mproxy_codec::EncodeError) does.
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
    /// A closure with several errors says which it ends in:
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
    RewriteLayer<F>: Rewrite<S, F> = |inner, change| Filter::new(inner, Change(change))
}

impl<F> RewriteLayer<F> {
    /// A layer that calls `change` with whole packets.
    pub const fn new<E>(change: F) -> Self
    where
        F: FnMut(&mut Packet) -> Result<(), E>,
        E: Into<Refusal>,
    {
        Self(change)
    }

    /// A layer that calls `change` with packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads<E>(change: F) -> Self
    where
        F: FnMut(&mut PacketHead) -> Result<(), E>,
        E: Into<Refusal>,
    {
        Self(change)
    }
}

/// The service of [`RewriteLayer`].
pub type Rewrite<S, F> = Filter<S, Change<F>>;

/// A closure that changes packets.
#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `Rewrite` that callers need not name
pub struct Change<F>(F);

impl<F: FnMut(&mut Packet<P>) -> Result<(), E>, P, E: Into<Refusal>> Judge<P> for Change<F> {
    #[inline]
    fn judge(&mut self, mut packet: Packet<P>) -> Result<Packet<P>, Verdict<P>> {
        match (self.0)(&mut packet) {
            Ok(()) => Ok(packet),
            Err(refusal) => Err(Verdict::Refuse(refusal.into())),
        }
    }
}
