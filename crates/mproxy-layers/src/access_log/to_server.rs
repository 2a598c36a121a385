//! The client's requests.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mproxy_codec::{Kind, KindSet, topic::TopicFilter};
use mproxy_session::{HeadOnly, PacketHead, SessionInfo, Verdict};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    line,
    publish::Published,
    sample::Sample,
    subscribe::{Asked, Request, list},
};

/// The packet service that logs SUBSCRIBE and UNSUBSCRIBE, and a share of PUBLISH.
#[derive(Debug)]
pub struct AccessLogToServer<S> {
    pub(super) inner: S,
    pub(super) info: SessionInfo,
    pub(super) kinds: KindSet,
    pub(super) sample: Sample,
    /// `None` if SUBSCRIBE is not logged.
    pub(super) asked: Option<Arc<Asked>>,
}

impl<S> Service<PacketHead> for AccessLogToServer<S>
where
    S: Service<PacketHead, Response = Verdict<HeadOnly>>,
{
    type Response = Verdict<HeadOnly>;
    type Error = S::Error;
    type Future = ToServerFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: PacketHead) -> Self::Future {
        let later = match packet.kind() {
            // the will is not published yet, and belongs to the line of its CONNECT
            Kind::Publish if packet.is_will() => None,
            Kind::Publish if self.sample.picks() => {
                Published::of(&self.info, &packet).map(|publish| Box::new(Later::Publish(publish)))
            }
            Kind::Publish => None,
            Kind::Subscribe => self.subscribe(&packet),
            Kind::Unsubscribe if self.kinds.contains(Kind::Unsubscribe) => {
                self.unsubscribe(&packet);
                None
            }
            _ => None,
        };
        ToServerFuture {
            future: self.inner.call(packet),
            later,
        }
    }
}

impl<S> AccessLogToServer<S> {
    #[cold]
    fn subscribe(&self, packet: &PacketHead) -> Option<Box<Later>> {
        let asked = self.asked.as_ref()?;
        Some(Box::new(Later::Subscribe(
            Request::of(packet)?,
            self.info.clone(),
            Arc::clone(asked),
        )))
    }

    /// Logs a request as the client wrote it, because inner layers may change it.
    #[cold]
    fn unsubscribe(&self, packet: &PacketHead) {
        if let Some(unsubscribe) = packet.unsubscribe() {
            line::unsubscribes(
                &self.info,
                &list(unsubscribe.filters().map(TopicFilter::as_str), 0),
            );
        }
    }
}

/// What to log when the services inside have decided.
#[derive(Debug)]
enum Later {
    Publish(Published),
    Subscribe(Request, SessionInfo, Arc<Asked>),
}

impl Later {
    fn decided(self, verdict: &Verdict<HeadOnly>) {
        match self {
            Self::Publish(publish) if matches!(verdict, Verdict::Forward(_)) => {
                line::published(&publish);
            }
            Self::Publish(_) => {}
            Self::Subscribe(request, session, asked) => {
                request.decided(verdict, &session, &asked);
            }
        }
    }
}

pin_project! {
    /// The response future of [`AccessLogToServer`]: a PUBLISH is logged if it is forwarded, a SUBSCRIBE
    /// if it is not.
    // boxed, because it is rare and would make every future larger
    #[derive(Debug)]
    pub struct ToServerFuture<F> {
        #[pin]
        future: F,
        later: Option<Box<Later>>,
    }
}

impl<F, E> Future for ToServerFuture<F>
where
    F: Future<Output = Result<Verdict<HeadOnly>, E>>,
{
    type Output = Result<Verdict<HeadOnly>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.future.poll(cx));
        if let (Some(later), Ok(verdict)) = (this.later.take(), &verdict) {
            later.decided(verdict);
        }
        Poll::Ready(verdict)
    }
}
