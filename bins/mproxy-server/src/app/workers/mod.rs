//! A worker: one thread, one runtime, and the connections that stay with it.
//!
//! A connection is served where it was accepted, or handed once to the worker with the fewest, and
//! never moves again: no wake-up crosses threads afterwards.

mod pulse;

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, Order, SessionHandle, renew_all};
use mproxy_transport::{Accepted, Listener};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::gate::Pass;
use crate::app::registry::{Entered, Registry, Sessions};
use crate::app::service::Service;
use crate::app::session::WorkerRecorder;

/// A worker that has this many connections more than the idlest one hands new ones over.
/// Handing over costs a wake-up of another thread; a smaller difference costs less.
const IMBALANCE: usize = 8;

/// Maximum connections on their way from one worker to another. If the other does not keep up, the one
/// that accepted keeps them.
const HANDOVERS: usize = 256;

/// A listening socket, and the service of its connections.
pub(crate) struct Entrance {
    pub(crate) listener: Listener,
    /// The service of the next connection; a reload replaces it.
    pub(crate) service: Arc<ArcSwap<Service>>,
    /// Cancelled to stop accepting from the socket.
    pub(crate) closed: CancellationToken,
}

/// Messages to a worker from the others and from the server.
struct Worker {
    load: Arc<Load>,
    recorder: Arc<WorkerRecorder>,
    sessions: Arc<Sessions>,
}

/// The number of connections of a worker, and how to give it more.
struct Load {
    connections: AtomicUsize,
    handover: mpsc::Sender<Handover>,
}

/// An admitted connection.
struct Handover {
    accepted: Accepted,
    service: Arc<Service>,
    pass: Pass,
    control: SessionHandle,
}

/// All workers.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// The runtime of each thread, to spawn tasks on it.
    runtimes: Vec<(Handle, Arc<Worker>)>,
    loads: Arc<[Arc<Load>]>,
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
        let (loads, inboxes): (Vec<_>, Vec<_>) = recorders
            .iter()
            .map(|_| {
                let (handover, inbox) = mpsc::channel(HANDOVERS);
                (
                    Arc::new(Load {
                        connections: AtomicUsize::new(0),
                        handover,
                    }),
                    inbox,
                )
            })
            .unzip();
        let loads: Arc<[_]> = loads.into();
        let mut workers = Self {
            threads: Vec::new(),
            runtimes: Vec::new(),
            loads: Arc::clone(&loads),
        };
        let parts = recorders.into_iter().zip(inboxes).zip(registry.workers());
        for (index, ((recorder, handovers), sessions)) in parts.enumerate() {
            let worker = Arc::new(Worker {
                load: Arc::clone(&loads[index]),
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
                .spawn(move || runtime.block_on(run(worker, handovers, abort)))?;
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
            let closed = entrance.closed.clone();
            let accepting = accept(Arc::clone(worker), Arc::clone(&self.loads), entrance);
            runtime.spawn(closed.run_until_cancelled_owned(accepting));
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

async fn run(
    worker: Arc<Worker>,
    mut handovers: mpsc::Receiver<Handover>,
    abort: CancellationToken,
) {
    let recorder = Arc::clone(&worker.recorder);
    tokio::spawn(async move { pulse::beat(&recorder).await });
    loop {
        tokio::select! {
            () = abort.cancelled() => return,
            Some(handover) = handovers.recv() => worker.serve(handover),
        }
    }
}

/// Accepts from one socket until it is closed.
async fn accept(worker: Arc<Worker>, loads: Arc<[Arc<Load>]>, entrance: Entrance) {
    let Entrance {
        listener, service, ..
    } = entrance;
    let broken = |error: &dyn Display, message: &'static str| {
        tracing::error!(
            target: "mproxy::listener",
            event = "error",
            listener = &*service.load().name,
            detail = %error,
            "{message}"
        );
    };
    let acceptor = match listener.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => return broken(&error, "cannot accept connections"),
    };
    loop {
        let accepted = match acceptor.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let message =
                    "the listener failed and no longer accepts connections: restart mproxy";
                return broken(&error, message);
            }
        };
        let service = service.load_full();
        let Some(admitted) = service.admit(&accepted.peer()) else {
            continue;
        };
        let made_room = admitted.evicted.is_some();
        worker.serve_or_hand_over(
            &loads,
            Handover {
                accepted,
                service,
                pass: admitted.pass,
                control: admitted.control,
            },
        );
        if made_room {
            // closed before the next connection needs its descriptor
            tokio::task::yield_now().await;
        }
    }
}

impl Worker {
    /// Gives a connection to the worker with the fewest, if this one has far more and that one takes it.
    fn serve_or_hand_over(self: &Arc<Self>, loads: &[Arc<Load>], handover: Handover) {
        let count = |load: &Load| load.connections.load(Ordering::Relaxed);
        let idlest = loads.iter().min_by_key(|load| count(load));
        let other = idlest.filter(|other| count(&self.load) > count(other) + IMBALANCE);
        let kept = match other.map(|other| &other.handover) {
            Some(other) => other.try_send(handover).map_err(|full| full.into_inner()),
            None => Err(handover),
        };
        if let Err(handover) = kept {
            self.serve(handover);
        }
    }

    fn serve(self: &Arc<Self>, handover: Handover) {
        let Handover {
            accepted,
            service,
            pass,
            control,
        } = handover;
        self.load.connections.fetch_add(1, Ordering::Relaxed);
        let entered = self.sessions.enter(control.clone());
        let counted = Counted(Arc::clone(self));
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

/// One connection in a worker's count.
struct Counted(Arc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.load.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
