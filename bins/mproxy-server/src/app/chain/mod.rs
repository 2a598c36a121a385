//! The layers of a configuration as one type.
//!
//! A chain in the configuration is a list; a tower stack is a type. [`Chain`] turns the one into the
//! other by recursion: it is a service whose layers are real tower layers around the rest of the
//! chain, and the packet services that they make hold the rest behind a box of its own size. So a
//! session pays for the layers it has, and all chains, however long, are one type to the compiler.
//!
//! ```text
//! Chain[acl, map]            = AclLayer.layer(Chain[map])           the CONNECT stage
//! ToServer::Acl(Box<Acl<Tap<ToServer::TopicMap(Box<..>)>>>)         what a session holds
//! ```

mod compose;
pub(crate) mod naming;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;
use mproxy_admin::{Action, Decision, LayerMetrics, PacketType, Reason};
use mproxy_codec::Kind;
use mproxy_config::{self as config, Built, LayerConfig, LayerKind, Place, for_each_layer};
use mproxy_layers::{self as layers, Observer};
use mproxy_session::{Admission, BoxError, Connect, Hooks, Pace, Packet, Tap, Verdict};
use mproxy_transport::TlsServer;
use tower::{Layer, Service, ServiceExt};

pub(crate) use self::compose::{ByNames, Composed, compose};
pub(crate) use self::naming::Naming;

/// Counts what a layer does.
#[derive(Clone, Debug)]
pub(crate) struct Count(Arc<Counted>);

/// The counters of a layer, and its name in the log.
#[derive(Debug)]
struct Counted {
    metrics: LayerMetrics,
    what: Box<str>,
}

impl Count {
    pub(crate) fn new(metrics: LayerMetrics, what: &str) -> Self {
        let what = what.into();
        Self(Arc::new(Counted { metrics, what }))
    }

    fn count(&self, action: Action, allowed: bool, count: u32) {
        let decision = if allowed {
            Decision::Allow
        } else {
            Decision::Deny
        };
        self.0.metrics.decisions(action, decision, count);
    }
}

impl Observer for Count {
    fn layer(&self) -> Option<&str> {
        Some(&self.0.what)
    }

    fn connect(&self, allowed: bool) {
        self.count(Action::Connect, allowed, 1);
    }

    fn unsubscribe_refused(&self) {
        self.count(Action::Unsubscribe, false, 1);
    }

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
        self.count(action, allowed, count);
    }

    fn modified(&self, kind: Kind) {
        if let Some(kind) = PacketType::from_code(kind.as_u8()) {
            self.0.metrics.modified(kind);
        }
    }

    fn dropped(&self, kind: Kind) {
        if let Some(kind) = PacketType::from_code(kind.as_u8()) {
            self.0.metrics.dropped(kind, Reason::AclDenied);
        }
    }
}

/// A layer and its names in the log.
#[derive(Clone, Debug)]
pub(crate) struct NamedLayer {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Its name, its type and the rule by which it refuses clients.
    pub(crate) what: Arc<str>,
    pub(crate) layer: AnyLayer,
}

/// The layers of a chain, outermost first, as a service of the CONNECT stage.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    layers: Arc<[NamedLayer]>,
    /// The first layer of this service: the packet has passed the layers outside of it.
    from: usize,
}

impl Chain {
    pub(crate) fn new(layers: Vec<NamedLayer>) -> Self {
        Self {
            layers: layers.into(),
            from: 0,
        }
    }

    /// True for clones, which share the compiled layers.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layers, &other.layers)
    }

    /// The layers, outermost first, by their names in the log.
    pub(crate) fn describe(&self) -> String {
        let layers: Vec<_> = self.layers.iter().map(|layer| &*layer.what).collect();
        layers.join(", ")
    }

    /// The name of the layer that denied something, from the detail of a refusal. Text from a
    /// client, which may look like such a name, comes before it.
    pub(crate) fn judge_in(&self, detail: &str) -> Option<&str> {
        let judges = self.layers.iter().filter(|it| it.layer.refuses_wills());
        let named = judges.filter_map(|it| Some((detail.rfind(&*it.what)?, it)));
        let (_, last) = named.max_by_key(|(place, _)| *place)?;
        Some(&last.name)
    }
}

