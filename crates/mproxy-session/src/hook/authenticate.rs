//! [`AuthenticateLayer`]: asynchronous authentication of clients.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::inner::{Asking, Inner};
use crate::admit::{Admission, Connect, ConnectRefusal};

/// Calls an asynchronous closure for each CONNECT: `Ok(connect)` goes inward, perhaps
/// changed; `Err` refuses the client. A layer of the CONNECT stage.
///
/// It is called again for a session whose rules have changed ([`Connect::is_renewal`]). There is no
/// password then, and the [identity](Connect::identity) is the one that was set when the client connected:
/// if you check passwords, let clients with an identity pass.
///
/// To decide without waiting, or to wrap hooks, use
/// [`OnConnectLayer`](crate::OnConnectLayer).
///
/// ```
/// use mproxy_codec::ReasonCode;
/// use mproxy_session::{AuthenticateLayer, Connect, ConnectRefusal, Hooks, Identity, new_hooks};
/// use tower_layer::Layer;
///
/// async fn owner(_token: Vec<u8>) -> Option<String> { None } // for example, a remote service
///
/// let authenticate = AuthenticateLayer::new(|mut connect: Connect| async move {
///     if connect.is_renewal() && connect.identity().is_some() {
///         return Ok(connect);
///     }
///     let token = connect.packet().password().unwrap_or_default().to_vec();
///     match owner(token).await {
///         Some(name) => {
///             connect.set_identity(Identity::new(name));
///             Ok(connect)
///         }
///         None => Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD)),
///     }
/// });
/// let admit = authenticate.layer(new_hooks(|_session| Hooks::none()));
/// # let _ = admit;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AuthenticateLayer<A> {
    authenticate: A,
}

impl<A: AuthenticateConnect> AuthenticateLayer<A> {
    /// A layer that calls `authenticate`.
    pub const fn new(authenticate: A) -> Self {
        Self { authenticate }
    }
}

impl<S, A: Clone> Layer<S> for AuthenticateLayer<A> {
    type Service = Authenticate<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate::new(inner, self.authenticate.clone())
    }
}

/// Decides on a CONNECT on its way inward, and may wait. Implemented by closures, and by named
/// layer types.
pub trait AuthenticateConnect {
    /// The decision: the CONNECT, perhaps changed, or why the client is refused.
    type Future: Future<Output = Result<Connect, ConnectRefusal>>;

    /// Judges a CONNECT. The client waits for the result.
    fn authenticate(&mut self, connect: Connect) -> Self::Future;
}

impl<F, Fut> AuthenticateConnect for F
where
    F: FnMut(Connect) -> Fut,
    Fut: Future<Output = Result<Connect, ConnectRefusal>>,
{
    type Future = Fut;

    fn authenticate(&mut self, connect: Connect) -> Fut {
        self(connect)
    }
}

/// The service of [`AuthenticateLayer`], and of layers like it.
#[derive(Clone, Debug)]
pub struct Authenticate<S, A> {
    inner: Inner<S>,
    authenticate: A,
}

impl<S, A> Authenticate<S, A> {
    /// Calls `authenticate`, and then `inner`.
    pub fn new(inner: S, authenticate: A) -> Self {
        Self {
            inner: Inner::new(inner),
            authenticate,
        }
    }
}

impl<S, A, U, D> Service<Connect> for Authenticate<S, A>
where
    S: Service<Connect, Response = Admission<U, D>>,
    A: AuthenticateConnect,
{
    type Response = Admission<U, D>;
    type Error = S::Error;
    type Future = AuthenticateFuture<S, A::Future, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        AuthenticateFuture {
            asking: Asking::new(
                self.authenticate.authenticate(connect),
                self.inner.reserve(),
            ),
        }
    }
}

pin_project! {
    /// The response future of [`Authenticate`].
    pub struct AuthenticateFuture<S, A, F> {
        #[pin]
        asking: Asking<S, A, F>,
    }
}

impl<S, A, U, D> Future for AuthenticateFuture<S, A, S::Future>
where
    S: Service<Connect, Response = Admission<U, D>>,
    A: Future<Output = Result<Connect, ConnectRefusal>>,
{
    type Output = Result<Admission<U, D>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().asking.poll(cx, Admission::Refuse)
    }
}

impl<S, A, F> fmt::Debug for AuthenticateFuture<S, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateFuture").finish_non_exhaustive()
    }
}
