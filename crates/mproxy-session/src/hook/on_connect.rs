//! [`OnConnectLayer`]: a closure for CONNECT.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mproxy_codec::ReasonCode;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::Hooks;
use crate::admit::{Admission, Connect, ConnectRefusal};

layer! {
    /// Asks a closure about each CONNECT: a layer of the CONNECT stage.
    ///
    /// The closure may change the CONNECT, and refuses it with an `Err`. With an `Ok` the services inside
    /// are asked, and if they admit the client, what is in the `Ok` [wraps](WrapHooks) the hooks that
    /// they answer with; `()` leaves them alone.
    ///
    /// ```
    /// use mproxy_codec::ReasonCode;
    /// use mproxy_session::{Connect, ConnectRefusal, Hooks, OnConnectLayer, new_hooks};
    /// use tower_layer::Layer;
    ///
    /// let named = OnConnectLayer::new(|connect: &mut Connect| match connect.packet().user_name() {
    ///     Some(_) => Ok(()),
    ///     None => Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD)),
    /// });
    /// let admit = named.layer(new_hooks(|_| Hooks::none()));
    /// # let _ = admit;
    /// ```
    ///
    /// A layer with a name of its own is a [`JudgeConnect`], and has [`OnConnect`] for its service:
    ///
    /// ```
    /// use mproxy_codec::{KindSet, ReasonCode};
    /// use mproxy_session::{
    ///     Connect, ConnectRefusal, Filter, FilterLayer, Heads, Hooks, JudgeConnect, OnConnect, PacketHead,
    ///     Refusal, Tap, WrapHooks, new_hooks,
    /// };
    /// use tower_layer::Layer;
    ///
    /// /// Guests only read.
    /// #[derive(Clone, Copy)]
    /// struct ReadOnlyLayer;
    ///
    /// impl<S> Layer<S> for ReadOnlyLayer {
    ///     type Service = OnConnect<S, Self>;
    ///
    ///     fn layer(&self, inner: S) -> Self::Service {
    ///         OnConnect::new(inner, *self)
    ///     }
    /// }
    ///
    /// impl JudgeConnect for ReadOnlyLayer {
    ///     type Wrap = Self;
    ///
    ///     fn judge(&mut self, connect: &mut Connect) -> Result<Self, ConnectRefusal> {
    ///         match connect.packet().user_name() {
    ///             Some(_) => Ok(*self),
    ///             None => Err(ConnectRefusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD)),
    ///         }
    ///     }
    /// }
    ///
    /// type Judge = fn(&PacketHead) -> Result<(), Refusal>;
    ///
    /// impl<U, D> WrapHooks<U, D> for ReadOnlyLayer {
    ///     type ToServer = Heads<Filter<Tap<U>, Judge>>;
    ///     type ToClient = D;
    ///
    ///     fn wrap(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, D> {
    ///         let guest: Judge = |_| Err(Refusal::new(ReasonCode::NOT_AUTHORIZED));
    ///         let other: Judge = |_| Ok(());
    ///         let is_guest = connect.packet().user_name() == Some("guest");
    ///         let judge = FilterLayer::heads(if is_guest { guest } else { other });
    ///         // a PUBLISH, and the will, which is one
    ///         hooks.map(|tap| tap.wrap_heads(KindSet::PUBLISH, |inner| judge.layer(inner)), |tap| tap)
    ///     }
    /// }
    ///
    /// let admit = ReadOnlyLayer.layer(new_hooks(|_| Hooks::none()));
    /// # fn is_service<S: tower_service::Service<Connect>>(_: S) {}
    /// # is_service(admit);
    /// ```
    OnConnectLayer<J>: OnConnect<S, J> = OnConnect::new
}

impl<J: JudgeConnect> OnConnectLayer<J> {
    /// A layer that calls `judge`.
    pub const fn new(judge: J) -> Self {
        Self(judge)
    }
}

/// Decides on a CONNECT on its way inward. Implemented by closures, and by named layer types.
pub trait JudgeConnect {
    /// The value that wraps the hooks of the client, if the services inside admit it: usually a [`WrapHooks`]
    /// for any hooks.
    type Wrap;