impl Service<Connect> for Chain {
    type Response = Admission<ToServer, ToClient>;
    type Error = BoxError;
    type Future = Admitting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        let inner = Self {
            layers: Arc::clone(&self.layers),
            from: self.from + 1,
        };
        let Some(NamedLayer { what, layer, .. }) = self.layers.get(self.from) else {
            let hooks = Hooks::none().map(
                |tap| tap.convert(|_| ToServer::Forward),
                |tap| tap.convert(|_| ToClient::Forward),
            );
            return Box::pin(std::future::ready(Ok(Admission::admit(connect, hooks))));
        };
        layer.enter(what, inner, connect)
    }
}

/// The answer of a chain.
type Admitting =
    Pin<Box<dyn Future<Output = Result<Admission<ToServer, ToClient>, BoxError>> + Send>>;

/// Calls a layer with a client, with the rest of the chain inside. A refusal passes the layers outside
/// of the one that refused; the first that sees it adds its name.
fn enter<L, U, D>(
    layer: &L,
    what: &Arc<str>,
    inner: Chain,
    connect: Connect,
    pack: impl FnOnce(Admission<U, D>) -> Admission<ToServer, ToClient> + Send + 'static,
) -> Admitting
where
    L: Layer<Chain>,
    L::Service: Service<Connect, Response = Admission<U, D>, Error = BoxError, Future: Send>,
    L::Service: Send + 'static,
{
    let admitted = layer.layer(inner).oneshot(connect);
    let what = Arc::clone(what);
    Box::pin(async move {
        let mut admission = admitted.await?;
        if let Admission::Refuse(refusal) = &mut admission {
            refusal.by.get_or_insert_with(|| (&*what).into());
        }
        Ok(pack(admission))
    })
}

/// The current chain, paces and trust of a listener, for all its sessions.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The number of the configuration with which the chain came; 1 is the first.
    pub(crate) generation: u64,
    /// Sessions of the previous policy cannot go on: topics are mapped differently now, or their chain is
    /// gone.
    pub(crate) ends_sessions: bool,
    pub(crate) composed: Composed,
    pub(crate) naming: Naming,
    /// To the server, and to the client.
    pub(crate) paces: [Option<Pace>; 2],
    /// The number of the configuration that changed the paces; 0 for those that came with the listener.
    pub(crate) paced: u64,
    /// Whose certificates are trusted; of two that trust alike, any.
    pub(crate) tls: Option<TlsServer>,
}

/// The current chain of a listener, which a reload replaces.
#[derive(Clone, Debug)]
pub(crate) struct LiveChain(Arc<ArcSwap<Policy>>);

impl LiveChain {
    pub(crate) fn of(policy: &Arc<ArcSwap<Policy>>) -> Self {
        Self(Arc::clone(policy))
    }
}

impl Service<Connect> for LiveChain {
    type Response = Admission<ToServer, ToClient>;
    type Error = BoxError;
    type Future = Admitting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        let policy = self.0.load();
        // taken before the call: a policy that comes meanwhile has a larger number, and judges again
        connect.handle().set_policy(policy.generation);
        match policy.naming.apply(connect) {
            // a chain is always ready
            Ok(connect) => policy.composed.chain.clone().call(connect),
            Err(refusal) => Box::pin(std::future::ready(Ok(Admission::Refuse(refusal)))),
        }
    }
}

/// Puts a packet service into the common type of its direction.
fn pack<S, T>(tap: Tap<S>, into: impl FnOnce(Box<S>) -> T, forward: T) -> Tap<T> {
    if tap.kinds().is_empty() {
        // a service that is offered nothing can be dropped
        let judges = tap.judges_identity();
        return Tap::none().convert(|_| forward).judge_identity(judges);
    }
    tap.convert(|service| into(Box::new(service)))
}

