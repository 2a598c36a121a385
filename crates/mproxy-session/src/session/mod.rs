//! A connection from its first byte to its summary.

mod ahead;
mod ask;
mod close;
mod connect;
mod dial;
mod known;
mod opening;
mod renew;
mod run;
mod turn;
mod will;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use self::close::close;
pub use self::dial::dial_with;
use self::renew::{Renewal, renew};
use self::run::Run;
pub use self::turn::{Busy, Turn, Turns};
use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::context::{Peer, SessionInfo};
use crate::handle::{Running, SessionHandle};
use crate::hook::{OnClose, PacketService};
use crate::limits::Limits;
use crate::pipe::Pipe;
use crate::recorder::{NoRecorder, Recorder};
use crate::summary::Summary;

/// One client connection and, once it is admitted, its broker connection.
///
/// ```
/// use mproxy_session::{Hooks, Peer, Session, new_hooks};
///
/// # async fn example(client: tokio::net::TcpStream) {
/// let summary = Session::new(Peer::new("mqtt"))
///     .run(client, new_hooks(|_| Hooks::none()), |_connect| {
///         tokio::net::TcpStream::connect(("127.0.0.1", 1883))
///     })
///     .await;
/// println!("{} ended it: {}", summary.side, summary.reason);
/// # }
/// ```
pub struct Session {
    peer: Peer,
    limits: Arc<Limits>,
    recorder: Arc<dyn Recorder>,
    /// `None` = each client has its turn at once.
    turns: Option<Arc<dyn Turns>>,
    handle: Given,
}

/// The handle that a session was given. One of its own is made when it runs: there would be gaps between the
/// numbers of sessions otherwise.
enum Given {
    None,
    Handle(Running),
    /// It is another session's.
    Second,
}

/// A session that runs and has no pipe yet.
struct Connection {
    peer: Peer,
    limits: Arc<Limits>,
    recorder: Arc<dyn Recorder>,
    turns: Option<Arc<dyn Turns>>,
    handle: Running,
    /// It ends at once, because its handle is another session's.
    is_second: bool,
}

impl From<Session> for Connection {
    fn from(session: Session) -> Self {
        let is_second = matches!(session.handle, Given::Second);
        let handle = match session.handle {
            Given::Handle(handle) => handle,
            Given::None | Given::Second => Running::new(),
        };
        Self {
            peer: session.peer,
            limits: session.limits,
            recorder: session.recorder,
            turns: session.turns,
            handle,
            is_second,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A connection whose CONNECT was admitted.
struct Live<C, S, U: PacketService, D: PacketService, A> {
    pipe: Pipe<C, S, U, D>,
    renewal: Renewal<A>,
    /// Boxed once more, to be one word, because few sessions have one.
    on_close: Option<Box<OnClose>>,
}

/// Logs how far a session has come.
fn transition(session: &SessionInfo, what: &'static str) {
    tracing::debug!(
        target: "mproxy::session",
        listener = &*session.peer().listener,
        peer = %session.peer(),
        client_id = session.client_id(),
        "{what}"
    );
}

impl Session {
    /// A session with default limits and without a recorder.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            limits: Arc::default(),
            recorder: Arc::new(NoRecorder),
            turns: None,
            handle: Given::None,
        }
    }

    /// Sets limits and policies.
    #[must_use]
    pub fn limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the recorder of counters and events.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// Sets what lets admitted clients through to the broker; without it, none waits.
    #[must_use]
    pub fn turns(mut self, turns: Arc<dyn Turns>) -> Self {
        self.turns = Some(turns);
        self
    }

    /// Sets the handle of the session: one per session. A session that is given the handle of another one,
    /// even of one that has ended, ends before it reads anything, with
    /// [`CloseReason::Internal`](crate::CloseReason::Internal) and a handle of its own.
    #[must_use]
    pub fn handle(mut self, handle: SessionHandle) -> Self {
        self.handle = Running::of(handle).map_or(Given::Second, Given::Handle);
        self
    }

    /// Bytes that a running session of these types takes on the heap, in one piece, beside what `C` and
    /// `S` themselves own: with thousands of idle clients this is most of the memory. Allocators round it
    /// up, jemalloc to 512 or 640.
    ///
    /// ```
    /// use mproxy_session::{Forward, Session};
    /// use tokio::net::TcpStream;
    ///
    /// type Stage = (); // that of CONNECT: a service without state
    /// assert!(Session::live_size::<TcpStream, TcpStream, Forward, Forward, Stage>() <= 512);
    /// ```
    #[must_use]
    pub const fn live_size<C, S, U: PacketService, D: PacketService, A>() -> usize {
        size_of::<Live<C, S, U, D, A>>()
    }

    /// Serves the connection until it is closed, and returns how it ended.
    ///
    /// `admit` judges the CONNECT. Only if it admits the client, `dial` is called to connect to the
    /// broker: a closure, or a tower service with [`dial_with`](crate::dial_with). Errors and panics of
    /// hooks close only this session.
    ///
    /// The session keeps `admit` for its whole life, to be [judged
    /// again](SessionHandle::renew) by it: put a stage for many sessions behind one pointer.
    ///
    /// Sessions that send a lot take turns, four at a time on a thread, and each leaves its turn when it is polled
    /// again: do not keep the future of one unpolled beside others, as behind `&mut` in a `select!`.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers ([`enable_time`](tokio::runtime::Builder::enable_time)).
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections at once, without flushing and without notices: neither
    /// [`Hooks::on_close`](crate::Hooks::on_close) nor [`Events::ending`](crate::Events::ending) is called.
    pub fn run<C, A, U, D, F, Fut, S, E>(
        self,
        client: C,
        admit: A,
        dial: F,
    ) -> impl Future<Output = Summary>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        D: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin,
        E: Into<BoxError>,
    {
        self.run_watched(client, |_| false, admit, dial)
    }

    /// The same, for a client of which is known that it is gone before all that it has sent is read.
    /// `has_left` says so: it has closed its connection, or its side of it. It is asked once in a second about a
    /// client that waits for its [turn](Turns) and has sent 8 KiB already without a PUBLISH, and about one for which
    /// the broker is dialled after its turn; others are read until their end. With [`run`](Self::run), such a client
    /// keeps its place until its turn comes, and its turn until the broker is dialled.
    ///
    /// # Panics
    /// As `run`.
    ///
    /// # Cancel safety
    /// As `run`.
    pub fn run_watched<C, A, U, D, F, Fut, S, E>(
        self,
        client: C,
        has_left: fn(&C) -> bool,
        admit: A,
        dial: F,
    ) -> impl Future<Output = Summary>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        D: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin,
        E: Into<BoxError>,
    {
        let dial = async |connect: &Connect| dial(connect).await.map_err(Into::into);
        Run::new(
            Connection::from(self).open(client, has_left, admit, dial),
            |live: &mut Box<Live<C, S, U, D, A>>, cx: &mut Context<'_>| live.pipe.poll(cx),
            renew,
            close,
        )
    }
}
