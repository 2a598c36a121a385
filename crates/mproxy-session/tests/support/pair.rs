//! A running session with its two scripted ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mproxy_codec::Version;
use mproxy_session::{
    Admission, BoxError, Conformance, Connect, Forward, Hooks, Limits, MemoryBudget, NewHooks,
    PacketService, Peer, Recorder, Session, SessionHandle, SessionInfo, Summary, Turns,
    WhenUnreachable, new_hooks,
};
use tokio::task::JoinHandle;
use tower_service::Service;

use super::frames::Frames;
use super::memory::{Socket, Wire, connection};

/// How the broker answers being dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    Connect,
    Refuse,
    Hang,
    Panic,
}

/// What a [`Pair`] is started with.
pub struct Setup {
    limits: Limits,
    recorder: Option<Arc<dyn Recorder>>,
    memory: Option<Arc<MemoryBudget>>,
    turns: Option<Arc<dyn Turns>>,
    peer: Peer,
    dial: Dial,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            limits: Limits::default(),
            recorder: None,
            memory: None,
            turns: None,
            peer: Peer::new("test"),
            dial: Dial::Connect,
        }
    }

    pub fn limits(mut self, set: impl FnOnce(&mut Limits)) -> Self {
        set(&mut self.limits);
        self
    }

    /// The standard to the letter.
    pub fn strict(self) -> Self {
        self.conformance(Conformance::Strict)
    }

    pub fn conformance(self, conformance: Conformance) -> Self {
        self.limits(|limits| limits.conformance = conformance)
    }

    pub fn when_unreachable(self, choice: WhenUnreachable) -> Self {
        self.limits(|limits| limits.when_unreachable = choice)
    }

    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// The budget that the session draws on.
    pub fn memory(mut self, memory: &Arc<MemoryBudget>) -> Self {
        self.memory = Some(Arc::clone(memory));
        self
    }

    /// What the client waits for before the broker is dialled.
    pub fn turns(mut self, turns: Arc<dyn Turns>) -> Self {
        self.turns = Some(turns);
        self
    }

    /// The client's address.
    pub fn address(mut self, address: [u8; 4]) -> Self {
        self.peer = Peer::new("test").with_address((address, 1).into());
        self
    }

    pub const fn dial(mut self, dial: Dial) -> Self {
        self.dial = dial;
        self
    }

    /// Starts a session that has received nothing.
    pub fn start<A, U, D>(self, admit: A) -> Pair
    where
        A: Service<Connect, Response = Admission<U, D>> + Send + 'static,
        A::Error: Into<BoxError> + Send,
        A::Future: Send,
        U: PacketService,
        D: PacketService,
    {
        let (client_socket, client) = connection();
        let (server_socket, broker) = connection();
        let handle = match &self.memory {
            Some(memory) => SessionHandle::with_memory(memory),
            None => SessionHandle::new(),
        };
        let mut session = Session::new(self.peer)
            .limits(Arc::new(self.limits))
            .handle(handle.clone());
        if let Some(recorder) = self.recorder {
            session = session.recorder(recorder);
        }
        if let Some(turns) = self.turns {
            session = session.turns(turns);
        }
        let dials = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dials);
        let how = self.dial;
        let running = tokio::spawn(async move {
            let dial = move |_: &Connect| async move {
                counter.fetch_add(1, Ordering::Relaxed);
                match how {
                    Dial::Connect => Ok(server_socket),
                    Dial::Refuse => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                    Dial::Hang => std::future::pending().await,
                    Dial::Panic => panic!("the dialer panics on purpose"),
                }
            };
            session
                .run_watched(client_socket, Socket::has_left, admit, dial)
                .await
        });
        Pair {
            client,
            broker,
            handle,
            running,
            dials,
        }
    }

    /// Starts a session and brings it to where CONNACK has reached the client.
    pub async fn connected<A, U, D>(self, version: Version, admit: A) -> Pair
    where
        A: Service<Connect, Response = Admission<U, D>> + Send + 'static,
        A::Error: Into<BoxError> + Send,
        A::Future: Send,
        U: PacketService,
        D: PacketService,
    {
        let pair = self.start(admit);
        let frames = Frames(version);
        pair.open(&frames.connect("c"), &frames.connack()).await;
        pair
    }
}

/// A session, its client and its broker.
#[derive(Debug)]
pub struct Pair {
    pub client: Wire,
    pub broker: Wire,
    pub handle: SessionHandle,
    pub running: JoinHandle<Summary>,
    dials: Arc<AtomicUsize>,
}

impl Pair {
    /// Connects; whatever arrives at either side meanwhile is taken off the wire.
    pub async fn open(&self, connect: &[u8], connack: &[u8]) {
        self.client.send(connect);
        assert!(
            !self.broker.take().await.is_empty(),
            "CONNECT not forwarded"
        );
        self.broker.send(connack);
        assert!(
            !self.client.take().await.is_empty(),
            "CONNACK not forwarded"
        );
    }

    /// How often the broker was dialled.
    pub fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// Waits for the end of the session.
    pub async fn summary(self) -> Summary {
        self.running.await.expect("the session does not panic")
    }

    /// Ends both streams and waits for the session's end.
    pub async fn end(self) -> Summary {
        self.client.finish();
        self.broker.finish();
        self.summary().await
    }

    /// True while the session runs.
    pub fn is_running(&self) -> bool {
        !self.running.is_finished()
    }
}

/// A CONNECT stage without packet hooks, for the types of tests.
pub trait Stage:
    Service<Connect, Response = Admission, Error = BoxError, Future: Send> + Send + 'static
{
}

impl<S> Stage for S where
    S: Service<Connect, Response = Admission, Error = BoxError, Future: Send> + Send + 'static
{
}

/// Admits everybody with these hooks.
pub fn admit<F, U, D>(make: F) -> NewHooks<F>
where
    F: FnMut(SessionInfo) -> Hooks<U, D>,
{
    new_hooks(make)
}

/// Makes no hooks.
pub type NoHooks = fn(SessionInfo) -> Hooks<Forward, Forward>;

/// Admits everybody without hooks.
pub fn admit_all() -> NewHooks<NoHooks> {
    new_hooks(|_| Hooks::none())
}
