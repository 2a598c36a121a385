//! The handler as a layer of the CONNECT stage.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mproxy_codec::KindSet;
use tower_layer::Layer;
use tower_service::Service;

use super::shared::Shared;
use super::{Handler, HandlerPackets};
use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::hook::inner::Inner;
use crate::hook::{Hooks, PacketService, Tap};

/// Calls the callbacks of a [`Handler`]. A layer of the CONNECT stage.
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
            inner: Inner::new(inner),
            handler: Arc::clone(&self.handler),
        }
    }
}

/// The CONNECT-stage service of [`HandlerLayer`].
#[derive(Debug)]
pub struct HandlerAdmission<S, H> {
    inner: Inner<S>,
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

/// The future of the handler's CONNECT stage: boxed, because callbacks may wait.
pub type HandlerFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

impl<S, H, U, D> Service<Connect> for HandlerAdmission<S, H>
where
    S: Service<Connect, Response = Admission<U, D>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    H: Handler,
    U: PacketService,
    D: PacketService,
{
    type Response = Admission<HandlerPackets<Tap<U>, H>, HandlerPackets<Tap<D>, H>>;
    type Error = BoxError;
    type Future = HandlerFuture<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut connect: Connect) -> Self::Future {
        let inner = self.inner.reserve();
        let handler = Arc::clone(&self.handler);
        Box::pin(async move {
            if let Err(refusal) = handler.auth_connect(&mut connect).await {
                return Ok(Admission::Refuse(refusal));
            }
            let admission = inner.call(connect).await.map_err(Into::into)?;
            Ok(admission.map_hooks(|connect, hooks| wrap_hooks(&handler, connect, hooks)))
        })
    }
}

fn wrap_hooks<H: Handler, U, D>(
    handler: &Arc<H>,
    connect: &Connect,
    hooks: Hooks<U, D>,
) -> Hooks<HandlerPackets<Tap<U>, H>, HandlerPackets<Tap<D>, H>> {
    let shared = Arc::new(Shared::default());
    let session = connect.info().clone();
    let to_server = HandlerPackets::maker(handler, &session, &shared);
    let to_client = HandlerPackets::maker(handler, &session, &shared);
    let sent = KindSet::PUBLISH | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    let answered = KindSet::CONNACK | KindSet::SUBACK | KindSet::UNSUBACK;
    let handler = Arc::clone(handler);
    let hooks = hooks.map(
        |tap| tap.wrap(sent, to_server),
        |tap| tap.wrap(answered, to_client),
    );
    if connect.is_renewal() {
        // a handler that got `connect` must get `disconnect`
        return hooks;
    }
    hooks.on_close(move |summary| {
        let summary = summary.clone();
        async move {
            // whether the handler got `connect`, not whether the client got its CONNACK
            if let (true, Some(session)) = (shared.is_connected(), &summary.session) {
                handler.disconnect(session, &summary).await;
            }
        }
    })
}
