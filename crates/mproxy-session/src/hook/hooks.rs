//! The hooks of a session.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::{Forward, PacketService, Tap, on_kind};
use crate::summary::Summary;

/// A closure that runs once when a session has ended.
pub(crate) type OnClose =
    Box<dyn FnOnce(Summary) -> Pin<Box<dyn Future<Output = Summary> + Send>> + Send>;

/// The hooks of one session: a tap in each direction, and notices of its end.
pub struct Hooks<U = Forward, D = Forward> {
    /// Sees what the client sends.
    pub to_server: Tap<U>,
    /// Sees what the broker sends.
    pub to_client: Tap<D>,
    pub(crate) on_close: Option<OnClose>,
    /// See [`holds`](Self::holds).
    pub(crate) held: usize,
}

impl Hooks {
    /// No hooks: both directions are piped at full speed.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            to_server: Tap::none(),
            to_client: Tap::none(),
            on_close: None,
            held: 0,
        }
    }
}

impl<U, D> Hooks<U, D> {
    /// Hooks in both directions.
    ///
    /// Layers wrap hooks with [`map`](Self::map), which keeps the notices of the end and what the inner
    /// taps are offered.
    ///
    /// # Panics
    /// If the stack for the broker's packets contains an [`OnSubscribeLayer`](crate::OnSubscribeLayer): it
    /// would never be called.
    #[track_caller]
    pub fn new(to_server: Tap<U>, to_client: Tap<D>) -> Self {
        on_kind::assert_asked::<D>();
        Self {
            to_server,
            to_client,
            on_close: None,
            held: 0,
        }
    }

    /// Wraps both directions, as a layer does.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn map<V, E>(
        self,
        to_server: impl FnOnce(Tap<U>) -> Tap<V>,
        to_client: impl FnOnce(Tap<D>) -> Tap<E>,
    ) -> Hooks<V, E> {
        on_kind::assert_asked::<E>();
        Hooks {
            to_server: to_server(self.to_server),
            to_client: to_client(self.to_client),
            on_close: self.on_close,
            held: self.held,
        }
    }

    /// Adds bytes that the hooks keep for this session and whose number depends on its
    /// client, such as copies of its names. They count like what the session itself holds
    /// ([`MemoryBudget`](crate::MemoryBudget)).
    #[must_use]
    pub const fn holds(mut self, bytes: usize) -> Self {
        self.held = self.held.saturating_add(bytes);
        self
    }

    /// Adds a notice of the session's end. It runs once, after both connections are closed, for
    /// every admitted client; the notice added last runs first.
    ///
    /// It does not run if the future of [`Session::run`](crate::Session::run) is dropped before it is ready: with its
    /// task, or by a `select!`. What must be undone then, too, belongs into the `Drop` of a value that the hooks own.
    ///
    /// All notices of a session together have [`Limits::hook_timeout`](field@crate::Limits::hook_timeout). What has
    /// not run by then is dropped, and `run` returns; a closure that blocks its thread is not interrupted.
    #[must_use]
    pub fn on_close<F, Fut>(mut self, notice: F) -> Self
    where
        F: FnOnce(&Summary) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let earlier = self.on_close.take();
        self.on_close = Some(Box::new(move |summary| {
            let notice = notice(&summary);
            Box::pin(async move {
                notice.await;
                match earlier {
                    Some(earlier) => earlier(summary).await,
                    None => summary,
                }
            })
        }));
        self
    }
}

impl<U: PacketService, D: PacketService> Hooks<U, D> {
    /// Does nothing; use it to find the line of a type error in a long stack.
    #[must_use]
    pub fn check(self) -> Self {
        self
    }
}

impl<U: fmt::Debug, D: fmt::Debug> fmt::Debug for Hooks<U, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("to_server", &self.to_server)
            .field("to_client", &self.to_client)
            .field("on_close", &self.on_close.is_some())
            .finish()
    }
}
