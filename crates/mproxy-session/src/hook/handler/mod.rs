//! [`HandlerLayer`]: eight callbacks, for those who think in callbacks rather than in services.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use mproxy_codec::{
    EncodeError, Kind, KindSet, PublishEdit, QoS, ReasonCode, Subscription, SubscriptionOptions,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{Hooks, Packet, PacketService, Refusal, Tap, Verdict};
use crate::BoxError;
use crate::admit::{Admission, Connect, ConnectRefusal};
use crate::context::SessionInfo;
use crate::summary::Summary;

/// The callbacks of [`HandlerLayer`]. All have empty defaults.
///
/// The `auth_` callbacks come before a packet is forwarded and may change or refuse it; the others
/// are notices. Everything is per session and in order; a callback that waits holds up its own
/// direction of its own session only.
///
/// ```
/// use mproxy_session::{Handler, PublishMut, Refusal, SessionInfo};
/// use mproxy_codec::ReasonCode;
///
/// struct OwnSubtree;
///
/// impl Handler for OwnSubtree {
///     async fn auth_publish(
///         &self,
///         session: &SessionInfo,
///         publish: &mut PublishMut,
///     ) -> Result<(), Refusal> {
///         // the will of a CONNECT comes here too
///         if publish.topic().starts_with(session.client_id()) {
///             Ok(())
///         } else {
///             Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
///         }
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// A CONNECT was read; the broker has not been dialled. May change client identifier, user
    /// name and password (also add or remove them) and everything else of the packet, or refuse.
    fn auth_connect(
        &self,
        connect: &mut Connect,
    ) -> impl Future<Output = Result<(), ConnectRefusal>> + Send {
        let _ = connect;
        async { Ok(()) }
    }

    /// The client publishes, or names its will in CONNECT. May change topic and payload, or refuse.
    fn auth_publish(
        &self,
        session: &SessionInfo,
        publish: &mut PublishMut,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (session, publish);
        async { Ok(()) }
    }

    /// The client subscribes. May change and add filters, refuse single ones, or refuse all.
    fn auth_subscribe(
        &self,
        session: &SessionInfo,
        subscribe: &mut SubscribeMut,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (session, subscribe);
        async { Ok(()) }
    }

    /// The broker accepted the client.
    fn connect(&self, session: &SessionInfo) -> impl Future<Output = ()> + Send {
        let _ = session;
        async {}
    }

    /// A PUBLISH of the client goes to the broker, as it goes.
    fn publish(
        &self,
        session: &SessionInfo,
        publish: &PublishMut,
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, publish);
        async {}
    }

    /// A SUBSCRIBE was answered: each filter that the client asked for with the code it gets. Filters
    /// are named as they were when [`auth_subscribe`](Self::auth_subscribe) saw them.
    fn subscribe(
        &self,
        session: &SessionInfo,
        granted: &[(String, ReasonCode)],
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, granted);
        async {}
    }

    /// An UNSUBSCRIBE was answered: each filter with the code it gets, which before MQTT 5.0 is
    /// always success.
    fn unsubscribe(
        &self,
        session: &SessionInfo,
        codes: &[(String, ReasonCode)],
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, codes);
        async {}
    }

    /// The session is over. Comes once for every client for which
    /// [`connect`](Self::connect) came.
    fn disconnect(
        &self,
        session: &SessionInfo,
        summary: &Summary,
    ) -> impl Future<Output = ()> + Send {
        let _ = (session, summary);
        async {}
    }
}

/// A PUBLISH or a will, for a callback to judge and to change.
#[derive(Clone)]
pub struct PublishMut {
    topic: String,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    will: bool,
    changed_topic: bool,
    changed_payload: bool,
}

impl PublishMut {
    fn of_packet(packet: &Packet) -> Option<Self> {
        let publish = packet.publish()?;
        Some(Self {
            topic: publish.topic().to_owned(),
            payload: publish
                .payload()
                .map_or_else(Bytes::new, |p| packet.as_bytes().slice_ref(p)),
            qos: publish.qos(),
            retain: publish.retain(),
            will: false,
            changed_topic: false,
            changed_payload: false,
        })
    }

