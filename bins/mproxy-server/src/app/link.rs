//! Layers chosen by the configuration, as one type.
//!
//! A chain in the configuration is a list; a tower stack is a type. An enum over the layers that
//! exist turns the one into the other without a box per packet: `AnyLayer` is a layer like any
//! other, and a stack of them is composed by `ServiceBuilder`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mproxy_admin::{Action, Decision, LayerMetrics, PacketType, Reason};
use mproxy_codec::Kind;
use mproxy_layers::access_log::{
    AccessLogConnect, AccessLogLayer, AccessLogToClient, AccessLogToServer,
};
use mproxy_layers::acl::{AclConnect, AclLayer, AclToClient, AclToServer};
use mproxy_layers::topic_map::{
    TopicMapConnect, TopicMapLayer, TopicMapToClient, TopicMapToServer,
};
use mproxy_layers::{self as layers, Observer};
use mproxy_session::{Admission, BoxError, Connect, Packet, PacketService, Tap, Verdict};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Counts what a layer does.
#[derive(Clone, Debug)]
pub(crate) struct Count(pub(crate) Arc<LayerMetrics>);

impl Observer for Count {
    fn decision(&self, action: layers::Action, allowed: bool) {
        let action = match action {
            layers::Action::Publish => Action::Publish,
            layers::Action::Subscribe => Action::Subscribe,
            layers::Action::Deliver => Action::Deliver,
            layers::Action::Will => Action::Will,
        };
        let decision = if allowed {
            Decision::Allow
        } else {
            Decision::Deny
        };
        self.0.decision(action, decision);
    }

    fn modified(&self, kind: Kind) {
        if let Some(kind) = PacketType::from_code(kind.as_u8()) {
            self.0.modified(kind);
        }
    }

    fn dropped(&self, kind: Kind) {
        if let Some(kind) = PacketType::from_code(kind.as_u8()) {
            self.0.dropped(kind, Reason::AclDenied);
        }
    }
}

/// One layer of a chain.
#[derive(Clone, Debug)]
pub(crate) enum AnyLayer {
    Acl(AclLayer<Count>),
    TopicMap(TopicMapLayer<Count>),
    AccessLog(AccessLogLayer),
    /// Fills a stack up to its length.
    Identity,
}

impl<S> Layer<S> for AnyLayer {
    type Service = AnyConnect<S>;

    fn layer(&self, inner: S) -> AnyConnect<S> {
        match self {
            Self::Acl(layer) => AnyConnect::Acl(layer.layer(inner)),
            Self::TopicMap(layer) => AnyConnect::TopicMap(layer.layer(inner)),
            Self::AccessLog(layer) => AnyConnect::AccessLog(layer.layer(inner)),
            Self::Identity => AnyConnect::Identity(inner),
        }
    }
}

/// The CONNECT-stage service of [`AnyLayer`].
#[derive(Clone, Debug)]
pub(crate) enum AnyConnect<S> {
    Acl(AclConnect<S, Count>),
    TopicMap(TopicMapConnect<S, Count>),
    AccessLog(AccessLogConnect<S>),
    Identity(S),
}

/// The packet stacks that [`AnyConnect`] answers with, for an inner stack `U` or `D`.
type ToServer<U> = AnyPackets<
    AclToServer<Tap<U>, Count>,
    TopicMapToServer<Tap<U>, Count>,
    AccessLogToServer<Tap<U>>,
    U,
>;
type ToClient<D> = AnyPackets<
    AclToClient<Tap<D>, Count>,
    TopicMapToClient<Tap<D>, Count>,
    AccessLogToClient<Tap<D>>,
    D,
>;

impl<S, U, D> Service<Connect> for AnyConnect<S>
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError>,
    U: PacketService,
    D: PacketService,
{
    type Response = Admission<ToServer<U>, ToClient<D>>;
    type Error = BoxError;
    type Future = AnyFuture<
        <AclConnect<S, Count> as Service<Connect>>::Future,
        <TopicMapConnect<S, Count> as Service<Connect>>::Future,
        <AccessLogConnect<S> as Service<Connect>>::Future,
        S::Future,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Acl(service) => service.poll_ready(cx),
            Self::TopicMap(service) => service.poll_ready(cx),
            Self::AccessLog(service) => service.poll_ready(cx),
            Self::Identity(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        match self {
            Self::Acl(service) => AnyFuture::Acl {
                future: service.call(connect),
            },
            Self::TopicMap(service) => AnyFuture::TopicMap {
                future: service.call(connect),
            },
            Self::AccessLog(service) => AnyFuture::AccessLog {
                future: service.call(connect),
            },
            Self::Identity(service) => AnyFuture::Identity {
                future: service.call(connect),
            },
        }
    }
}

