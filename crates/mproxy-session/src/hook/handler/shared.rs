//! What a handler's services of both directions know of one session.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mproxy_codec::Kind;

use crate::hook::Packet;

/// A SUBSCRIBE or UNSUBSCRIBE and its packet identifier.
pub(super) type Request = (Kind, u16);

/// What the services of both directions and the notice of the end share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The broker accepted the client, and the handler was told.
    connected: AtomicBool,
    /// Requests of the client that wait for their SUBACK or UNSUBACK.
    requests: Mutex<HashMap<Request, Vec<String>>>,
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
            self.requests().insert(request, packet.requested_filters());
        }
    }

    /// Returns the filters of a request, once.
    pub(super) fn take(&self, request: Request) -> Vec<String> {
        self.requests().remove(&request).unwrap_or_default()
    }

    /// No answer of the broker will come for it.
    pub(super) fn forget(&self, request: Option<Request>) {
        if let Some(request) = request {
            self.requests().remove(&request);
        }
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<Request, Vec<String>>> {
        // nothing panics while the lock is held, and the map stays valid if something does
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the packet asks for, if it is a SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn request_of(packet: &Packet) -> Option<Request> {
    let packet_id = match packet.kind() {
        Kind::Subscribe => packet.subscribe()?.packet_id(),
        Kind::Unsubscribe => packet.unsubscribe()?.packet_id(),
        _ => return None,
    };
    Some((packet.kind(), packet_id))
}
