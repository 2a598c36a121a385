//! A worker: one thread, one runtime, and the connections that stay with it.
//!
//! A connection is served where it was accepted, or handed once to the worker with the fewest, and
//! never moves again: no wake-up crosses threads afterwards.

mod balance;

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, Order, SessionHandle, renew_all};
use mproxy_transport::{Accepted, Listener};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::balance::{Counted, Load, idler};
use crate::app::gate::Pass;
use crate::app::registry::{Entered, Registry, Sessions};
use crate::app::service::Service;
use crate::app::worker_recorder::WorkerRecorder;

/// Maximum connections on their way from one worker to another. If the other does not keep up, the one
/// that accepted keeps them.
const HANDOVERS: usize = 256;

/// Maximum connections that each worker takes out of the queue of a socket before it closes it. As many fit
/// in the queue; without a limit, a flood of connections would hold up a drain.
const QUEUED: usize = 4096;

/// What to do about a listening socket that has failed.
pub(crate) const RESTART: &str = "restart mproxy";

/// A listening socket, and the service of its connections.
pub(crate) struct Entrance {
    pub(crate) listener: Listener,
    /// The service of the next connection; a reload replaces it.
    pub(crate) service: Arc<ArcSwap<Service>>,
    /// Cancelled to stop accepting from the socket.
    pub(crate) closed: CancellationToken,
    /// Cancelled if the process ends, and the connections in its queue are left to the one that has the socket
    /// next.
    pub(crate) left: Option<CancellationToken>,
    /// Set when the socket has failed, for good.
    pub(crate) broken: Arc<AtomicBool>,
}

/// Messages to a worker from the others and from the server.
struct Worker {
    load: Load,
    recorder: Arc<WorkerRecorder>,
    sessions: Arc<Sessions>,
}

/// A worker as the others see it.
struct Colleague {
    load: Load,
    inbox: mpsc::Sender<Message>,
}

/// What a worker gets from others.
enum Message {
    Serve(Handover),
    /// Answered when everything that was sent before is being served.
    Flush(oneshot::Sender<()>),
}

/// An admitted connection.
struct Handover {
    accepted: Accepted,
    service: Arc<Service>,
    pass: Pass,
    control: SessionHandle,
    /// In the load of the worker that serves it.
    counted: Counted,
}

/// All workers.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// The runtime of each thread, to spawn tasks on it.
    runtimes: Vec<(Handle, Arc<Worker>)>,
    colleagues: Arc<[Colleague]>,
    /// The tasks that accept.
    accepting: TaskTracker,
}

impl Workers {
    /// Starts a thread for each recorder; each ends when `abort` says so.
    ///
    /// # Errors
    /// A thread or runtime that cannot be started.
    pub(crate) fn start(
        recorders: Vec<Arc<WorkerRecorder>>,
        registry: &Registry,
        abort: &CancellationToken,
    ) -> io::Result<Self> {
        let (colleagues, inboxes): (Vec<_>, Vec<_>) = recorders
            .iter()
            .map(|_| {
                let (sender, inbox) = mpsc::channel(HANDOVERS);
                let colleague = Colleague {
                    load: Load::default(),
                    inbox: sender,
                };
                (colleague, inbox)
            })
            .unzip();
        let colleagues: Arc<[_]> = colleagues.into();
        let mut workers = Self {
            threads: Vec::new(),
            runtimes: Vec::new(),
            colleagues: Arc::clone(&colleagues),
            accepting: TaskTracker::new(),
        };
        let parts = recorders.into_iter().zip(inboxes).zip(registry.workers());
        for (index, ((recorder, inbox), sessions)) in parts.enumerate() {
            let worker = Arc::new(Worker {
                load: colleagues[index].load.clone(),
                recorder,
                sessions: Arc::clone(sessions),
            });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let handle = runtime.handle().clone();
            workers.runtimes.push((handle, Arc::clone(&worker)));
            let abort = abort.clone();
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || runtime.block_on(run(worker, inbox, abort)))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// The number of workers.
    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Makes each worker accept from one of these.
    pub(crate) fn open(&self, entrances: impl Iterator<Item = Entrance>) {
        for ((runtime, worker), entrance) in self.runtimes.iter().zip(entrances) {
            let colleagues = Arc::clone(&self.colleagues);
            let accepting = accept(Arc::clone(worker), colleagues, entrance);
            runtime.spawn(self.accepting.track_future(accepting));
        }
    }

    /// Waits until no worker accepts any more, after all sockets have been closed, and all that was
    /// accepted is being served.
    pub(crate) async fn until_closed(&self) {
        self.accepting.close();
        self.accepting.wait().await;
        self.accepting.reopen();
        for colleague in &*self.colleagues {
            let (sender, flushed) = oneshot::channel();
            // an error is that of a worker that has ended, and serves nobody
            if colleague.inbox.send(Message::Flush(sender)).await.is_ok() {
                let _ = flushed.await;
            }
        }
    }

    /// Has the sessions of these listeners judged again, each by its own worker, which serves packets
    /// meanwhile; or ended, if a listener says so. A session without a CONNECT is not yet known to be
    /// of a listener, so it is judged as well.
    pub(crate) fn renew(
        &self,
        registry: &Registry,
        listeners: &Arc<HashMap<Arc<str>, bool>>,
        generation: u64,
    ) {
        self.each(registry, |sessions| {
            let listeners = Arc::clone(listeners);
            async move {
                let listener = |handle: &SessionHandle| match handle.info() {
                    Some(info) => listeners.get(&info.peer().listener).copied(),
                    None => Some(false),
                };
                let judged = sessions.running().into_iter().filter(|handle| {
                    let ends = listener(handle);
                    // later sessions already have the new rules
                    if ends == Some(true) && handle.policy() < generation {
                        handle.close(rules_changed());
                    }
                    ends == Some(false)
                });
                renew_all(judged, generation).await;
            }
        });
    }

    /// Has each worker do something with its sessions, beside serving them.
    pub(crate) fn each<F>(&self, registry: &Registry, mut work: impl FnMut(Arc<Sessions>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for ((runtime, _), sessions) in self.runtimes.iter().zip(registry.workers()) {
            runtime.spawn(work(Arc::clone(sessions)));
        }
    }

    /// Waits for the threads, which end after `abort`.
    pub(crate) fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(
                    target: "mproxy::server",
                    event = "error",
                    "a worker panicked: please report it"
                );
            }
        }
    }
}