pin_project! {
    /// A future of one of the layers.
    #[project = AnyFutureProj]
    pub(crate) enum AnyFuture<A, T, L, I> {
        Acl { #[pin] future: A },
        TopicMap { #[pin] future: T },
        AccessLog { #[pin] future: L },
        Identity { #[pin] future: I },
    }
}

/// Puts the hooks of one layer into the common type.
macro_rules! common {
    ($admission:expr, $variant:ident) => {
        $admission.map_hooks(|_, hooks| {
            hooks.map(
                |tap| tap.map(AnyPackets::$variant),
                |tap| tap.map(AnyPackets::$variant),
            )
        })
    };
}

impl<A, T, L, I, U, D> Future for AnyFuture<A, T, L, I>
where
    A: Future<
        Output = Result<
            Admission<AclToServer<Tap<U>, Count>, AclToClient<Tap<D>, Count>>,
            BoxError,
        >,
    >,
    T: Future<
        Output = Result<
            Admission<TopicMapToServer<Tap<U>, Count>, TopicMapToClient<Tap<D>, Count>>,
            BoxError,
        >,
    >,
    L: Future<
        Output = Result<Admission<AccessLogToServer<Tap<U>>, AccessLogToClient<Tap<D>>>, BoxError>,
    >,
    I: Future<Output = Result<Admission<U, D>, BoxError>>,
{
    type Output = Result<Admission<ToServer<U>, ToClient<D>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.project() {
            AnyFutureProj::Acl { future } => common!(ready!(future.poll(cx))?, Acl),
            AnyFutureProj::TopicMap { future } => common!(ready!(future.poll(cx))?, TopicMap),
            AnyFutureProj::AccessLog { future } => common!(ready!(future.poll(cx))?, AccessLog),
            AnyFutureProj::Identity { future } => common!(ready!(future.poll(cx))?, Identity),
        }))
    }
}

/// A packet stack whose outermost layer is one of those that exist.
#[derive(Debug)]
pub(crate) enum AnyPackets<A, T, L, I> {
    Acl(A),
    TopicMap(T),
    AccessLog(L),
    Identity(I),
}

impl<A, T, L, I> Service<Packet> for AnyPackets<A, T, L, I>
where
    A: Service<Packet, Response = Verdict, Error = BoxError>,
    T: Service<Packet, Response = Verdict, Error = BoxError>,
    L: Service<Packet, Response = Verdict, Error = BoxError>,
    I: Service<Packet, Response = Verdict>,
    I::Error: Into<BoxError>,
{
    type Response = Verdict;
    type Error = BoxError;
    type Future = VerdictFuture<A::Future, T::Future, L::Future, I::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Acl(service) => service.poll_ready(cx),
            Self::TopicMap(service) => service.poll_ready(cx),
            Self::AccessLog(service) => service.poll_ready(cx),
            Self::Identity(service) => service.poll_ready(cx).map_err(Into::into),
        }
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        match self {
            Self::Acl(service) => VerdictFuture::Acl {
                future: service.call(packet),
            },
            Self::TopicMap(service) => VerdictFuture::TopicMap {
                future: service.call(packet),
            },
            Self::AccessLog(service) => VerdictFuture::AccessLog {
                future: service.call(packet),
            },
            Self::Identity(service) => VerdictFuture::Identity {
                future: service.call(packet),
            },
        }
    }
}

pin_project! {
    /// The response future of [`AnyPackets`].
    #[project = VerdictFutureProj]
    pub(crate) enum VerdictFuture<A, T, L, I> {
        Acl { #[pin] future: A },
        TopicMap { #[pin] future: T },
        AccessLog { #[pin] future: L },
        Identity { #[pin] future: I },
    }
}

impl<A, T, L, I, E> Future for VerdictFuture<A, T, L, I>
where
    A: Future<Output = Result<Verdict, BoxError>>,
    T: Future<Output = Result<Verdict, BoxError>>,
    L: Future<Output = Result<Verdict, BoxError>>,
    I: Future<Output = Result<Verdict, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Verdict, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            VerdictFutureProj::Acl { future } => future.poll(cx),
            VerdictFutureProj::TopicMap { future } => future.poll(cx),
            VerdictFutureProj::AccessLog { future } => future.poll(cx),
            VerdictFutureProj::Identity { future } => future.poll(cx).map_err(Into::into),
        }
    }
}
