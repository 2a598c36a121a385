//! The log as a layer of the CONNECT stage.

use std::{
    fmt,
    future::Future,
    ops::BitOr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mproxy_codec::{KindSet, ReasonCode};
use mproxy_session::{Admission, Connect, Filter, Heads, Hooks, SessionInfo, Tap};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    AccessLogToClient, AccessLogToServer, line, sample::Sample, subscribe::Asked,
    to_client::Answers,
};
use crate::observed::wrap;

/// A set of events to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Events(u8);

impl Events {
    /// No event.
    pub const NONE: Self = Self(0);
    /// Accepted and refused clients.
    pub const CONNECT: Self = Self(1);
    /// Ends of sessions.
    pub const DISCONNECT: Self = Self(2);
    /// SUBSCRIBE, and what was granted.
    pub const SUBSCRIBE: Self = Self(4);
    /// UNSUBSCRIBE.
    pub const UNSUBSCRIBE: Self = Self(8);
    /// Layers that fail.
    pub const ERROR: Self = Self(16);
    /// PUBLISH of the client: [a sample](AccessLogLayer::publish_sample).
    pub const PUBLISH: Self = Self(32);
    /// Every event.
    pub const ALL: Self = Self(63);

    /// Whether the set contains all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Events {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::ALL
    }
}

/// Writes the [access log](super): a layer for the CONNECT stage, best as the outermost one.
///
/// When a session [is judged again](mproxy_session::SessionHandle::renew), that has no line: the line
/// about its end says if it was refused. Its later requests are logged according to the new
/// layer; a SUBSCRIBE that waits for its answer at that moment has no line.
///
/// See the [crate documentation](crate) for an example.
#[derive(Debug, Clone, Copy)]
pub struct AccessLogLayer {
    events: Events,
    refusals: bool,
    sample: Sample,
}

impl AccessLogLayer {
    /// Logs all events, but no PUBLISH unless you set a [share](Self::publish_sample).
    pub const fn new() -> Self {
        Self {
            events: Events::ALL,
            refusals: true,
            sample: Sample::NONE,
        }
    }

    /// Logs these events only.
    #[must_use]
    pub const fn events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// Sets whether refused clients have a line: they have by default, if
    /// [`Events::CONNECT`] is logged. Turn it off if other code logs each of them.
    #[must_use]
    pub const fn refusals(mut self, refusals: bool) -> Self {
        self.refusals = refusals;
        self
    }

    /// Logs this share of the PUBLISH packets of a client, if [`Events::PUBLISH`] is logged:
    /// none with 0.0, the default, every hundredth of a session with 0.01, all with 1.0.
    ///
    /// A value out of this range counts as the nearest one in it, and NaN as 0.0. Packets that an inner
    /// layer refuses count, but are not logged.
    ///
    /// With a share above 0.0, the session looks at each PUBLISH of the client; with 0.0 they stay in
    /// the read buffer unless another layer needs them.
    #[must_use]
    pub const fn publish_sample(mut self, share: f64) -> Self {
        self.sample = Sample::new(share);
        self
    }
}

impl Default for AccessLogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLogConnect<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AccessLogConnect {
            inner,
            layer: *self,
        }
    }
}

/// An admitted client whose packets are logged.
type ToServer<U> = Heads<AccessLogToServer<Tap<U>>>;
type ToClient<D> = Heads<AccessLogToClient<Tap<D>>>;

/// The service of [`AccessLogLayer`].
#[derive(Debug, Clone)]
pub struct AccessLogConnect<S> {
    inner: S,
    layer: AccessLogLayer,
}

impl<S, U, D> Service<Connect> for AccessLogConnect<S>
where
    S: Service<Connect, Response = Admission<U, D>>,
    S::Error: fmt::Display,
{
    type Response = Admission<ToServer<U>, ToClient<D>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        let info = connect.info().clone();
        let is_renewal = connect.is_renewal();
        ResponseFuture {
            future: self.inner.call(connect),
            info,
            is_renewal,
            layer: self.layer,
        }
    }
}

