//! [`AuthenticateLayer`]: asynchronous authentication of clients.

use std::future::Future;
use std::task::{Context, Poll};

use tower_service::Service;

use super::inner::{AskFuture, Inner};
use crate::admit::{Admission, Connect, ConnectRefusal};

layer! {
    /// Asks somebody about each CONNECT, and waits for the answer: `Ok(connect)` goes inward, perhaps
    /// changed, `Err` turns the client away. A layer of the CONNECT stage.
    ///
    /// It is asked again about a session whose rules have changed ([`Connect::is_renewal`]). There is no
    /// password then, and the [identity](Connect::identity) is that which was set when the client connected:
    /// one who asks for a password lets those pass that have an identity.
    ///
    /// A layer of [`OnConnectLayer`](crate::OnConnectLayer) is what decides without waiting, and what
    /// wraps hooks.
    ///
    /// ```
    /// use mproxy_codec::ReasonCode;
    /// use mproxy_session::{AuthenticateLayer, Connect, ConnectRefusal, Hooks, Identity, new_hooks};
    /// use tower_layer::Layer;
    ///
    /// async fn owner(_token: Vec<u8>) -> Option<String> { None } // a service, say
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
    AuthenticateLayer<A>: Authenticate<S, A> = Authenticate::new
}

impl<A: AuthenticateConnect> AuthenticateLayer<A> {
    /// A layer that calls `authenticate`.
    pub const fn new(authenticate: A) -> Self {
        Self(authenticate)
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
    type Future = AskFuture<S, A::Future, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, connect: Connect) -> Self::Future {
        AskFuture::new(
            self.authenticate.authenticate(connect),
            self.inner.reserve(),
        )
    }
}
