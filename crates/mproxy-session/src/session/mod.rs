//! A connection from its first byte to its summary.

mod close;
mod connect;
mod renew;
mod run;
mod size;
mod will;

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use mproxy_codec::{ConnectPacket, Direction, Kind, PropertyId, ReasonCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use self::close::close;
use self::connect::{hold, parse_connect, read_connect};
use self::renew::{Renewal, ask, renew};
use self::run::Run;
use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::cause::{Cause, Denial, End, Overdue};
use crate::context::{Peer, SessionInfo};
use crate::flow::Flow;
use crate::flow::Inbox;
use crate::flow::Outbox;
use crate::handle::{Running, SessionHandle};
use crate::hook::{Hooks, OnClose, PacketService};
use crate::limits::Limits;
use crate::pipe::Pipe;
use crate::recorder::{Batch, NoRecorder, Recorder};
use crate::reply::Replies;
use crate::rules::{Rules, lower_aliases, lower_keep_alive};
use crate::slow;
use crate::summary::{Glimpse, Summary};

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
    handle: Running,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What is known of a connection before it has a pipe.
struct Prologue<S, U, D, A> {
    server: S,
    hooks: Hooks<U, D>,
    renewal: Renewal<A>,
    connect: ConnectPacket,
    /// What the client sent behind its CONNECT.
    rest: BytesMut,
    session: SessionInfo,
    /// When the CONNECT, and `rest` with it, had come.
    received_at: Instant,
}

/// What is known of a client so far. It outlives the stages that find it out, so that a client whose
/// hook panics, or who is sent away while the broker is dialled, is answered and reported like any
/// other.
#[derive(Default)]
struct Known {
    version: Option<Version>,
    /// What the client can be told, once its CONNECT could be read.
    replies: Option<Replies>,
    session: Option<SessionInfo>,
    on_close: Option<OnClose>,
    glimpse: Option<Box<Glimpse>>,
    stage: Stage,
}

/// Where a connection is on its way to a pipe: whose fault a panic is.
#[derive(Clone, Copy, Default)]
enum Stage {
    /// CONNECT is read and checked, by the session itself.
    #[default]
    Connect,
    /// The hooks have CONNECT.
    Admission,
    /// The hooks have the will.
    Will,
    /// The broker is dialled.
    Dial,
}

impl Stage {
    /// How a connection ends whose stage panicked. Only hooks are code of others: an operator who is
    /// told of a layer looks at the wrong place when a thread cannot be started.
    #[cold]
    fn panicked(self, panic: &(dyn Any + Send)) -> End {
        match self {
            Self::Connect => Cause::defect("CONNECT was read", panic),
            Self::Admission => Cause::panic("CONNECT", panic),
            Self::Will => Cause::panic("the will", panic),
            Self::Dial => Cause::defect("the broker was dialled", panic),
        }
    }
}

/// Who a client of enhanced authentication said that it is. A hook that puts other credentials into
/// the CONNECT and leaves the method has the broker authenticate somebody else than it did itself
/// (section 4.12).
struct Claim(Option<ConnectPacket>);

impl Claim {
    fn of(packet: &ConnectPacket) -> Self {
        Self(has_method(packet).then(|| packet.clone()))
    }

    fn is_contradicted_by(&self, packet: &ConnectPacket) -> bool {
        self.0.as_ref().is_some_and(|claimed| {
            let same = claimed.user_name() == packet.user_name()
                && claimed.password() == packet.password();
            has_method(packet) && !same
        })
    }
}

fn has_method(packet: &ConnectPacket) -> bool {
    packet
        .properties()
        .get(PropertyId::AuthenticationMethod)
        .is_some()
}

/// A connection that ended before it had a pipe.
struct Rejected {
    end: End,
    known: Known,
}

/// A connection whose CONNECT was admitted.
struct Live<C, S, U: PacketService, D: PacketService, A> {
    pipe: Pipe<C, S, U, D>,
    renewal: Renewal<A>,
    /// Boxed once more, to be one word: few sessions have one.
    on_close: Option<Box<OnClose>>,
}

impl Session {
    /// A session with default limits that counts nothing.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            limits: Arc::default(),
            recorder: Arc::new(NoRecorder),
            handle: Running(SessionHandle::new()),
        }
    }

    /// Sets bounds and policies.
    #[must_use]
    pub fn limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// Sets who receives the counters.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// Sets the handle of the session: one per session.
    #[must_use]
    pub fn handle(mut self, handle: SessionHandle) -> Self {
        self.handle = Running(handle);
        self
    }

    /// Serves the connection until it is closed, and says how it went.
    ///
    /// `admit` is asked about the CONNECT; only when it admits is `dial` called, to connect to the
    /// broker. Errors and panics of hooks close this session and nothing else.
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections at once, without flushing and without notices.
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
        E: fmt::Display,
    {
        Run::new(
            self.open(client, admit, dial),
            |live: &mut Box<Live<C, S, U, D, A>>, cx: &mut Context<'_>| live.pipe.poll(cx),
            renew,
            close,
        )
    }

    /// Brings a connection to the point where it has a pipe, or to its end.
    async fn open<C, A, U, D, F, Fut, S, E>(
        self,
        mut client: C,
        admit: A,
        dial: F,
    ) -> Result<Box<Live<C, S, U, D, A>>, Box<Summary>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        D: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        S: AsyncRead + AsyncWrite + Unpin,
        E: fmt::Display,
    {
        let started = Instant::now();
        // boxed, as the rest of what few connections come to: most only wait
        let prologue = match self.prologue(&mut client, admit, dial).await {
            Ok(prologue) => prologue,
            Err(rejected) => {
                let summary = Box::pin(self.reject(client, *rejected, started)).await;
                return Err(Box::new(summary));
            }
        };
        let Prologue {
            server,
            hooks,
            renewal,
            connect,
            rest,
            session,
            received_at,
        } = *prologue;
        let ages = connect.version().is_v5();
        let mut out = Outbox::new(ages);
        out.push(connect.as_bytes());
        let kept = renewal.kept(&session, hooks.held);
        let rules = Rules::new(&connect, session, self.limits);
        let mut input = Inbox::new(rest);
        input.wait_since(received_at);
        let flows = (
            Flow::new(Direction::ToServer, hooks.to_server, input, out),
            Flow::new(
                Direction::ToClient,
                hooks.to_client,
                Inbox::default(),
                Outbox::new(ages),
            ),
        );
        Ok(Box::new(Live {
            pipe: Pipe::new(
                (client, server),
                flows,
                rules,
                self.recorder,
                self.handle,
                started,
                kept,
            ),
            renewal,
            on_close: hooks.on_close.map(Box::new),
        }))
    }

    /// Reads CONNECT, asks the hooks, dials the broker; ends early when ordered to.
    async fn prologue<C, A, U, D, F, Fut, S, E>(
        &self,
        client: &mut C,
        admit: A,
        dial: F,
    ) -> Result<Box<Prologue<S, U, D, A>>, Box<Rejected>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: fmt::Display,
    {
        let known = Mutex::new(Known::default());
        let outcome = {
            let mut stage = pin!(self.stages(client, admit, dial, &known));
            poll_fn(|cx| {
                if let Poll::Ready(order) = self.handle.poll_order(cx) {
                    return Poll::Ready(Err(order.into()));
                }
                catch_unwind(AssertUnwindSafe(|| stage.as_mut().poll(cx))).unwrap_or_else(|panic| {
                    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                    Poll::Ready(Err(known.stage.panicked(&*panic)))
                })
            })
            .await
        };
        let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(mut prologue) => {
                prologue.hooks.on_close = known.on_close;
                Ok(prologue)
            }
            Err(end) => Err(Box::new(Rejected { end, known })),
        }
    }

    fn enter(&self, batch: &Batch) {
        let recorder = &*self.recorder;
        self.handle.enter(Direction::ToServer, batch, recorder);
    }

    /// A hook refused the CONNECT, or the will in it.
    fn denied(&self) {
        let batch = Batch {
            denied: 1,
            ..Batch::default()
        };
        self.enter(&batch);
    }

    async fn stages<C, A, U, D, F, Fut, S, E>(
        &self,
        client: &mut C,
        admit: A,
        dial: F,
        known: &Mutex<Known>,
    ) -> Result<Box<Prologue<S, U, D, A>>, End>
    where
        C: AsyncRead + Unpin,
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: fmt::Display,
    {
        let limits = &*self.limits;
        let kept = self.peer.size();
        hold(&self.handle, kept)?;
        let received = Mutex::new(BytesMut::new());
        let read = timeout(
            limits.connect_timeout,
            read_connect(client, limits, (&self.handle, kept), &received),
        );
        let overdue = || Err(Box::new(Cause::Overdue(Overdue::Connect)));
        let read = read.await.unwrap_or_else(|_| overdue());
        let rest = received
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let frame = read.inspect_err(|end| {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let batch = Batch {
                bytes: rest.len() as u64,
                ..Batch::default()
            };
            // of no packet: recorders count packets
            self.handle.count(Direction::ToServer, &batch);
            known.glimpse = Some(Glimpse::of(&rest, end));
        })?;
        // twice: the names in it are kept, too, and hooks may make it another one
        hold(&self.handle, kept + rest.capacity() + 2 * frame.len())?;
        // boxed: a connection that has sent nothing must not pay for it
        Box::pin(self.admission(frame, rest, admit, dial, known)).await
    }

    /// Parses CONNECT, asks the hooks and dials the broker.
    async fn admission<A, U, D, F, Fut, S, E>(
        &self,
        frame: Bytes,
        rest: BytesMut,
        mut admit: A,
        dial: F,
        known: &Mutex<Known>,
    ) -> Result<Box<Prologue<S, U, D, A>>, End>
    where
        A: Service<Connect, Response = Admission<U, D>>,
        A::Error: Into<BoxError>,
        U: PacketService,
        F: FnOnce(&Connect) -> Fut,
        Fut: Future<Output = Result<S, E>>,
        E: fmt::Display,
    {
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = &*self.limits;
        let received_at = Instant::now();
        let version = ConnectPacket::version_of(&frame);
        {
            let mut batch = Batch::default();
            batch.read(Kind::Connect, frame.len());
            self.enter(&batch);
            known().version = version;
        }
        let frame = limits.repair(frame);
        let packet = parse_connect(&frame, limits)
            .and_then(|packet| limits.admit(packet))
            .inspect_err(|end| known().glimpse = Some(Glimpse::of(&frame, end)))?;
        drop(frame);
        tracing::debug!(
            target: "mproxy::session",
            listener = &*self.peer.listener,
            peer = %self.peer,
            client_id = packet.client_id(),
            version = packet.version().as_str(),
            "CONNECT read"
        );
        let connect = Connect::of_session(packet, self.peer.clone(), self.handle.clone());
        self.recorder.connect(connect.info());
        {
            let mut known = known();
            known.replies = Some(Replies::for_client(connect.packet()));
            known.session = Some(connect.info().clone());
            known.stage = Stage::Admission;
        }
        let claimed = Claim::of(connect.packet());
        let sent = connect.info().names().clone();
        let info = connect.info().clone();
        let asked = slow::watched::<A, _>(
            ask(&mut admit, connect, limits),
            "CONNECT",
            info,
            &*self.recorder,
        );
        let (mut connect, mut hooks) = match asked.await? {
            Admission::Admit { connect, hooks } => (connect, hooks),
            Admission::Refuse(refusal) => {
                self.denied();
                return Err(Cause::turned_away(refusal, None));
            }
        };
        let session = connect.info().clone();
        {
            let mut known = known();
            self.handle.set_info(&session);
            known.session = Some(session.clone());
            known.on_close = hooks.on_close.take();
        }
        if claimed.is_contradicted_by(connect.packet()) {
            let code = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return Err(Cause::denied(Denial::Credentials, code));
        }
        known().stage = Stage::Will;
        let to_server = &mut hooks.to_server;
        let judged = will::offer(to_server, &mut connect, limits, &*self.recorder);
        let judged = slow::watched::<U, _>(judged, "PUBLISH", session.clone(), &*self.recorder);
        let judged = judged.await;
        let is_denied = match &judged {
            Ok(taken_out) => *taken_out,
            Err(end) => matches!(**end, Cause::TurnedAway { .. }),
        };
        if is_denied {
            self.denied();
        }
        judged?;
        known().stage = Stage::Dial;
        let transition = |transition: &'static str| {
            tracing::debug!(
                target: "mproxy::session",
                listener = &*self.peer.listener,
                peer = %self.peer,
                client_id = session.client_id(),
                "{transition}"
            );
        };
        transition("admitted");
        let dialled = dial(&connect).await;
        let server = dialled.map_err(|error| Box::new(Cause::NotDialled(error.to_string())))?;
        transition("broker dialled, CONNECT forwarded");
        if hooks.to_client.kinds().contains(Kind::Publish) {
            lower_aliases(connect.packet_mut(), limits);
        }
        lower_keep_alive(connect.packet_mut(), limits);
        let connect = connect.packet().clone();
        Ok(Box::new(Prologue {
            server,
            hooks,
            renewal: Renewal::new(admit, sent, &session),
            connect,
            rest,
            session,
            received_at,
        }))
    }
}