/// The verdict of a packet stack: ready at once, unless a layer waits.
///
/// A stack is polled when it is called, and boxed only if it is not ready then; it is
/// polled again with a real waker. So layers that do not wait cost no allocation.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `None` once it was returned.
    Ready(Option<Result<Verdict, BoxError>>),
    Waiting(Waiting),
}

/// A verdict that is not ready yet.
pub(crate) struct Waiting(Pin<Box<dyn Future<Output = Result<Verdict, BoxError>> + Send>>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

impl Answer {
    fn of<F>(mut future: F) -> Self
    where
        F: Future<Output = Result<Verdict, BoxError>> + Unpin + Send + 'static,
    {
        match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => Self::Ready(Some(verdict)),
            Poll::Pending => Self::Waiting(Waiting(Box::pin(future))),
        }
    }
}

impl Future for Answer {
    type Output = Result<Verdict, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            // polled after completion, which Future forbids: discarding is safe
            Self::Ready(verdict) => Poll::Ready(verdict.take().unwrap_or(Ok(Verdict::Discard))),
            Self::Waiting(Waiting(future)) => future.as_mut().poll(cx),
        }
    }
}

/// A packet stack of one direction: the layers that look at it.
macro_rules! packets {
    ($(#[$doc:meta])* $packets:ident { $($layer:ident($service:ty),)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) enum $packets {
            /// The end of the chain.
            Forward,
            $($layer(Box<$service>),)*
        }

        impl Service<Packet> for $packets {
            type Response = Verdict;
            type Error = BoxError;
            type Future = Answer;

            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                match self {
                    Self::Forward => Poll::Ready(Ok(())),
                    $(Self::$layer(service) => service.poll_ready(cx),)*
                }
            }

            fn call(&mut self, packet: Packet) -> Answer {
                match self {
                    Self::Forward => Answer::Ready(Some(Ok(Verdict::Forward(packet)))),
                    $(Self::$layer(service) => Answer::of(service.call(packet)),)*
                }
            }
        }
    };
}

/// Puts the packet service of a layer into the common type of its direction; a layer that does not
/// look at a direction leaves it to the layers inside.
macro_rules! packed {
    ($packets:ident) => {
        |tap| tap
    };
    ($packets:ident $layer:ident) => {
        |tap| pack(tap, $packets::$layer, $packets::Forward)
    };
}

macro_rules! layers {
    ($($layer:ident $(, to_server $up:ident)? $(, to_client $down:ident)?;)*) => {
        /// One layer of a chain.
        #[derive(Clone, Debug)]
        pub(crate) enum AnyLayer {
            $($layer(<config::$layer as LayerConfig>::Layer<Count>),)*
        }

        impl AnyLayer {
            /// Makes a layer.
            ///
            /// # Errors
            /// Settings that do not fit together, or do not fit the broker.
            pub(crate) fn build(
                kind: &LayerKind,
                place: Place<Count>,
            ) -> Result<Built<Self>, BoxError> {
                match kind {
                    $(LayerKind::$layer(settings) => {
                        settings.build(place).map(|built| built.map(Self::$layer))
                    })*
                }
            }

            const fn refuses_wills(&self) -> bool {
                match self {
                    $(Self::$layer(_) => <config::$layer as LayerConfig>::REFUSES_WILLS,)*
                }
            }

            fn enter(&self, what: &Arc<str>, inner: Chain, connect: Connect) -> Admitting {
                match self {
                    $(Self::$layer(layer) => enter(layer, what, inner, connect, |admission| {
                        admission.map_hooks(|_, hooks| {
                            hooks.map(packed!(ToServer $($up)?), packed!(ToClient $($down)?))
                        })
                    }),)*
                }
            }
        }

        packets!(
            /// The packet service for a client: the outermost layer of a chain, with the rest inside.
            ToServer { $($($up(<config::$up as LayerConfig>::ToServer<Self, Count>),)?)* }
        );
        packets!(
            /// The packet service for a broker: the outermost layer of a chain, with the rest inside.
            ToClient { $($($down(<config::$down as LayerConfig>::ToClient<Self, Count>),)?)* }
        );
    };
}

for_each_layer!(layers);
