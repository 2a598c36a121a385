//! What is open, of all listeners: who gets in, and who makes room.
//!
//! One lock for all of it, once when a connection comes, when its CONNECT came, and when it ends: so a
//! decision sees one state, and takes all or nothing.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use mproxy_admin::ConnectionLimit as Limit;
use mproxy_session::Control;

use super::client::Client;
use super::limit::Refused;
use super::listener::{Listener, Pending};
use super::rate::Moment;

/// Connections that made room and are not closed yet. Each is a descriptor more than is counted; of
/// those, the server keeps some in reserve.
const MOST_LEAVING: usize = 32;

/// All listeners and their connections.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct State {
    maximum: usize,
    open: usize,
    pub(super) listeners: Vec<Listener>,
    /// The number of the next connection.
    next: u64,
    /// Those that made room: their places are others' already.
    leaving: HashSet<u64>,
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) number: u64,
    /// Whom it is counted for, if that is counted.
    pub(super) client: Option<Client>,
    pub(super) control: Control,
    pub(super) evicted: Option<Evicted>,
}

/// A connection that made room.
#[derive(Debug)]
pub(super) struct Evicted {
    pub(super) control: Control,
    pub(super) peer: Option<SocketAddr>,
    pub(super) waited: Duration,
    /// The limit for which there was no room.
    pub(super) full: Refused,
}

impl State {
    pub(super) fn new(maximum: usize) -> Self {
        Self {
            maximum,
            open: 0,
            listeners: Vec::new(),
            next: 0,
            leaving: HashSet::new(),
        }
    }

    /// Lets a connection in, with a handle that is made then, or says why not. A connection that is
    /// refused takes nothing, from nobody.
    pub(super) fn enter(
        &mut self,
        index: usize,
        peer: Option<SocketAddr>,
        now: Moment,
        control: impl FnOnce() -> Control,
    ) -> Result<Entered, Refused> {
        let listener = &self.listeners[index];
        let client = peer.map(|peer| listener.client(peer.ip()));
        if let Some(client) = client {
            listener.check_own(client, now)?;
        }
        let full = self.full(index);
        let oldest = match full {
            None => None,
            Some(full) => Some((full, self.to_evict(index, full.limit, now).ok_or(full)?)),
        };
        if let Some(bucket) = &listener.bucket
            && !bucket.has_one(now)
        {
            return Err(Refused::too_fast(Limit::ConnectionRate, bucket.rate));
        }

        let evicted = oldest.and_then(|(full, (of, number))| self.evict(of, number, full, now));
        let number = self.next;
        self.next += 1;
        self.open += 1;
        let control = control();
        let pending = Pending {
            since: now,
            peer,
            client,
            control: control.clone(),
        };
        let listener = &mut self.listeners[index];
        listener.enter(number, pending);
        Ok(Entered {
            number,
            client: client.filter(|_| listener.counts_clients()),
            control,
            evicted,
        })
    }

    /// The first limit that all clients share and that is reached.
    fn full(&self, index: usize) -> Option<Refused> {
        let listener = &self.listeners[index];
        let counts = [
            (
                Limit::MaxPending,
                listener.pending.len(),
                listener.maximum_pending,
            ),
            (Limit::MaxConnections, listener.open, listener.maximum),
            (Limit::ServerMaxConnections, self.open, self.maximum),
        ];
        let full = counts.into_iter().find(|(_, count, max)| count >= max);
        full.map(|(limit, _, maximum)| Refused::full(limit, maximum))
    }

    /// The connection that makes room where a limit is reached: its listener and its number. It is of
    /// the same listener, unless only the server is full, and so makes room for all limits.
    fn to_evict(&self, index: usize, limit: Limit, now: Moment) -> Option<(usize, u64)> {
        if self.leaving.len() >= MOST_LEAVING {
            return None;
        }
        let of = |index: usize| Some((index, self.listeners[index].oldest(now)?));
        match limit {
            Limit::ServerMaxConnections => (0..self.listeners.len())
                .filter_map(of)
                .min_by_key(|(_, number)| *number),
            _ => of(index),
        }
    }

    fn evict(&mut self, of: usize, number: u64, full: Refused, now: Moment) -> Option<Evicted> {
        let listener = &mut self.listeners[of];
        let pending = listener.connected(number)?;
        listener.leave(pending.client);
        self.open -= 1;
        self.leaving.insert(number);
        Some(Evicted {
            control: pending.control,
            peer: pending.peer,
            waited: Duration::from_nanos(now.saturating_sub(pending.since)),
            full,
        })
    }

    /// A connection is over.
    pub(super) fn leave(&mut self, index: usize, number: u64, client: Option<Client>) {
        if self.leaving.remove(&number) {
            return;
        }
        let listener = &mut self.listeners[index];
        listener.connected(number);
        listener.leave(client);
        self.open -= 1;
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let empty = self.listeners.iter().all(Listener::is_empty);
        self.open == 0 && self.leaving.is_empty() && empty
    }
}

#[cfg(test)]
mod tests;
