//! [`BoxPacketService`]: a packet service behind a box.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::{Packet, PacketService, Verdict, Whole};
use crate::BoxError;

/// A boxed packet service: for a stack that is chosen at run time, or whose type is too long to
/// write down.
///
/// It allocates a future per packet. For a choice among few types, an `enum` is cheaper that
/// implements [`Service`].
///
/// ```
/// use mproxy_codec::KindSet;
/// use mproxy_session::{BoxPacketService, Forward, Hooks, InspectLayer, Tap, Verdict};
/// use tower_layer::Layer;
///
/// fn tap(verbose: bool) -> Tap<BoxPacketService> {
///     if verbose {
///         let look = InspectLayer::new(|verdict: &Verdict| println!("{verdict:?}"));
///         // make the tap first, because it checks the type of the service, and then box it
///         Tap::only(KindSet::PUBLISH, look.layer(Forward)).convert(BoxPacketService::new)
///     } else {
///         Tap::none().convert(BoxPacketService::new)
///     }
/// }
/// let hooks = Hooks::new(tap(true), Tap::none());
/// # let _ = hooks;
/// ```
pub struct BoxPacketService<P = Whole>(Box<dyn Erased<P> + Send>);

/// The response future of [`BoxPacketService`].
pub type BoxPacketFuture<P = Whole> =
    Pin<Box<dyn Future<Output = Result<Verdict<P>, BoxError>> + Send>>;

impl<P: 'static> BoxPacketService<P> {
    /// Boxes a service.
    #[must_use]
    pub fn new(service: impl PacketService<P>) -> Self {
        Self(Box::new(service))
    }
}

trait Erased<P> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
    fn call(&mut self, packet: Packet<P>) -> BoxPacketFuture<P>;
}

impl<P: 'static, S: PacketService<P>> Erased<P> for S {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::poll_ready(self, cx).map_err(Into::into)
    }

    fn call(&mut self, packet: Packet<P>) -> BoxPacketFuture<P> {
        let future = Service::call(self, packet);
        Box::pin(async move { future.await.map_err(Into::into) })
    }
}

impl<P> Service<Packet<P>> for BoxPacketService<P> {
    type Response = Verdict<P>;
    type Error = BoxError;
    type Future = BoxPacketFuture<P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        self.0.call(packet)
    }
}

impl<P> fmt::Debug for BoxPacketService<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxPacketService").finish_non_exhaustive()
    }
}
