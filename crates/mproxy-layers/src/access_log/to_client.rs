//! What the broker answers to CONNECT and SUBSCRIBE.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mproxy_codec::{Kind, KindSet};
use mproxy_session::{HeadOnly, PacketHead, SessionInfo, Verdict};
use tower_service::Service;

use super::{line, subscribe::Asked};

/// The packet service that logs that the broker has accepted the client, and what it grants.
#[derive(Debug)]
pub struct AccessLogToClient<S> {
    inner: S,
    info: SessionInfo,
    kinds: KindSet,
    /// `None` if SUBSCRIBE is not logged.
    asked: Option<Arc<Asked>>,
}

impl<S> AccessLogToClient<S> {
    pub(super) const fn new(
        inner: S,
        info: SessionInfo,
        kinds: KindSet,
        asked: Option<Arc<Asked>>,
    ) -> Self {
        Self {
            inner,
            info,
            kinds,
            asked,
        }
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
    /// Of CONNACK, logs a success only: a refusal is the end of the session, and logged there.
    #[cold]
    fn log(&self, packet: &PacketHead) {
        if let (Kind::Suback, Some(asked)) = (packet.kind(), &self.asked) {
            if let Some(suback) = packet.suback() {
                asked.answered(&self.info, &suback);
            }
        } else if packet.connack().is_some_and(|connack| connack.is_success()) {
            line::accepted(&self.info);
        }
    }
}