    /// Judges a CONNECT, and may change it.
    ///
    /// # Errors
    /// The client is refused, and the services inside are not called.
    fn judge(&mut self, connect: &mut Connect) -> Result<Self::Wrap, ConnectRefusal>;
}

impl<F: FnMut(&mut Connect) -> Result<W, ConnectRefusal>, W> JudgeConnect for F {
    type Wrap = W;

    fn judge(&mut self, connect: &mut Connect) -> Result<W, ConnectRefusal> {
        self(connect)
    }
}

/// Wraps the packet services of an admitted client. Implemented by closures; `()` leaves them as
/// they are.
pub trait WrapHooks<U, D> {
    /// The packet service for what the client sends.
    type ToServer;
    /// The packet service for what the broker sends.
    type ToClient;

    /// Wraps the hooks; the CONNECT is as the services inside left it.
    fn wrap(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, Self::ToClient>;
}

impl<U, D> WrapHooks<U, D> for () {
    type ToServer = U;
    type ToClient = D;

    fn wrap(self, _: &Connect, hooks: Hooks<U, D>) -> Hooks<U, D> {
        hooks
    }
}

impl<F: FnOnce(&Connect, Hooks<U, D>) -> Hooks<V, E>, U, D, V, E> WrapHooks<U, D> for F {
    type ToServer = V;
    type ToClient = E;

    fn wrap(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<V, E> {
        self(connect, hooks)
    }
}

/// The service of [`OnConnectLayer`], and of layers like it.
#[derive(Clone, Copy, Debug)]
pub struct OnConnect<S, J> {
    inner: S,
    judge: J,
}

impl<S, J> OnConnect<S, J> {
    /// Calls `judge`, and then `inner`.
    pub const fn new(inner: S, judge: J) -> Self {
        Self { inner, judge }
    }
}

impl<S, J, U, D> Service<Connect> for OnConnect<S, J>
where
    S: Service<Connect, Response = Admission<U, D>>,
    J: JudgeConnect,
    J::Wrap: WrapHooks<U, D>,
{
    type Response =
        Admission<<J::Wrap as WrapHooks<U, D>>::ToServer, <J::Wrap as WrapHooks<U, D>>::ToClient>;
    type Error = S::Error;
    type Future = OnConnectFuture<S::Future, J::Wrap>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut connect: Connect) -> Self::Future {
        OnConnectFuture {
            state: match self.judge.judge(&mut connect) {
                Ok(wrap) => State::Inner {
                    future: self.inner.call(connect),
                    wrap,
                },
                Err(refusal) => State::Refused { refusal },
            },
        }
    }
}

pin_project! {
    /// The response future of [`OnConnect`].
    #[derive(Debug)]
    pub struct OnConnectFuture<F, W> {
        #[pin]
        state: State<F, W>,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwned]
    #[derive(Debug)]
    enum State<F, W> {
        Inner { #[pin] future: F, wrap: W },
        Refused { refusal: ConnectRefusal },
        Done,
    }
}

impl<F, W, U, D, E> Future for OnConnectFuture<F, W>
where
    F: Future<Output = Result<Admission<U, D>, E>>,
    W: WrapHooks<U, D>,
{
    type Output = Result<Admission<W::ToServer, W::ToClient>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let admission = match state.as_mut().project() {
            StateProj::Inner { future, .. } => Some(ready!(future.poll(cx))?),
            StateProj::Refused { .. } | StateProj::Done => None,
        };
        Poll::Ready(Ok(match (state.project_replace(State::Done), admission) {
            (StateOwned::Inner { wrap, .. }, Some(admission)) => {
                admission.map_hooks(|connect, hooks| wrap.wrap(connect, hooks))
            }
            (StateOwned::Refused { refusal }, _) => Admission::Refuse(refusal),
            // polled after completion: let nobody in
            _ => Admission::refuse(ReasonCode::NOT_AUTHORIZED),
        }))
    }
}
