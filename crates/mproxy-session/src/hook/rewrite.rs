//! [`RewriteLayer`]: a synchronous change.

use std::task::{Context, Poll};

use mproxy_codec::{EncodeError, ReasonCode};
use tower_layer::Layer;
use tower_service::Service;

use super::{FilterFuture, Packet, Verdict};

/// Lets a closure change each packet on its way inward.
///
/// An error of the closure refuses the packet: a change that cannot be made must not be skipped.
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
#[derive(Clone, Copy, Debug)]
pub struct RewriteLayer<F> {
    change: F,
}

impl<F> RewriteLayer<F>
where
    F: FnMut(&mut Packet) -> Result<(), EncodeError>,
{
    /// A layer that calls `change`.
    pub const fn new(change: F) -> Self {
        Self { change }
    }
}

impl<S, F: Clone> Layer<S> for RewriteLayer<F> {
    type Service = Rewrite<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Rewrite {
            inner,
            change: self.change.clone(),
        }
    }
}

/// See [`RewriteLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<S, F> {
    inner: S,
    change: F,
}

impl<S, F> Service<Packet> for Rewrite<S, F>
where
    S: Service<Packet, Response = Verdict>,
    F: FnMut(&mut Packet) -> Result<(), EncodeError>,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = FilterFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut packet: Packet) -> Self::Future {
        match (self.change)(&mut packet) {
            Ok(()) => FilterFuture::inner(self.inner.call(packet)),
            Err(_) => {
                FilterFuture::verdict(Verdict::refuse(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR))
            }
        }
    }
}