    fn of_will(connect: &Connect) -> Option<Self> {
        let will = connect.packet().will()?;
        Some(Self {
            topic: will.topic.to_owned(),
            payload: connect.packet().as_bytes().slice_ref(will.payload),
            qos: will.qos,
            retain: will.retain,
            will: true,
            changed_topic: false,
            changed_payload: false,
        })
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Replaces the topic name.
    pub fn set_topic(&mut self, topic: impl Into<String>) {
        self.topic = topic.into();
        self.changed_topic = true;
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Replaces the payload.
    pub fn set_payload(&mut self, payload: impl Into<Bytes>) {
        self.payload = payload.into();
        self.changed_payload = true;
    }

    /// The quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// The RETAIN flag.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.retain
    }

    /// True for the will of a CONNECT.
    #[must_use]
    pub const fn is_will(&self) -> bool {
        self.will
    }

    fn apply_to_packet(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        if !self.changed_topic && !self.changed_payload {
            return Ok(());
        }
        let mut edit = PublishEdit::new();
        if self.changed_topic {
            edit = edit.topic(&self.topic);
        }
        if self.changed_payload {
            edit = edit.payload(&self.payload);
        }
        packet.edit_publish(&edit)
    }

    fn apply_to_will(&self, connect: &mut Connect) -> Result<(), EncodeError> {
        if self.changed_topic {
            connect.packet_mut().set_will_topic(&self.topic)?;
        }
        if self.changed_payload {
            connect.packet_mut().set_will_payload(&self.payload)?;
        }
        Ok(())
    }
}

impl fmt::Debug for PublishMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishMut")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("will", &self.will)
            .finish_non_exhaustive()
    }
}

/// A SUBSCRIBE, for a callback to judge and to change.
#[derive(Debug)]
pub struct SubscribeMut {
    entries: Vec<(String, SubscriptionOptions)>,
    refused: Vec<Option<ReasonCode>>,
    changed: Vec<bool>,
    added: Vec<(String, SubscriptionOptions)>,
}

impl SubscribeMut {
    fn of_packet(packet: &Packet) -> Option<Self> {
        let entries: Vec<_> = packet
            .subscribe()?
            .subscriptions()
            .map(|subscription| (subscription.filter.to_owned(), subscription.options))
            .collect();
        Some(Self {
            refused: vec![None; entries.len()],
            changed: vec![false; entries.len()],
            entries,
            added: Vec::new(),
        })
    }

    /// The filters that the client asks for, in order; the position is what
    /// [`refuse`](Self::refuse) and [`set_filter`](Self::set_filter) take.
    pub fn filters(&self) -> impl Iterator<Item = (&str, SubscriptionOptions)> {
        self.entries
            .iter()
            .map(|(filter, options)| (filter.as_str(), *options))
    }

    /// Refuses one filter. A position that does not exist is ignored.
    pub fn refuse(&mut self, position: usize, reason: ReasonCode) {
        if let Some(refused) = self.refused.get_mut(position) {
            *refused = Some(reason);
        }
    }

    /// Replaces one filter. A position that does not exist is ignored.
    pub fn set_filter(&mut self, position: usize, filter: impl Into<String>) {
        if let Some(entry) = self.entries.get_mut(position) {
            entry.0 = filter.into();
            self.changed[position] = true;
        }
    }

    /// Subscribes the client to one filter more, of which it is not told.
    pub fn add(&mut self, filter: impl Into<String>, qos: QoS) {
        self.added
            .push((filter.into(), SubscriptionOptions::new(qos)));
    }

    fn apply(self, packet: &mut Packet) -> Result<(), EncodeError> {
        for (filter, options) in self.added {
            packet.add_filter(&filter, options)?;
        }
        if self.changed.contains(&true) {
            let mut entries = self.entries.into_iter().zip(self.changed);
            packet.map_filters(|_| {
                Ok(entries
                    .next()
                    .and_then(|((filter, _), changed)| changed.then_some(filter)))
            })?;
        }
        let mut refused = self.refused.into_iter();
        packet
            .retain_filters(|_: Subscription<'_>| refused.next().flatten().map_or(Ok(()), Err))?;
        Ok(())
    }
}

/// Calls a [`Handler`] at the right moments. A layer of the CONNECT stage.
///
/// ```
/// use mproxy_session::{Handler, HandlerLayer, Hooks, new_hooks};
/// use tower_layer::Layer;
/// struct Nothing;
/// impl Handler for Nothing {}
/// let admit = HandlerLayer::new(Nothing).layer(new_hooks(|_| Hooks::none()));
/// # let _ = admit;
/// ```
#[derive(Debug)]
pub struct HandlerLayer<H> {
    handler: Arc<H>,
}

impl<H: Handler> HandlerLayer<H> {
    /// A layer that calls `handler`.
    #[must_use]
    pub fn new(handler: H) -> Self {
        Self {
            handler: Arc::new(handler),
        }
    }
}

impl<H> Clone for HandlerLayer<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
        }
    }
}

