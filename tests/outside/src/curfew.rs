//! Whether a client may publish now: a layer of the packet stage with a name of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mproxy_codec::ReasonCode;
use mproxy_session::{Authorize, AuthorizePacket, Packet, Refusal};
use tower::Layer;

/// Whether machines stand still. In another gateway, a row of a database.
#[derive(Clone, Debug, Default)]
pub struct Curfew(Arc<AtomicBool>);

impl Curfew {
    /// Begins or ends it.
    pub fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Relaxed);
    }

    async fn is_on(&self) -> bool {
        tokio::task::yield_now().await; // as something that answers later
        self.0.load(Ordering::Relaxed)
    }
}

/// Refuses what is published during a [`Curfew`].
#[derive(Clone, Debug)]
pub struct CurfewLayer {
    curfew: Curfew,
}

impl CurfewLayer {
    /// A layer that asks about this curfew.
    #[must_use]
    pub const fn new(curfew: Curfew) -> Self {
        Self { curfew }
    }
}

impl<S> Layer<S> for CurfewLayer {
    type Service = Authorize<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize::new(inner, self.clone())
    }
}

// for heads and for whole packets
impl<P: 'static> AuthorizePacket<P> for CurfewLayer {
    type Future = Pin<Box<dyn Future<Output = Result<Packet<P>, Refusal>> + Send>>;

    fn authorize(&mut self, packet: Packet<P>) -> Self::Future {
        let curfew = self.curfew.clone();
        Box::pin(async move {
            if packet.publish().is_some() && curfew.is_on().await {
                return Err(Refusal::new(ReasonCode::QUOTA_EXCEEDED).with_text("curfew"));
            }
            Ok(packet)
        })
    }
}