pin_project! {
    /// The response future of [`AccessLogConnect`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        info: SessionInfo,
        is_renewal: bool,
        layer: AccessLogLayer,
    }
}

impl<F, U, D, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Admission<U, D>, E>>,
    E: fmt::Display,
{
    type Output = Result<Admission<ToServer<U>, ToClient<D>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let admission = ready!(this.future.poll(cx));
        let layer = *this.layer;
        match &admission {
            // a session that is judged again has its line when it ends
            _ if *this.is_renewal => {}
            Ok(Admission::Refuse(refusal)) if layer.logs_refusals() => {
                line::refused(this.info, refusal);
            }
            Err(error) if layer.events.contains(Events::ERROR) => line::failed(this.info, error),
            _ => {}
        }
        Poll::Ready(
            admission
                .map(|admission| admission.map_hooks(|connect, hooks| layer.wrap(connect, hooks))),
        )
    }
}

impl AccessLogLayer {
    const fn logs_refusals(self) -> bool {
        self.refusals && self.events.contains(Events::CONNECT)
    }

    /// These kinds, if the event is logged.
    const fn kinds_of(self, event: Events, kinds: KindSet) -> KindSet {
        match self.events.contains(event) {
            true => kinds,
            false => KindSet::NONE,
        }
    }

    fn wrap<U, D>(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<ToServer<U>, ToClient<D>> {
        let sample = match self.events.contains(Events::PUBLISH) {
            true => self.sample,
            false => Sample::NONE,
        };
        let publish = match sample.is_none() {
            true => KindSet::NONE,
            false => KindSet::PUBLISH,
        };
        let to_server = self.kinds_of(Events::SUBSCRIBE, KindSet::SUBSCRIBE)
            | self.kinds_of(Events::UNSUBSCRIBE, KindSet::UNSUBSCRIBE)
            | publish;
        // the CONNACK of a session that is judged again has already passed
        let connack = match connect.is_renewal() {
            false => self.kinds_of(Events::CONNECT, KindSet::CONNACK),
            true => KindSet::NONE,
        };
        let to_client = connack | self.kinds_of(Events::SUBSCRIBE, KindSet::SUBACK);
        let asked = match self.events.contains(Events::SUBSCRIBE) {
            true => Some(Arc::new(Asked::default())),
            false => None,
        };
        let answers = Answers {
            info: connect.info().clone(),
            kinds: to_client,
            asked: asked.clone(),
        };
        let info = connect.info().clone();
        let asked_of = asked.clone();
        // a log judges nobody
        let hooks = hooks.map(
            |tap| {
                wrap(tap, to_server, false, |inner| AccessLogToServer {
                    inner,
                    info,
                    kinds: to_server,
                    sample,
                    asked: asked_of,
                })
            },
            |tap| wrap(tap, to_client, false, |inner| Filter::new(inner, answers)),
        );
        match connect.is_renewal() {
            // the layer that logged the start also logs the end
            true => hooks,
            false => self.log_end(connect, hooks, asked),
        }
    }

    fn log_end<U, D>(
        self,
        connect: &Connect,
        hooks: Hooks<U, D>,
        unanswered: Option<Arc<Asked>>,
    ) -> Hooks<U, D> {
        let (refusals, ends) = (
            self.logs_refusals(),
            self.events.contains(Events::DISCONNECT),
        );
        if !refusals && !ends && unanswered.is_none() {
            return hooks;
        }
        let info = connect.info().clone();
        hooks.on_close(move |summary| {
            // not in a session that was judged again: the old services have seen the answers
            if let Some(unanswered) = unanswered.filter(|it| Arc::strong_count(it) > 1) {
                unanswered.close(&info);
            }
            match summary.connack == Some(ReasonCode::SUCCESS) {
                true if ends => line::closed(&info, summary),
                false if refusals => line::not_connected(&info, summary),
                _ => {}
            }
            std::future::ready(())
        })
    }
}