impl<S, H> Layer<S> for HandlerLayer<H> {
    type Service = HandlerAdmission<S, H>;

    fn layer(&self, inner: S) -> Self::Service {
        HandlerAdmission {
            inner,
            handler: Arc::clone(&self.handler),
        }
    }
}

/// The CONNECT-stage service of [`HandlerLayer`].
#[derive(Debug)]
pub struct HandlerAdmission<S, H> {
    inner: S,
    handler: Arc<H>,
}

impl<S: Clone, H> Clone for HandlerAdmission<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            handler: Arc::clone(&self.handler),
        }
    }
}

/// The future of the handler's services: boxed, because callbacks may wait.
pub type HandlerFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

impl<S, H, U, D> Service<Connect> for HandlerAdmission<S, H>
where
    S: Service<Connect, Response = Admission<U, D>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    H: Handler,
    U: PacketService + Clone,
    D: PacketService + Clone,
{
    type Response = Admission<HandlerPackets<Tap<U>, H>, HandlerPackets<Tap<D>, H>>;
    type Error = BoxError;
    type Future = HandlerFuture<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut connect: Connect) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let handler = Arc::clone(&self.handler);
        Box::pin(async move {
            if let Err(refusal) = handler.auth_connect(&mut connect).await {
                return Ok(Admission::Refuse(refusal));
            }
            if let Some(mut will) = PublishMut::of_will(&connect) {
                let session = connect.info().clone();
                if let Err(refusal) = handler.auth_publish(&session, &mut will).await {
                    let refusal = ConnectRefusal {
                        reason: refusal.reason,
                        text: refusal.text,
                    };
                    return Ok(Admission::Refuse(refusal));
                }
                will.apply_to_will(&mut connect)?;
            }
            let admission = inner.call(connect).await.map_err(Into::into)?;
            Ok(admission.map_hooks(|connect, hooks| wrap_hooks(&handler, connect, hooks)))
        })
    }
}

/// What the services of both directions and the notice of the end share.
#[derive(Debug, Default)]
struct Shared {
    /// The broker accepted the client, and the handler was told.
    connected: AtomicBool,
    /// Requests of the client that wait for their SUBACK or UNSUBACK.
    requests: Mutex<HashMap<(Kind, u16), Vec<String>>>,
}

fn wrap_hooks<H, U, D>(
    handler: &Arc<H>,
    connect: &Connect,
    hooks: Hooks<U, D>,
) -> Hooks<HandlerPackets<Tap<U>, H>, HandlerPackets<Tap<D>, H>>
where
    H: Handler,
{
    let shared = Arc::new(Shared::default());
    let session = connect.info().clone();
    let wrap_up = HandlerPackets::maker(handler, &session, &shared);
    let wrap_down = HandlerPackets::maker(handler, &session, &shared);
    let up = KindSet::PUBLISH | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    let down = KindSet::CONNACK | KindSet::SUBACK | KindSet::UNSUBACK;
    let handler = Arc::clone(handler);
    hooks
        .map(
            |tap| tap.wrap(up, false, wrap_up),
            |tap| tap.wrap(down, true, wrap_down),
        )
        .on_close(move |summary| {
            let summary = summary.clone();
            async move {
                // not whether the client got its CONNACK: who was told of one is told of the other
                let connected = shared.connected.load(Ordering::Relaxed);
                if let (true, Some(session)) = (connected, &summary.session) {
                    handler.disconnect(session, &summary).await;
                }
            }
        })
}

/// The packet-stage service of [`HandlerLayer`].
#[derive(Debug)]
pub struct HandlerPackets<S, H> {
    inner: S,
    handler: Arc<H>,
    session: SessionInfo,
    shared: Arc<Shared>,
}

