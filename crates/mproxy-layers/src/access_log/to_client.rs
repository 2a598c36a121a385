//! What the broker answers to CONNECT.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mproxy_codec::{Kind, KindSet};
use mproxy_session::{Packet, SessionInfo, Verdict};
use pin_project_lite::pin_project;
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

impl<S> Service<Packet> for AccessLogToClient<S>
where
    S: Service<Packet, Response = Verdict>,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = ConnackFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        let logged = packet.kind() == Kind::Connack && self.kinds.contains(Kind::Connack);
        let info = logged.then(|| self.info.clone());
        ConnackFuture {
            future: self.inner.call(packet),
            info,
        }
    }
}

pin_project! {
    /// The response future of [`AccessLogToClient`].
    #[derive(Debug)]
    pub struct ConnackFuture<F> {
        #[pin]
        future: F,
        info: Option<SessionInfo>,
    }
}

impl<F, E> Future for ConnackFuture<F>
where
    F: Future<Output = Result<Verdict, E>>,
{
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.future.poll(cx))?;
        if let (Some(info), Verdict::Forward(packet)) = (this.info, &verdict)
            && packet.connack().is_some_and(|connack| connack.is_success())
        {
            line::accepted(info);
        }
        Poll::Ready(Ok(verdict))
    }
}
