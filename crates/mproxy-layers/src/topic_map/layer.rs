//! The map as a layer of the CONNECT stage.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mproxy_codec::{EncodeError, KindSet, PropertyId, ReasonCode, Version};
use mproxy_session::{Admission, Connect, ConnectRefusal, Tap};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    MapError, SessionMap, TopicMap, TopicMapToClient, TopicMapToServer, properties, shared::Shared,
};
use crate::{Action, Names, Observer, denials::Denials, printable::Printable};

/// Maps the topics of a client, and maps them back: a layer for the CONNECT stage.
///
/// Layers outside of it see the topics of the client, layers inside of it those of the broker, in
/// both directions. See the [module documentation](super) for what does not pass, and the [crate
/// documentation](crate) for an example.
#[derive(Debug, Clone)]
pub struct TopicMapLayer<O = ()> {
    map: TopicMap,
    log_denials: bool,
    observer: O,
}

impl TopicMapLayer {
    /// Maps topics like this.
    pub const fn new(map: TopicMap) -> Self {
        Self {
            map,
            log_denials: true,
            observer: (),
        }
    }
}

impl<O> TopicMapLayer<O> {
    /// Says whether topics that have no place in the map are logged. They are, until it is
    /// turned off: the first of a session at once, then one in ten seconds with the number of the
    /// others.
    #[must_use]
    pub const fn log_denials(mut self, log: bool) -> Self {
        self.log_denials = log;
        self
    }

    /// Reports changed and dropped packets to an observer.
    pub fn observer<P: Observer>(self, observer: P) -> TopicMapLayer<P> {
        TopicMapLayer {
            map: self.map,
            log_denials: self.log_denials,
            observer,
        }
    }
}

impl<S, O: Clone> Layer<S> for TopicMapLayer<O> {
    type Service = TopicMapConnect<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        TopicMapConnect {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`TopicMapLayer`]: maps wills, and gives each session its map.
#[derive(Debug, Clone)]
pub struct TopicMapConnect<S, O = ()> {
    inner: S,
    layer: TopicMapLayer<O>,
}

impl<S, U, D, O> Service<Connect> for TopicMapConnect<S, O>
where
    S: Service<Connect, Response = Admission<U, D>>,
    O: Observer,
{
    type Response = Admission<TopicMapToServer<Tap<U>, O>, TopicMapToClient<Tap<D>, O>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut connect: Connect) -> Self::Future {
        let state = match self.layer.map_connect(&mut connect) {
            Ok(map) => State::Inner {
                future: self.inner.call(connect),
                session: Some((map, self.layer.clone())),
            },
            Err(refusal) => State::Refused {
                refusal: Some(refusal),
            },
        };
        ResponseFuture { state }
    }
}

impl<O: Observer> TopicMapLayer<O> {
    /// Returns the client's map, `None` if it sees the broker as it is.
    fn map_connect(&self, connect: &mut Connect) -> Result<Option<SessionMap>, ConnectRefusal> {
        let names = Names::of(connect);
        if self.map.is_super(names) {
            return Ok(None);
        }
        let map = self.map.for_client(names).map_err(|error| {
            ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_text(error.to_string())
        })?;
        let Some(will) = connect.packet().will() else {
            return Ok(Some(map));
        };
        let mapped = match map.map_name(will.topic) {
            Ok(mapped) => mapped,
            Err(error) => {
                if self.log_denials {
                    Denials::default().note(connect.info(), Action::Will, will.topic, &error);
                }
                return Err(refuse_will(will.topic, error));
            }
        };
        let properties = match will.properties.str(PropertyId::ResponseTopic) {
            Some(topic) => {
                let response = map
                    .map_name(topic)
                    .map_err(|error| refuse_will(topic, error))?;
                let id = PropertyId::ResponseTopic;
                Some(properties::with_text(&will.properties, id, Some(&response)).map_err(refuse)?)
            }
            None => None,
        };
        let packet = connect.packet_mut();
        packet.set_will_topic(&mapped).map_err(refuse)?;
        if let Some(properties) = properties {
            packet
                .set_will_properties(properties.as_bytes())
                .map_err(refuse)?;
        }
        Ok(Some(map))
    }

    fn wrap<U, D>(
        self,
        map: Option<SessionMap>,
        admission: Admission<U, D>,
    ) -> Admission<TopicMapToServer<Tap<U>, O>, TopicMapToClient<Tap<D>, O>> {
        admission.map_hooks(|connect, hooks| {
            let (to_server, to_client) = match (&map, connect.packet().version()) {
                (None, _) => (KindSet::NONE, KindSet::NONE),
                // Response Information is there
                (Some(_), Version::V5) => (TO_SERVER, KindSet::PUBLISH | KindSet::CONNACK),
                (Some(_), _) => (TO_SERVER, KindSet::PUBLISH),
            };
            // the topic name and the Response Topic, and the lengths before them
            let growth = map.as_ref().map_or(0, |map| match map.growth() {
                0 => 0,
                growth => 2 * growth + LENGTHS,
            });
            let shared = map.map(|map| {
                Arc::new(Shared {
                    map,
                    info: connect.info().clone(),
                    observer: self.observer,
                    denials: self.log_denials.then(Denials::default),
                })
            });
            let delivering = shared.clone();
            hooks.map(
                |tap| {
                    tap.wrap(to_server, true, |inner| {
                        TopicMapToServer::new(inner, shared)
                    })
                    .grows(growth)
                },
                |tap| {
                    tap.wrap(to_client, true, |inner| {
                        TopicMapToClient::new(inner, delivering)
                    })
                },
            )
        })
    }
}

/// How many bytes the Remaining Length and the length of the properties may grow by: from one to four,
/// each.
const LENGTHS: usize = 6;

/// What a client sends with a topic in it.
const TO_SERVER: KindSet = KindSet::PUBLISH
    .union(KindSet::SUBSCRIBE)
    .union(KindSet::UNSUBSCRIBE);

fn refuse_will(topic: &str, error: MapError) -> ConnectRefusal {
    let text = format!("will on topic {}: {error}", Printable(topic));
    ConnectRefusal::new(ReasonCode::TOPIC_NAME_INVALID).with_text(text)
}

/// The mapped will does not fit into a CONNECT.
fn refuse(error: EncodeError) -> ConnectRefusal {
    ConnectRefusal::new(ReasonCode::PACKET_TOO_LARGE).with_text(error.to_string())
}

pin_project! {
    /// The response future of [`TopicMapConnect`].
    #[derive(Debug)]
    pub struct ResponseFuture<F, O = ()> {
        #[pin]
        state: State<F, O>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F, O> {
        Inner { #[pin] future: F, session: Option<(Option<SessionMap>, TopicMapLayer<O>)> },
        Refused { refusal: Option<ConnectRefusal> },
    }
}

impl<F, U, D, E, O> Future for ResponseFuture<F, O>
where
    F: Future<Output = Result<Admission<U, D>, E>>,
    O: Observer,
{
    type Output = Result<Admission<TopicMapToServer<Tap<U>, O>, TopicMapToClient<Tap<D>, O>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future, session } => {
                let admission = ready!(future.poll(cx))?;
                Poll::Ready(Ok(match session.take() {
                    Some((map, layer)) => layer.wrap(map, admission),
                    // Polled after completion: nobody is let in.
                    None => Admission::refuse(ReasonCode::NOT_AUTHORIZED),
                }))
            }
            StateProj::Refused { refusal } => {
                let refusal = refusal.take();
                let refusal =
                    refusal.unwrap_or_else(|| ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED));
                Poll::Ready(Ok(Admission::Refuse(refusal)))
            }
        }
    }
}