impl<S: Clone, H> Clone for HandlerPackets<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            handler: Arc::clone(&self.handler),
            session: self.session.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, H> HandlerPackets<S, H> {
    fn maker(
        handler: &Arc<H>,
        session: &SessionInfo,
        shared: &Arc<Shared>,
    ) -> impl FnOnce(S) -> Self + use<S, H> {
        let handler = Arc::clone(handler);
        let session = session.clone();
        let shared = Arc::clone(shared);
        move |inner| Self {
            inner,
            handler,
            session,
            shared,
        }
    }
}

impl<S, H> Service<Packet> for HandlerPackets<S, H>
where
    S: PacketService + Clone,
    H: Handler,
{
    type Response = Verdict;
    type Error = BoxError;
    type Future = HandlerFuture<Verdict>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut packet: Packet) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let handler = Arc::clone(&self.handler);
        let session = self.session.clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            if let Err(refusal) = authorize(&*handler, &session, &mut packet, &shared).await? {
                return Ok(Verdict::Refuse(refusal));
            }
            let request = request_key(&packet);
            let verdict = inner.call(packet).await.map_err(Into::into)?;
            match &verdict {
                Verdict::Forward(packet) if !packet.is_refused() => {
                    notify(&*handler, &session, packet, &shared).await;
                }
                // no answer of the broker will come for it
                _ => forget(&shared, request),
            }
            Ok(verdict)
        })
    }
}

async fn authorize<H: Handler>(
    handler: &H,
    session: &SessionInfo,
    packet: &mut Packet,
    shared: &Shared,
) -> Result<Result<(), Refusal>, BoxError> {
    match packet.kind() {
        Kind::Publish => {
            if let Some(mut publish) = PublishMut::of_packet(packet) {
                if let Err(refusal) = handler.auth_publish(session, &mut publish).await {
                    return Ok(Err(refusal));
                }
                publish.apply_to_packet(packet)?;
            }
        }
        Kind::Subscribe => {
            let Some(mut subscribe) = SubscribeMut::of_packet(packet) else {
                return Ok(Ok(()));
            };
            remember(shared, packet);
            if let Err(refusal) = handler.auth_subscribe(session, &mut subscribe).await {
                forget(shared, request_key(packet));
                return Ok(Err(refusal));
            }
            subscribe.apply(packet)?;
        }
        Kind::Unsubscribe => remember(shared, packet),
        _ => {}
    }
    Ok(Ok(()))
}

async fn notify<H: Handler>(handler: &H, session: &SessionInfo, packet: &Packet, shared: &Shared) {
    match packet.kind() {
        Kind::Publish => {
            if let Some(publish) = PublishMut::of_packet(packet) {
                handler.publish(session, &publish).await;
            }
        }
        Kind::Connack if packet.connack().is_some_and(|connack| connack.is_success()) => {
            shared.connected.store(true, Ordering::Relaxed);
            handler.connect(session).await;
        }
        Kind::Suback | Kind::Unsuback => {
            let Some(suback) = packet.suback() else {
                return;
            };
            let request = if packet.kind() == Kind::Suback {
                Kind::Subscribe
            } else {
                Kind::Unsubscribe
            };
            let filters = lock(&shared.requests)
                .remove(&(request, suback.packet_id))
                .unwrap_or_default();
            // an UNSUBACK before MQTT 5.0 has no codes: all is well
            let codes = suback.codes.iter().copied().map(ReasonCode::new);
            let codes: Vec<_> = filters
                .into_iter()
                .zip(codes.chain(std::iter::repeat(ReasonCode::SUCCESS)))
                .collect();
            if request == Kind::Subscribe {
                handler.subscribe(session, &codes).await;
            } else {
                handler.unsubscribe(session, &codes).await;
            }
        }
        _ => {}
    }
}

fn remember(shared: &Shared, packet: &Packet) {
    let Some(key) = request_key(packet) else {
        return;
    };
    lock(&shared.requests).insert(key, packet.requested_filters());
}

fn forget(shared: &Shared, key: Option<(Kind, u16)>) {
    if let Some(key) = key {
        lock(&shared.requests).remove(&key);
    }
}

fn request_key(packet: &Packet) -> Option<(Kind, u16)> {
    let packet_id = match packet.kind() {
        Kind::Subscribe => packet.subscribe()?.packet_id(),
        Kind::Unsubscribe => packet.unsubscribe()?.packet_id(),
        _ => return None,
    };
    Some((packet.kind(), packet_id))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // nothing panics while the lock is held, and the map stays valid if something does
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
