//! What the broker answers to CONNECT.

use std::task::{Context, Poll};

use mproxy_codec::KindSet;
use mproxy_session::{HeadOnly, PacketHead, SessionInfo, Verdict};
use tower_service::Service;

use super::line;

/// The packet service that logs that the broker has accepted the client.
#[derive(Debug)]
pub struct AccessLogToClient<S> {
    inner: S,
    info: SessionInfo,
    kinds: KindSet,
}

impl<S> AccessLogToClient<S> {
    pub(super) const fn new(inner: S, info: SessionInfo, kinds: KindSet) -> Self {
        Self { inner, info, kinds }
    }
}

impl<S> Service<PacketHead> for AccessLogToClient<S>
where
    S: Service<PacketHead, Response = Verdict<HeadOnly>>,
{
    type Response = Verdict<HeadOnly>;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: PacketHead) -> Self::Future {
        if self.kinds.contains(packet.kind()) {
            self.log(&packet);
        }
        self.inner.call(packet)
    }
}

impl<S> AccessLogToClient<S> {
    /// Logs a success only: a refusal is the end of the session, and logged there.
    #[cold]
    fn log(&self, packet: &PacketHead) {
        if packet.connack().is_some_and(|connack| connack.is_success()) {
            line::accepted(&self.info);
        }
    }
}
