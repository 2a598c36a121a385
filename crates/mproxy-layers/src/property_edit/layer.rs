//! The edits as a layer of the CONNECT stage.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mproxy_codec::{EncodeError, KindSet, ReasonCode};
use mproxy_session::{Admission, Connect, ConnectRefusal, Tap};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Edits, PropertyEditToClient, PropertyEditToServer, to_server::Shared};
use crate::{Names, Observer};

/// Edits User Properties: a layer for the CONNECT stage.
///
/// See the [module documentation](super).
#[derive(Debug, Clone)]
pub struct PropertyEditLayer<O = ()> {
    to_server: Edits,
    to_client: Edits,
    observer: O,
}

impl PropertyEditLayer {
    /// Edits what clients send, and what they receive.
    pub const fn new(to_server: Edits, to_client: Edits) -> Self {
        Self {
            to_server,
            to_client,
            observer: (),
        }
    }
}

impl<O> PropertyEditLayer<O> {
    /// Reports changed and dropped packets to an observer.
    pub fn observer<P: Observer>(self, observer: P) -> PropertyEditLayer<P> {
        PropertyEditLayer {
            to_server: self.to_server,
            to_client: self.to_client,
            observer,
        }
    }
}

/// The edits of one session.
#[derive(Debug)]
struct Session<O> {
    to_server: Option<Arc<Shared<O>>>,
    to_client: Option<Arc<Shared<O>>>,
}

impl<O: Observer> PropertyEditLayer<O> {
    /// Edits the CONNECT and its will.
    fn edit_connect(&self, connect: &mut Connect) -> Result<Session<O>, EncodeError> {
        if !connect.packet().version().is_v5() {
            return Ok(Session {
                to_server: None,
                to_client: None,
            });
        }
        let names = Names::of(connect);
        let shared = |edits: &Edits| -> Result<_, EncodeError> {
            if edits.is_empty() {
                return Ok(None);
            }
            let edits = edits.for_client(names)?;
            let observer = self.observer.clone();
            Ok(Some(Arc::new(Shared { edits, observer })))
        };
        let session = Session {
            to_server: shared(&self.to_server)?,
            to_client: shared(&self.to_client)?,
        };
        let Some(edits) = &session.to_server else {
            return Ok(session);
        };
        let own = edits.edited(&connect.packet().properties());
        let will = connect.packet().will();
        let will = will.and_then(|will| edits.edited(&will.properties));
        if let Some(properties) = own {
            connect.packet_mut().set_properties(&properties)?;
        }
        if let Some(properties) = will {
            connect.packet_mut().set_will_properties(&properties)?;
        }
        Ok(session)
    }
}

impl<S, O: Clone> Layer<S> for PropertyEditLayer<O> {
    type Service = PropertyEditConnect<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        PropertyEditConnect {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`PropertyEditLayer`].
#[derive(Debug, Clone)]
pub struct PropertyEditConnect<S, O = ()> {
    inner: S,
    layer: PropertyEditLayer<O>,
}

impl<S, U, D, O> Service<Connect> for PropertyEditConnect<S, O>
where
    S: Service<Connect, Response = Admission<U, D>>,
    O: Observer,
{
    type Response = Admission<PropertyEditToServer<Tap<U>, O>, PropertyEditToClient<Tap<D>, O>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut connect: Connect) -> Self::Future {
        let state = match self.layer.edit_connect(&mut connect) {
            Ok(session) => State::Inner {
                future: self.inner.call(connect),
                session: Some(session),
            },
            Err(error) => State::Refused {
                refusal: Some(
                    ConnectRefusal::new(ReasonCode::PACKET_TOO_LARGE).with_text(error.to_string()),
                ),
            },
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response future of [`PropertyEditConnect`].
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
        Inner { #[pin] future: F, session: Option<Session<O>> },
        Refused { refusal: Option<ConnectRefusal> },
    }
}

impl<F, U, D, E, O> Future for ResponseFuture<F, O>
where
    F: Future<Output = Result<Admission<U, D>, E>>,
    O: Observer,
{
    type Output =
        Result<Admission<PropertyEditToServer<Tap<U>, O>, PropertyEditToClient<Tap<D>, O>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future, session } => {
                let admission = ready!(future.poll(cx))?;
                Poll::Ready(Ok(match session.take() {
                    Some(session) => session.wrap(admission),
                    // Polled after completion: nobody is let in.
                    None => Admission::refuse(ReasonCode::NOT_AUTHORIZED),
                }))
            }
            StateProj::Refused { refusal } => {
                let refusal = refusal
                    .take()
                    .unwrap_or_else(|| ConnectRefusal::new(ReasonCode::PACKET_TOO_LARGE));
                Poll::Ready(Ok(Admission::Refuse(refusal)))
            }
        }
    }
}

impl<O> Session<O> {
    fn wrap<U, D>(
        self,
        admission: Admission<U, D>,
    ) -> Admission<PropertyEditToServer<Tap<U>, O>, PropertyEditToClient<Tap<D>, O>> {
        let kinds = |edits: &Option<_>, kinds| match edits {
            Some(_) => kinds,
            None => KindSet::NONE,
        };
        let to_server = kinds(&self.to_server, KindSet::PUBLISH | KindSet::SUBSCRIBE);
        let to_client = kinds(&self.to_client, KindSet::PUBLISH);
        let growth = self.to_server.as_ref().map_or(0, |it| it.edits.growth());
        admission.map_hooks(|_, hooks| {
            hooks.map(
                |tap| {
                    tap.wrap(to_server, true, |inner| {
                        PropertyEditToServer::new(inner, self.to_server)
                    })
                    .grows(growth)
                },
                |tap| {
                    tap.wrap(to_client, true, |inner| {
                        PropertyEditToClient::new(inner, self.to_client)
                    })
                },
            )
        })
    }
}
