//! The rules as a layer of the CONNECT stage.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mproxy_codec::{KindSet, PropertyId, ReasonCode};
use mproxy_session::{Admission, Connect, ConnectRefusal, Tap};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    ClientIdToClient, ClientIds,
    to_client::{Id, Told},
};
use crate::Names;

/// Decides who may use which client id, and puts a prefix before it: a layer for the CONNECT stage.
///
/// Layers outside of it know the client by the id that it sent, layers inside of it by the one that
/// the broker will read.
#[derive(Debug, Clone)]
pub struct ClientIdLayer {
    ids: ClientIds,
}

impl ClientIdLayer {
    /// Enforces these rules.
    pub const fn new(ids: ClientIds) -> Self {
        Self { ids }
    }

    /// Renames the client, and returns what it has to be told.
    fn rename(&self, connect: &mut Connect) -> Result<Option<Box<Told>>, ConnectRefusal> {
        let refusal = |text: String| {
            ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID).with_text(text)
        };
        let names = Names::of(connect);
        // 128 bits that nobody guesses: an id is what a session is taken over by
        let random = match names.client_id {
            "" => format!("mproxy-{:032x}", rand::random::<u128>()),
            _ => String::new(),
        };
        let was_empty = names.client_id.is_empty();
        let called = self.ids.call(names, &random);
        let called = called.map_err(|error| refusal(error.to_string()))?;
        let packet = connect.packet();
        let version = packet.version();
        let size = packet.properties().number(PropertyId::MaximumPacketSize);
        if called.at_broker != packet.client_id() {
            let renamed = connect.packet_mut().set_client_id(&called.at_broker);
            renamed.map_err(|error| refusal(error.to_string()))?;
        }
        let id = if was_empty && !called.itself.is_empty() {
            Id::Generated(called.itself.into())
        } else if called.itself.is_empty() && !called.prefix.is_empty() {
            Id::Without(called.prefix.into())
        } else {
            // the broker has nothing to assign
            return Ok(None);
        };
        let told = Told {
            id,
            max_packet_size: size.map_or(usize::MAX, |size| size as usize),
        };
        // MQTT 3 has no word for it
        Ok(version.is_v5().then(|| Box::new(told)))
    }
}

impl<S> Layer<S> for ClientIdLayer {
    type Service = ClientIdConnect<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientIdConnect {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`ClientIdLayer`].
#[derive(Debug, Clone)]
pub struct ClientIdConnect<S> {
    inner: S,
    layer: ClientIdLayer,
}

impl<S, U, D> Service<Connect> for ClientIdConnect<S>
where
    S: Service<Connect, Response = Admission<U, D>>,
{
    type Response = Admission<U, ClientIdToClient<Tap<D>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut connect: Connect) -> Self::Future {
        let state = match self.layer.rename(&mut connect) {
            Ok(told) => State::Inner {
                future: self.inner.call(connect),
                told,
            },
            Err(refusal) => State::Refused {
                refusal: Some(refusal),
            },
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response future of [`ClientIdConnect`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Inner { #[pin] future: F, told: Option<Box<Told>> },
        Refused { refusal: Option<ConnectRefusal> },
    }
}

impl<F, U, D, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Admission<U, D>, E>>,
{
    type Output = Result<Admission<U, ClientIdToClient<Tap<D>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future, told } => {
                let admission = ready!(future.poll(cx))?;
                let told = told.take();
                let kinds = match &told {
                    Some(_) => KindSet::CONNACK,
                    None => KindSet::NONE,
                };
                Poll::Ready(Ok(admission.map_hooks(|_, hooks| {
                    hooks.map(
                        |tap| tap,
                        |tap| tap.wrap(kinds, true, |inner| ClientIdToClient::new(inner, told)),
                    )
                })))
            }
            StateProj::Refused { refusal } => {
                let refusal = refusal.take().unwrap_or_else(|| {
                    ConnectRefusal::new(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID)
                });
                Poll::Ready(Ok(Admission::Refuse(refusal)))
            }
        }
    }
}
