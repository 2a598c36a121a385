//! The innermost packet service.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use tower_service::Service;

use super::{Packet, Verdict};
use crate::BoxError;

/// Forwards every packet: the service at the bottom of each packet stack.
///
/// Its error is [`BoxError`], so that `option_layer` and tower's timeouts compose around it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // complete: there is nothing to configure
pub struct Forward;

impl<P> Service<Packet<P>> for Forward {
    type Response = Verdict<P>;
    type Error = BoxError;
    type Future = Ready<Result<Verdict<P>, BoxError>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        ready(Ok(Verdict::Forward(packet)))
    }
}
