//! What the layers of the CONNECT stage have in common.

use mproxy_codec::KindSet;
use mproxy_session::{Heads, OnConnect, Tap};
use tower_layer::Layer;

use crate::Observer;

/// A layer for the CONNECT stage that reports what it does to an observer.
///
/// Each layer of this crate is one, with settings of its own: see, for one, the
/// [`AclLayer`](crate::acl::AclLayer).
#[derive(Debug, Clone)]
pub struct Observed<L, O = ()> {
    pub(crate) settings: L,
    pub(crate) observer: O,
}

impl<L> Observed<L> {
    pub(crate) const fn by_nobody(settings: L) -> Self {
        Self {
            settings,
            observer: (),
        }
    }
}

impl<L, O> Observed<L, O> {
    /// Reports to this observer what is decided, changed and dropped.
    pub fn observer<P: Observer>(self, observer: P) -> Observed<L, P> {
        Observed {
            settings: self.settings,
            observer,
        }
    }
}

impl<S, L: Clone, O: Clone> Layer<S> for Observed<L, O> {
    type Service = OnConnect<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        OnConnect::new(inner, self.clone())
    }
}

/// Puts a service around the tap, which judges who the client is if `judges` says so, or if what is
/// inside does.
pub(crate) fn wrap<S, W>(
    tap: Tap<S>,
    kinds: KindSet,
    judges: bool,
    wrap: impl FnOnce(Tap<S>) -> W,
) -> Tap<Heads<W>> {
    let judges = judges || tap.judges_identity();
    tap.wrap_heads(kinds, wrap).judge_identity(judges)
}