/// Ends a session without a packet: its client connects again, and subscribes by the new rules. Its will was
/// judged by the old ones.
const fn rules_changed() -> Order {
    Order::new(CloseReason::RulesChanged, ReasonCode::ADMINISTRATIVE_ACTION)
        .without_notice()
        .without_will()
}

async fn run(worker: Arc<Worker>, mut inbox: mpsc::Receiver<Message>, abort: CancellationToken) {
    let recorder = Arc::clone(&worker.recorder);
    tokio::spawn(async move { recorder.beat().await });
    loop {
        tokio::select! {
            () = abort.cancelled() => return,
            Some(message) = inbox.recv() => match message {
                Message::Serve(handover) => worker.serve(handover),
                // who asked may have gone away
                Message::Flush(flushed) => { let _ = flushed.send(()); }
            },
        }
    }
}

/// Accepts from one socket until it is closed. Connections that are in its queue by then are served as
/// well, because their clients know nothing of it: they would see a connection that is reset.
async fn accept(worker: Arc<Worker>, colleagues: Arc<[Colleague]>, entrance: Entrance) {
    let Entrance {
        listener,
        service,
        closed,
        left,
        broken,
    } = entrance;
    let broken = |error: &dyn Display, message: &'static str| {
        let service = service.load();
        tracing::error!(
            target: "mproxy::listener",
            event = "error",
            listener = &*service.name,
            detail = %error,
            "{message}"
        );
        broken.store(true, Ordering::Relaxed);
        service.health.fail_with(error, RESTART);
    };
    let acceptor = match listener.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => return broken(&error, "cannot accept connections"),
    };
    let mut closed = pin!(closed.cancelled_owned());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closed => break,
            accepted = acceptor.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                worker
                    .welcome(&colleagues, service.load_full(), accepted)
                    .await
            }
            Err(error) => {
                let message =
                    "the listener failed and no longer accepts connections: restart mproxy";
                return broken(&error, message);
            }
        }
    }
    if left.is_some_and(|left| left.is_cancelled()) {
        return;
    }
    for _ in 0..QUEUED {
        let Some(accepted) = acceptor.accept_queued() else {
            break;
        };
        worker
            .welcome(&colleagues, service.load_full(), accepted)
            .await;
    }
}

impl Worker {
    /// Serves a connection, if the gate lets it in.
    async fn welcome(
        self: &Arc<Self>,
        colleagues: &[Colleague],
        service: Arc<Service>,
        accepted: Accepted,
    ) {
        let Some((accepted, admitted)) = service.admit(accepted) else {
            return;
        };
        let made_room = admitted.evicted.is_some();
        self.serve_or_hand_over(colleagues, |load| Handover {
            accepted,
            service,
            pass: admitted.pass,
            control: admitted.control,
            counted: load.count(),
        });
        if made_room {
            // closed before the next connection needs its descriptor
            tokio::task::yield_now().await;
        }
    }

    /// Gives a connection to the worker with the fewest, if this one has far more and that one takes it.
    fn serve_or_hand_over(
        self: &Arc<Self>,
        colleagues: &[Colleague],
        connection: impl FnOnce(&Load) -> Handover,
    ) {
        let Some(other) = idler(&self.load, colleagues, |it| &it.load) else {
            return self.serve(connection(&self.load));
        };
        let sent = other
            .inbox
            .try_send(Message::Serve(connection(&other.load)));
        if let Err(TrySendError::Full(kept) | TrySendError::Closed(kept)) = sent
            && let Message::Serve(mut handover) = kept
        {
            handover.counted = self.load.count();
            self.serve(handover);
        }
    }

    fn serve(self: &Arc<Self>, handover: Handover) {
        let Handover {
            accepted,
            service,
            pass,
            control,
            counted,
        } = handover;
        let entered = self.sessions.enter(control.clone());
        let serving = service.serve(accepted, Arc::clone(&self.recorder), pass, control);
        tokio::spawn(Serving {
            serving,
            held: (entered, counted),
        });
    }
}

pin_project_lite::pin_project! {
    /// A connection being served, and what it holds until it ends. Not an async block: that
    /// would keep room for the future twice.
    struct Serving<F> {
        #[pin]
        serving: F,
        held: (Entered, Counted),
    }
}

impl<F: Future<Output = ()>> Future for Serving<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().serving.poll(cx)
    }
}
