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
        self.decisions(action, allowed, 1);
    }

    fn decisions(&self, action: layers::Action, allowed: bool, count: u32) {
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
        self.0.decisions(action, decision, count);
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

impl<S, U, D> Service<Connect> for AnyConnect<S>
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError>,
    U: PacketService,
    D: PacketService,
{
    type Response = Admission<AnyToServer<U>, AnyToClient<D>>;
    type Error = BoxError;
    type Future = AnyFuture<S, U, D>;

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

/// The future of a CONNECT-stage service.
type ConnectFuture<S> = <S as Service<Connect>>::Future;

pin_project! {
    /// The future of [`AnyConnect`].
    ///
    /// Like all types here it is generic in what is inside and nothing else: a stack's type then
    /// grows by one name a layer, where a parameter for each variant would quadruple it.
    #[project = AnyFutureProj]
    pub(crate) enum AnyFuture<S, U, D>
    where
        S: Service<Connect, Response = Admission<U, D>, Error = BoxError>,
    {
        Acl { #[pin] future: ConnectFuture<AclConnect<S, Count>> },
        TopicMap { #[pin] future: ConnectFuture<TopicMapConnect<S, Count>> },
        AccessLog { #[pin] future: ConnectFuture<AccessLogConnect<S>> },
        Identity { #[pin] future: ConnectFuture<S> },
    }
}

/// Puts the hooks of one layer into the common types.
macro_rules! common {
    ($admission:expr, $variant:ident) => {
        $admission.map_hooks(|_, hooks| {
            hooks.map(
                |tap| tap.convert(AnyToServer::$variant),
                |tap| tap.convert(AnyToClient::$variant),
            )
        })
    };
}

impl<S, U, D> Future for AnyFuture<S, U, D>
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError>,
    U: PacketService,
    D: PacketService,
{
    type Output = Result<Admission<AnyToServer<U>, AnyToClient<D>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.project() {
            AnyFutureProj::Acl { future } => common!(ready!(future.poll(cx))?, Acl),
            AnyFutureProj::TopicMap { future } => common!(ready!(future.poll(cx))?, TopicMap),
            AnyFutureProj::AccessLog { future } => common!(ready!(future.poll(cx))?, AccessLog),
            AnyFutureProj::Identity { future } => common!(ready!(future.poll(cx))?, Identity),
        }))
    }
}

/// The future of a packet service.
type PacketFuture<S> = <S as Service<Packet>>::Future;

/// A packet stack of one direction whose outermost layer is one of those that exist, and its
/// future.
macro_rules! any_packets {
    ($packets:ident, $future:ident, $project:ident, $acl:ident, $topic_map:ident, $log:ident) => {
        #[derive(Debug)]
        pub(crate) enum $packets<I> {
            Acl($acl<Tap<I>, Count>),
            TopicMap($topic_map<Tap<I>, Count>),
            AccessLog($log<Tap<I>>),
            Identity(I),
        }

        impl<I: PacketService> Service<Packet> for $packets<I> {
            type Response = Verdict;
            type Error = BoxError;
            type Future = $future<I>;

            // not inlined: the layers inside would be copied into each of the arms, and into the
            // arms of the arms
            #[inline(never)]
            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                match self {
                    Self::Acl(service) => service.poll_ready(cx),
                    Self::TopicMap(service) => service.poll_ready(cx),
                    Self::AccessLog(service) => service.poll_ready(cx),
                    Self::Identity(service) => service.poll_ready(cx).map_err(Into::into),
                }
            }

            #[inline(never)]
            fn call(&mut self, packet: Packet) -> Self::Future {
                match self {
                    Self::Acl(service) => $future::Acl {
                        future: service.call(packet),
                    },
                    Self::TopicMap(service) => $future::TopicMap {
                        future: service.call(packet),
                    },
                    Self::AccessLog(service) => $future::AccessLog {
                        future: service.call(packet),
                    },
                    Self::Identity(service) => $future::Identity {
                        future: service.call(packet),
                    },
                }
            }
        }

        pin_project! {
            #[project = $project]
            pub(crate) enum $future<I: PacketService> {
                Acl { #[pin] future: PacketFuture<$acl<Tap<I>, Count>> },
                TopicMap { #[pin] future: PacketFuture<$topic_map<Tap<I>, Count>> },
                AccessLog { #[pin] future: PacketFuture<$log<Tap<I>>> },
                Identity { #[pin] future: PacketFuture<I> },
            }
        }

        impl<I: PacketService> Future for $future<I> {
            type Output = Result<Verdict, BoxError>;

            #[inline(never)]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                match self.project() {
                    $project::Acl { future } => future.poll(cx),
                    $project::TopicMap { future } => future.poll(cx),
                    $project::AccessLog { future } => future.poll(cx),
                    $project::Identity { future } => future.poll(cx).map_err(Into::into),
                }
            }
        }
    };
}

any_packets!(
    AnyToServer,
    AnyToServerFuture,
    AnyToServerProj,
    AclToServer,
    TopicMapToServer,
    AccessLogToServer
);
any_packets!(
    AnyToClient,
    AnyToClientFuture,
    AnyToClientProj,
    AclToClient,
    TopicMapToClient,
    AccessLogToClient
);
