//! What may happen to a running proxy, as told by a signal, a file that changed, or the
//! admin port.

use std::collections::VecDeque;

use mproxy_admin::Reloaded;
use tokio::sync::{mpsc, oneshot};

use super::reload::ReloadError;

/// The most events that wait; the sender of one more waits as well.
const WAITING: usize = 16;

/// Something that the supervisor has to see to.
#[derive(Debug)]
pub(crate) enum Event {
    /// The process is asked to end: the first time it drains, the second time it ends at once.
    Stop {
        /// The number of the signal that asks.
        signal: u8,
    },
    /// The configuration is to be read again.
    Reload(Reload),
}

/// A wish for a reload.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Who asks, for the log.
    pub(crate) by: Asker,
    /// Refuse it if something in it takes a restart.
    pub(crate) is_strict: bool,
    /// Who waits for the answer, if anybody does.
    pub(crate) answer: Option<oneshot::Sender<Result<Reloaded, ReloadError>>>,
}

/// Who asks for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Signal,
    Watch,
    Admin,
}

impl Reload {
    /// A wish that nobody waits for.
    pub(crate) const fn by(asker: Asker) -> Self {
        Self {
            by: asker,
            is_strict: false,
            answer: None,
        }
    }
}

impl Asker {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Watch => "--watch",
            Self::Admin => "the admin port",
        }
    }
}

/// Tells the supervisor; clones tell the same one.
#[derive(Clone, Debug)]
pub(crate) struct Sender(mpsc::Sender<Event>);

/// What the supervisor is told, in the order in which it came.
#[derive(Debug)]
pub(crate) struct Events {
    sender: Sender,
    receiver: mpsc::Receiver<Event>,
    /// What came while only [`stop`](Self::stop) was asked.
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

    /// Waits until the process is asked to end, and leaves that and all else for
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
            // not to happen: a sender is kept here
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
