//! What all connections share: who is there, who subscribed to what, and what is retained.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mproxy_codec::topic::TopicName;
use mproxy_codec::{ConnectPacket, PropertyId, ReasonCode, Subscribe, Unsubscribe};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::Message;
use super::session::{Retained, Session};

/// Bytes of retained messages, topics included. A message that does not fit is delivered but not
/// retained.
const MAX_RETAINED_LEN: usize = 32 * 1024 * 1024;

/// Retained messages, so that empty payloads cannot fill the memory with topics either.
const MAX_RETAINED: usize = 10_000;

/// Hands messages from publishers to subscribers.
///
/// One lock around everything: it is held for a table look-up at a time and never across an await
/// point. That is too slow for a broker, and enough for a demo.
#[derive(Debug, Default)]
pub(super) struct Router {
    state: Mutex<State>,
}

/// Names a connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionId(u64);

/// What a connection needs to know about its session.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) id: SessionId,
    pub(super) client_id: String,
    pub(super) wake: Arc<Notify>,
    pub(super) over: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Session>,
    by_client_id: HashMap<String, SessionId>,
    retained: HashMap<String, Arc<Message>>,
    retained_len: usize,
    last_id: u64,
}

impl Router {
    /// Admits a client. One with the same client identifier has to go. `[MQTT-3.1.4-3]`
    pub(super) fn join(&self, connect: &ConnectPacket) -> Joined {
        let now = Instant::now();
        let mut state = self.state();
        state.last_id += 1;
        let id = SessionId(state.last_id);
        let client_id = match connect.client_id() {
            "" => state.assign_client_id(),
            client_id => client_id.to_owned(),
        };
        if let Some(previous) = state.by_client_id.get(&client_id).copied() {
            if let Some(previous) = state.sessions.get(&previous) {
                previous.over.cancel();
            }
            state.remove(previous, Parting::WithWill, now);
        }
        let session = Session::new(connect, client_id.clone(), now);
        let joined = Joined {
            id,
            client_id: client_id.clone(),
            wake: Arc::clone(&session.wake),
            over: session.over.clone(),
        };
        state.by_client_id.insert(client_id, id);
        state.sessions.insert(id, session);
        joined
    }

    /// Ends a session. Does nothing when it was taken over.
    pub(super) fn leave(&self, id: SessionId, parting: Parting) {
        self.state().remove(id, parting, Instant::now());
    }

    /// Hands a message to everyone who subscribed to it, and keeps it when it is to be retained.
    pub(super) fn publish(&self, from: SessionId, message: Message) {
        self.state().publish(Some(from), message);
    }

    /// Adds the subscriptions and queues what is retained for them. The codes are those of SUBACK.
    pub(super) fn subscribe(&self, id: SessionId, subscribe: &Subscribe<'_>) -> Vec<u8> {
        let now = Instant::now();
        let subscription_id = subscribe
            .properties()
            .number(PropertyId::SubscriptionIdentifier);
        let mut state = self.state();
        let State {
            sessions, retained, ..
        } = &mut *state;
        let Some(session) = sessions.get_mut(&id) else {
            return vec![ReasonCode::UNSPECIFIED_ERROR.as_u8(); subscribe.len()];
        };
        let mut codes = Vec::with_capacity(subscribe.len());
        for entry in subscribe.subscriptions() {
            let filter = entry.filter;
            let (code, wants) = session.subscribe(filter, entry.options, subscription_id);
            codes.push(code.as_u8());
            if wants == Retained::Keep {
                continue;
            }
            for (topic, message) in retained.iter() {
                let matches = TopicName::new(topic).is_ok_and(|topic| filter.matches(topic));
                if matches && !message.has_expired(now) {
                    session.offer_retained(message, entry.options, subscription_id);
                }
            }
        }
        codes
    }

    /// Removes subscriptions. The codes are those of UNSUBACK.
    pub(super) fn unsubscribe(&self, id: SessionId, unsubscribe: &Unsubscribe<'_>) -> Vec<u8> {
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(&id) else {
            return vec![ReasonCode::UNSPECIFIED_ERROR.as_u8(); unsubscribe.len()];
        };
        unsubscribe
            .filters()
            .map(|filter| session.unsubscribe(&filter).as_u8())
            .collect()
    }

    /// The next deliveries for a client as one run of bytes; empty when there are none.
    pub(super) fn take(&self, id: SessionId) -> Vec<u8> {
        let mut state = self.state();
        let session = state.sessions.get_mut(&id);
        session.map_or_else(Vec::new, |session| session.take(Instant::now()))
    }

    /// Notes that a delivery was acknowledged to its end; false when there was none.
    pub(super) fn acknowledge(&self, id: SessionId, packet_id: u16) -> bool {
        let mut state = self.state();
        let session = state.sessions.get_mut(&id);
        session.is_some_and(|session| session.acknowledge(packet_id))
    }

    /// True while a delivery waits for an acknowledgement.
    pub(super) fn is_in_flight(&self, id: SessionId, packet_id: u16) -> bool {
        let state = self.state();
        let session = state.sessions.get(&id);
        session.is_some_and(|session| session.is_in_flight(packet_id))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a connection that panicked leaves a table entry behind at worst
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// The will is published.
    WithWill,
    /// The client said good-bye, which takes the will back. `[MQTT-3.14.4-3]`
    Normal,
}

impl State {
    fn assign_client_id(&self) -> String {
        (self.last_id..)
            .map(|number| format!("demo-{number}"))
            .find(|client_id| !self.by_client_id.contains_key(client_id))
            .unwrap_or_default()
    }

    fn remove(&mut self, id: SessionId, parting: Parting, now: Instant) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.by_client_id.remove(&session.client_id);
        if let (Some(will), Parting::WithWill) = (session.will, parting) {
            self.publish(None, will.published(now));
        }
    }

    fn publish(&mut self, from: Option<SessionId>, message: Message) {
        let message = Arc::new(message);
        if message.retain {
            self.retain(&message);
        }
        let Ok(topic) = TopicName::new(&message.topic) else {
            return;
        };
        for (id, session) in &mut self.sessions {
            session.offer(&message, topic, Some(*id) == from);
        }
    }

    fn retain(&mut self, message: &Arc<Message>) {
        if let Some(previous) = self.retained.remove(&message.topic) {
            self.retained_len -= previous.len();
        }
        // [MQTT-3.3.1-6]: an empty payload only removes
        let fits = self.retained.len() < MAX_RETAINED
            && self.retained_len + message.len() <= MAX_RETAINED_LEN;
        if !message.payload.is_empty() && fits {
            self.retained_len += message.len();
            let topic = message.topic.clone();
            self.retained.insert(topic, Arc::clone(message));
        }
    }
}
