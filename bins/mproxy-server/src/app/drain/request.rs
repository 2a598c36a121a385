//! A drain that the admin port requests: the process goes on, and it can be undone.

use mproxy_admin::{Drain, DrainRefused, DrainState};
use tokio_util::sync::CancellationToken;

use crate::app::event::{Asker, DrainRequest, Event, Events, Reload, UndoRequest};
use crate::app::service_manager;
use crate::app::sockets::BindError;
use crate::app::supervisor::Supervisor;

/// What ends a drain that was requested.
enum Interrupt {
    Stop,
    Undo(UndoRequest),
}

/// Reloads that came during a drain, and that nobody asks for again: a fetched revocation list or a changed
/// file is news only once. One of each kind is enough, because a reload reads all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missed {
    /// Of the files of TLS and the revocation lists.
    files: Option<Asker>,
    /// Of the configuration.
    all: Option<Asker>,
}

impl Missed {
    /// Refuses a reload, and remembers it unless its sender is told and can ask again.
    fn refuse(&mut self, reload: Reload) {
        match reload.by {
            Asker::Admin => {}
            by @ (Asker::Certificates | Asker::Lists) => self.files = Some(by),
            by @ (Asker::Signal | Asker::Watch) => self.all = Some(by),
        }
        reload.refuse_because_of_drain();
    }

    /// Those to do, safety first: a configuration that is refused must not keep a revocation list out.
    fn reloads(self) -> impl Iterator<Item = Reload> {
        let Self { files, all } = self;
        files.into_iter().chain(all).map(Reload::by)
    }
}

impl Supervisor {
    /// Drains until that is undone, and returns true; or until a signal comes, and returns false.
    pub(in crate::app) async fn drain_on_request(
        &mut self,
        request: DrainRequest,
        events: &mut Events,
    ) -> bool {
        let times = self.times(request.timeout);
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            by = "the admin port",
            "draining was requested; undo it with mproxy-server drain --undo"
        );
        service_manager::status("draining, as the admin port was asked to");
        self.progress.set(DrainState::NotReady);
        let (progress, registry) = (self.progress.clone(), self.registry.clone());
        let state = || progress.with(registry.len());
        let _ = request.answer.send(Ok(state()));
        let mut missed = Missed::default();
        loop {
            let drained = async {
                self.drain(times, "undo it with mproxy-server drain --undo")
                    .await;
                self.progress.set(DrainState::Drained);
                tracing::info!(
                    target: "mproxy::server",
                    event = "drain",
                    sessions = self.registry.len(),
                    "drained: waiting for a signal to stop, or for the undo"
                );
                std::future::pending().await
            };
            let interrupt = tokio::select! {
                interrupt = interrupted(events, &mut missed, state) => interrupt,
                never = drained => never,
            };
            let undo = match interrupt {
                Interrupt::Stop => return false,
                Interrupt::Undo(undo) => undo,
            };
            match self.undo(missed, events).await {
                Ok(()) => {
                    let _ = undo.answer.send(Ok(state()));
                    return true;
                }
                Err(error) => {
                    let remedy = error.remedy();
                    tracing::error!(
                        target: "mproxy::server",
                        event = "drain",
                        detail = %error,
                        remedy,
                        "cannot undo the drain: a listener cannot be opened again"
                    );
                    let _ = undo
                        .answer
                        .send(Err(DrainRefused::Closed(error.to_string())));
                }
            }
        }
    }

    /// Answers that no drain is under way.
    pub(in crate::app) fn nothing_to_undo(&self, request: UndoRequest) {
        let state = self.progress.with(self.registry.len());
        let _ = request.answer.send(Ok(state));
    }

    /// Serves again, by what was missed: a revocation list must count for the first client that is let in.
    /// Sessions that were told to end still do.
    ///
    /// # Errors
    /// A listener cannot be opened again: another program has taken its address. Nothing has changed.
    async fn undo(&mut self, missed: Missed, events: &mut Events) -> Result<(), BindError> {
        let is_closed = self.stop.is_cancelled();
        if is_closed {
            // as long as a worker has its socket, the address is in use
            self.workers.until_closed().await;
            self.stop = CancellationToken::new();
        }
        // opens the listeners, unless it is refused
        for reload in missed.reloads() {
            self.reload(reload, events).await;
        }
        if is_closed {
            let workers = self.workers.len();
            let opened = self.sockets.open_missing(&self.plan.listeners, workers);
            let opened = opened.inspect_err(|_| self.stop.cancel())?;
            self.sockets.serves();
            self.apply(opened);
        }
        self.announced = None;
        self.progress.set(DrainState::Serving);
        self.health.set_draining(false);
        service_manager::status(service_manager::SERVING);
        tracing::info!(
            target: "mproxy::server",
            event = "drain",
            sessions = self.registry.len(),
            "the drain was undone: serving"
        );
        Ok(())
    }
}

/// Waits for something that ends the drain. A second request finds the first one, and changes nothing.
async fn interrupted(
    events: &mut Events,
    missed: &mut Missed,
    state: impl Fn() -> Drain,
) -> Interrupt {
    loop {
        match events.next().await {
            Event::Stop { .. } => return Interrupt::Stop,
            Event::Undo(request) => return Interrupt::Undo(request),
            Event::Reload(reload) => missed.refuse(reload),
            Event::Drain(request) => {
                let _ = request.answer.send(Ok(state()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_reload_is_done_once_and_lists_come_first() {
        let mut missed = Missed::default();
        let askers = [
            Asker::Signal,
            Asker::Admin,
            Asker::Certificates,
            Asker::Lists,
            Asker::Watch,
        ];
        for by in askers {
            missed.refuse(Reload::by(by));
        }
        let done: Vec<_> = missed.reloads().map(|reload| reload.by).collect();
        assert_eq!(done, [Asker::Lists, Asker::Watch]);
        let mut missed = Missed::default();
        missed.refuse(Reload::by(Asker::Admin));
        assert_eq!(missed, Missed::default(), "its sender was told");
    }
}
