//! [`AuthorizeLayer`]: yes or no after asking somebody.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use super::{Packet, Refusal, Verdict};

/// Asks an asynchronous closure about each packet: `Ok(packet)` goes inward, `Err` refuses.
///
/// The closure answers with a future that is boxed once; the packet's own service is not.
///
/// ```
/// use mproxy_session::{AuthorizeLayer, Forward, Packet, Refusal};
/// use mproxy_codec::ReasonCode;
/// use tower_layer::Layer;
///
/// async fn allowed(_topic: String) -> bool { true } // a database, say
///
/// let ask = AuthorizeLayer::new(|packet: Packet| async move {
///     let topic = packet.publish().map(|publish| publish.topic().to_owned());
///     match topic {
///         Some(topic) => match allowed(topic).await {
///             true => Ok(packet),
///             false => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
///         },
///         None => Ok(packet),
///     }
/// });
/// let service = ask.layer(Forward);
/// # let _ = service;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AuthorizeLayer<F> {
    ask: F,
}

impl<F, Fut> AuthorizeLayer<F>
where
    F: FnMut(Packet) -> Fut,
    Fut: Future<Output = Result<Packet, Refusal>> + Send + 'static,
{
    /// A layer that asks `ask`.
    pub const fn new(ask: F) -> Self {
        Self { ask }
    }
}

impl<S, F: Clone> Layer<S> for AuthorizeLayer<F> {
    type Service = Authorize<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize {
            inner,
            ask: self.ask.clone(),
        }
    }
}

/// See [`AuthorizeLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Authorize<S, F> {
    inner: S,
    ask: F,
}

impl<S, F, Fut> Service<Packet> for Authorize<S, F>
where
    S: Service<Packet, Response = Verdict> + Clone,
    F: FnMut(Packet) -> Fut,
    Fut: Future<Output = Result<Packet, Refusal>> + Send + 'static,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = AuthorizeFuture<S>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        // the service that was made ready must be the one that is called
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        AuthorizeFuture {
            state: State::Asking {
                answer: Box::pin((self.ask)(packet)),
                inner,
            },
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Packet, Refusal>> + Send>>;

pin_project_lite::pin_project! {
    /// The response future of [`Authorize`].
    pub struct AuthorizeFuture<S: Service<Packet>> {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Asking { answer: Answer, inner: S },
        Inner { #[pin] future: F },
    }
}

impl<S> Future for AuthorizeFuture<S>
where
    S: Service<Packet, Response = Verdict>,
{
    type Output = Result<Verdict, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Asking { answer, inner } => match ready!(answer.as_mut().poll(cx)) {
                    Ok(packet) => {
                        let future = inner.call(packet);
                        this.state.set(State::Inner { future });
                    }
                    Err(refusal) => return Poll::Ready(Ok(Verdict::Refuse(refusal))),
                },
                StateProj::Inner { future } => return future.poll(cx),
            }
        }
    }
}

impl<S: Service<Packet>> std::fmt::Debug for AuthorizeFuture<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizeFuture").finish_non_exhaustive()
    }
}
