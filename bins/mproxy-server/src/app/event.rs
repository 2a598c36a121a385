//! Events of a running proxy, caused by a signal, a changed file, or the admin port, and their answers.

use std::collections::VecDeque;
use std::time::Duration;

use mproxy_admin::{Drain, DrainRefused, Reloaded};
use mproxy_config::diagnostics::Report;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of queued events; the sender of one more waits.
const WAITING: usize = 16;

/// What to do about a reload that is refused because of a drain.
const WHILE_DRAINING: &str = "reload the process that replaces this one; or if this one is to stay, undo the \
                              drain with mproxy-server drain --undo, and reload again";

/// Something that the supervisor must handle.
#[derive(Debug)]
pub(crate) enum Event {
    /// The process must stop: the first time it drains, the second time it exits at once.
    Stop {
        /// The number of the signal.
        signal: u8,
    },
    /// The configuration must be read again.
    Reload(Reload),
    /// Clients must go away, and the process stays.
    Drain(DrainRequest),
    /// They may come back.
    Undo(UndoRequest),
}

/// A request for a reload.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Who requested it, for the log.
    pub(crate) by: Asker,
    /// Refuse it if a change needs a restart.
    pub(crate) is_strict: bool,
    /// Where to send the answer, if anybody waits for it.
    pub(crate) answer: Option<oneshot::Sender<Result<Reloaded, ReloadError>>>,
}

/// Who requested a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Signal,
    Watch,
    /// Files of TLS have changed: they are read again, and the configuration is not.
    Certificates,
    /// A revocation list was fetched, and likewise.
    Lists,
    Admin,
}

/// Why the old configuration stays in effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The new one is refused.
    #[error("the new configuration is refused: {}", .0.tally())]
    Refused(Box<Report>),
    /// These keys need a restart, and `strict` refuses that.
    #[error("these keys need a restart: {}", .0.join(", "))]
    RestartRequired(Vec<String>),
    /// The process is draining.
    #[error("the process drains")]
    Draining,
}

/// A request to drain.
#[derive(Debug)]
pub(crate) struct DrainRequest {
    /// From now to the end of the drain; `None` = what the configuration says.
    pub(crate) timeout: Option<Duration>,
    pub(crate) answer: oneshot::Sender<Result<Drain, DrainRefused>>,
}

/// A request to undo a drain.
#[derive(Debug)]
pub(crate) struct UndoRequest {
    pub(crate) answer: oneshot::Sender<Result<Drain, DrainRefused>>,
}

impl Reload {
    /// A request without an answer.
    pub(crate) const fn by(asker: Asker) -> Self {
        Self {
            by: asker,
            is_strict: false,
            answer: None,
        }
    }

    /// Refuses a reload while the process drains.
    pub(super) fn refuse_because_of_drain(self) {
        tracing::warn!(
            target: "mproxy::server",
            event = "reload",
            by = self.by.as_str(),
            remedy = WHILE_DRAINING,
            "not reloaded: mproxy is draining"
        );
        self.answer(Err(ReloadError::Draining));
    }

    pub(super) fn answer(self, answer: Result<Reloaded, ReloadError>) {
        if let Some(sender) = self.answer {
            // the caller may have gone away
            let _ = sender.send(answer);
        }
    }
}

impl Asker {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Watch => "--watch",
            Self::Certificates => "a changed certificate",
            Self::Lists => "a fetched revocation list",
            Self::Admin => "the admin port",
        }
    }
}

impl ReloadError {
    /// What to do about it.
    pub(super) const fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => {
                "correct it and reload again; mproxy-server check finds all mistakes"
            }
            Self::RestartRequired(_) => "restart mproxy, or reload without strict",
            Self::Draining => WHILE_DRAINING,
        }
    }
}

impl DrainRequest {
    /// The process ends: the time of the signal counts.
    pub(super) fn refuse_because_of_end(self) {
        // the caller may have gone away, here and below
        let _ = self.answer.send(Err(DrainRefused::Ending));
    }
}

impl UndoRequest {
    /// The process ends, and a drain cannot be undone any more.
    pub(super) fn refuse_because_of_end(self) {
        let _ = self.answer.send(Err(DrainRefused::Ending));
    }
}

/// Sends events to the supervisor; clones send to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Sender(mpsc::Sender<Event>);

/// The events of the supervisor, in their order.
#[derive(Debug)]
pub(crate) struct Events {
    sender: Sender,
    receiver: mpsc::Receiver<Event>,
    /// Events that came while only [`stop`](Self::stop) was awaited.
    earlier: VecDeque<Event>,
}

impl Sender {
    /// Waits until there is room. An event after the end of the proxy is lost.
    pub(crate) async fn send(&self, event: Event) {
        let _ = self.0.send(event).await;
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            sender: Sender(sender),
            receiver,
            earlier: VecDeque::new(),
        }
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The next event.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Event {
        if let Some(event) = self.earlier.pop_front() {
            return event;
        }
        self.receive().await
    }

    /// Waits for an event to stop, and leaves it and all others for
    /// [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn stop(&mut self) {
        let is_stop = |event: &Event| matches!(event, Event::Stop { .. });
        while !self.earlier.iter().any(is_stop) {
            let event = self.receive().await;
            self.earlier.push_back(event);
        }
    }

    async fn receive(&mut self) -> Event {
        match self.receiver.recv().await {
            Some(event) => event,
            // cannot happen: this struct holds a sender
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reload() -> Event {
        Event::Reload(Reload::by(Asker::Signal))
    }

    /// A SIGHUP during the start was not to be lost, and not to be taken for a SIGTERM.
    #[tokio::test]
    async fn waiting_for_the_end_keeps_what_came_before() {
        let mut events = Events::new();
        let sender = events.sender();
        sender.send(reload()).await;
        sender.send(Event::Stop { signal: 15 }).await;
        events.stop().await;
        events.stop().await;
        assert!(matches!(events.next().await, Event::Reload(_)));
        assert!(matches!(events.next().await, Event::Stop { signal: 15 }));
    }
}
