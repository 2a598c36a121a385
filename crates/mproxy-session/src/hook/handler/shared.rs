//! The state of one session that a handler's services of both directions share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mproxy_codec::Kind;

use crate::hook::Packet;

/// A SUBSCRIBE or UNSUBSCRIBE and its packet identifier.
pub(super) type Request = (Kind, u16);

/// The state shared by the services of both directions and the notice of the end.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The broker accepted the client, and `connect` was called.
    connected: AtomicBool,
    /// Filters of the client's requests that wait for their SUBACK or UNSUBACK: the oldest first,
    /// because a client may use an identifier again before it is answered.
    requests: Mutex<HashMap<Request, VecDeque<Vec<String>>>>,
}

impl Shared {
    pub(super) fn set_connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Remembers the filters of a request until it is answered.
    pub(super) fn remember(&self, packet: &Packet) {
        if let Some(request) = request_of(packet) {
            let mut requests = self.requests();
            let waiting = requests.entry(request).or_default();
            let filters = packet.requested_filters().into_iter();
            waiting.push_back(filters.map(|(filter, _)| filter.to_owned()).collect());
        }
    }

    /// Returns the filters of the oldest request, once; `None` for an answer without a request.
    pub(super) fn take(&self, request: Request) -> Option<Vec<String>> {
        self.remove(request, VecDeque::pop_front)
    }

    /// The broker will not answer the request that was remembered last.
    pub(super) fn forget(&self, request: Option<Request>) {
        if let Some(request) = request {
            self.remove(request, VecDeque::pop_back);
        }
    }

    fn remove(
        &self,
        request: Request,
        pop: impl FnOnce(&mut VecDeque<Vec<String>>) -> Option<Vec<String>>,
    ) -> Option<Vec<String>> {
        let mut requests = self.requests();
        let waiting = requests.get_mut(&request)?;
        let filters = pop(waiting);
        if waiting.is_empty() {
            requests.remove(&request);
        }
        filters
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<Request, VecDeque<Vec<String>>>> {
        // nothing panics while the lock is held, and the map stays valid even then
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the packet asks for, if it is a SUBSCRIBE or UNSUBSCRIBE that is answered.
pub(super) fn request_of(packet: &Packet) -> Option<Request> {
    let packet_id = match packet.kind() {
        Kind::Subscribe if !packet.is_renewal() => packet.subscribe()?.packet_id(),
        Kind::Unsubscribe => packet.unsubscribe()?.packet_id(),
        _ => return None,
    };
    Some((packet.kind(), packet_id))
}
