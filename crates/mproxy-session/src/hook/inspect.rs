//! [`InspectLayer`]: sees packets and verdicts, and changes nothing.

use super::{HeadOnly, Packet, Review, Reviewer, Verdict};

layer! {
    /// Shows a closure each verdict of the services inside, with the packet as it is forwarded.
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
    InspectLayer<F>: Inspect<S, F> = |inner, look| Review::new(inner, Some(Look(look)))
}

impl<F> InspectLayer<F> {
    /// A layer that calls `look` with verdicts on whole packets.
    pub const fn new(look: F) -> Self
    where
        F: FnMut(&Verdict),
    {
        Self(look)
    }

    /// A layer that calls `look` with verdicts on packets without payload, for a
    /// [`head_only`](crate::Tap::head_only) tap.
    pub const fn heads(look: F) -> Self
    where
        F: FnMut(&Verdict<HeadOnly>),
    {
        Self(look)
    }
}

/// The service of [`InspectLayer`].
pub type Inspect<S, F> = Review<S, Look<F>>;

/// A closure that looks at verdicts.
#[derive(Clone, Copy, Debug)]
#[allow(unnameable_types)] // a parameter of `Inspect` that nobody need write down
pub struct Look<F>(F);

impl<F: FnMut(&Verdict<P>), P> Reviewer<P> for Look<F> {
    fn review(&self, packet: Packet<P>) -> Verdict<P> {
        Verdict::Forward(packet)
    }

    #[inline]
    fn settle(&mut self, verdict: Verdict<P>) -> Verdict<P> {
        (self.0)(&verdict);
        verdict
    }
}
