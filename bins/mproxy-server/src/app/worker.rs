//! A worker: one thread, one runtime, and the connections that stay with it.
//!
//! A connection is served where it was accepted, or handed once to the worker with the fewest, and
//! never moves again: no wake-up crosses threads afterwards.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use mproxy_session::{Control, Order};
use mproxy_transport::{Accepted, Listener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::gate::{Admitted, Pass};
use super::pulse;
use super::recorder::WorkerRecorder;
use super::service::Service;

/// How many connections more than the idlest worker one may have before it hands new ones over.
/// Handing over costs a wake-up of another thread; a difference this small costs less.
const IMBALANCE: usize = 8;

/// Connections on their way from one worker to another. When the other does not keep up, the one
/// that accepted keeps them.
const HANDOVERS: usize = 256;

/// A listener, as each worker accepts from it.
pub(crate) struct Entrance {
    pub(crate) listener: Listener,
    pub(crate) service: Arc<Service>,
}

/// What a worker is told by the others and by the server.
struct Worker {
    load: Arc<Load>,
    recorder: Arc<WorkerRecorder>,
    sessions: Arc<Sessions>,
}

/// How many connections a worker has, and how to give it more.
struct Load {
    connections: AtomicUsize,
    handover: mpsc::Sender<Handover>,
}

/// A connection that was let in.
struct Handover {
    accepted: Accepted,
    service: Arc<Service>,
    pass: Pass,
    control: Control,
}

/// The running sessions of a worker.
#[derive(Default)]
pub(crate) struct Sessions {
    controls: Mutex<Controls>,
    /// Wakes whoever waits for the last session.
    ended: tokio::sync::Notify,
}

#[derive(Default)]
struct Controls {
    running: Vec<Option<Control>>,
    free: Vec<usize>,
}

impl Sessions {
    fn lock(&self) -> std::sync::MutexGuard<'_, Controls> {
        // the list stays consistent whatever happened while the lock was held
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, control: Control) -> Entered {
        let mut controls = self.lock();
        let index = controls.free.pop().unwrap_or_else(|| {
            controls.running.push(None);
            controls.running.len() - 1
        });
        controls.running[index] = Some(control);
        drop(controls);
        Entered {
            sessions: Arc::clone(self),
            index,
        }
    }

    /// The sessions that run now.
    pub(crate) fn running(&self) -> Vec<Control> {
        self.lock().running.iter().flatten().cloned().collect()
    }

    fn is_empty(&self) -> bool {
        let controls = self.lock();
        controls.free.len() == controls.running.len()
    }

    /// Waits until no session runs.
    pub(crate) async fn wait_until_empty(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Orders every session to end.
    pub(crate) fn close_all(&self, order: Order) {
        for control in self.running() {
            control.close(order);
        }
    }
}

/// A session's place in the list.
struct Entered {
    sessions: Arc<Sessions>,
    index: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut controls = self.sessions.lock();
        controls.running[self.index] = None;
        controls.free.push(self.index);
        drop(controls);
        self.sessions.ended.notify_waiters();
    }
}

/// All workers.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    pub(crate) sessions: Vec<Arc<Sessions>>,
}

impl Workers {
    /// Starts a thread for each recorder; each accepts from every entrance until `stop`, and ends
    /// when `abort` says so.
    ///
    /// # Errors
    /// A thread or runtime that cannot be started.
    pub(crate) fn start(
        recorders: Vec<Arc<WorkerRecorder>>,
        entrances: &[Entrance],
        stop: &CancellationToken,
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
        let mut workers = Self {
            threads: Vec::new(),
            sessions: Vec::new(),
        };
        for (index, (recorder, inbox)) in recorders.into_iter().zip(inboxes).enumerate() {
            let sessions = Arc::new(Sessions::default());
            let worker = Arc::new(Worker {
                load: Arc::clone(&loads[index]),
                recorder,
                sessions: Arc::clone(&sessions),
            });
            let entrances = entrances
                .iter()
                .map(|entrance| {
                    let listener = entrance.listener.try_clone()?;
                    Ok(Entrance {
                        listener,
                        service: Arc::clone(&entrance.service),
                    })
                })
                .collect::<io::Result<Vec<_>>>()?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (loads, stop, abort) = (loads.clone(), stop.clone(), abort.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    runtime.block_on(run(worker, loads, entrances, inbox, stop, abort));
                })?;
            workers.threads.push(thread);
            workers.sessions.push(sessions);
        }
        Ok(workers)
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

async fn run(
    worker: Arc<Worker>,
    loads: Vec<Arc<Load>>,
    entrances: Vec<Entrance>,
    mut inbox: mpsc::Receiver<Handover>,
    stop: CancellationToken,
    abort: CancellationToken,
) {
    let loads: Arc<[_]> = loads.into();
    let recorder = Arc::clone(&worker.recorder);
    tokio::spawn(async move { pulse::beat(&recorder).await });
    for entrance in entrances {
        let accepting = accept(Arc::clone(&worker), Arc::clone(&loads), entrance);
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accepting => {}
            }
        });
    }
    loop {
        tokio::select! {
            () = abort.cancelled() => return,
            Some(handover) = inbox.recv() => {
                worker.serve(handover);
            }
        }
    }
}

/// Accepts from one listener for ever.
async fn accept(worker: Arc<Worker>, loads: Arc<[Arc<Load>]>, entrance: Entrance) {
    let Entrance { listener, service } = entrance;
    let acceptor = match listener.into_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(
                target: "mproxy::listener",
                event = "error",
                listener = &*service.name,
                detail = %error,
                "cannot accept connections"
            );
            return;
        }
    };
    loop {
        let accepted = match acceptor.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(
                    target: "mproxy::listener",
                    event = "error",
                    listener = &*service.name,
                    detail = %error,
                    "the listener is broken and accepts no more: restart mproxy"
                );
                return;
            }
        };
        let Some(admitted) = service.admit(&accepted.peer()) else {
            continue;
        };
        let Admitted {
            pass,
            control,
            evicted,
        } = admitted;
        let idlest = loads
            .iter()
            .min_by_key(|load| load.connections.load(Ordering::Relaxed));
        let own = worker.load.connections.load(Ordering::Relaxed);
        let handover = Handover {
            accepted,
            service: Arc::clone(&service),
            pass,
            control,
        };
        match idlest {
            Some(other) if own > other.connections.load(Ordering::Relaxed) + IMBALANCE => {
                if let Err(kept) = other.handover.try_send(handover) {
                    worker.serve(kept.into_inner());
                }
            }
            _ => worker.serve(handover),
        }
        if evicted.is_some() {
            // so that it is closed before the next one needs its descriptor
            tokio::task::yield_now().await;
        }
    }
}

impl Worker {
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
    /// A connection that is served, and what it holds until it is over. Not an async block: that
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
