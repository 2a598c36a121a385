//! The open connections of all listeners: decides who gets in, and who makes room.
//!
//! One lock for all of it, taken when a connection comes, when its CONNECT came, and when it ends: so a
//! decision sees one state, and takes all or nothing.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use mproxy_admin::ConnectionLimit as Limit;
use mproxy_session::SessionHandle;

use super::client::Client;
use super::limit::Refused;
use super::listener::{Listener, Rules};
use super::places::{Place, Places};
use super::rate::Moment;

/// Maximum connections that made room and are not closed yet. Each holds a descriptor that is not counted;
/// the server keeps some in reserve for them.
const MOST_LEAVING: usize = 32;

/// A client with as many pending connections is a crowd.
const CROWD: usize = 16;

/// The part of a shared limit that crowds leave to others: one in so many places.
const RESERVE: usize = 16;

/// All listeners and their connections.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct State {
    maximum: usize,
    /// What an operator can do for more, if file descriptors set the maximum.
    descriptor_remedy: Option<&'static str>,
    open: usize,
    pub(super) listeners: Vec<Listener>,
    /// The places among them of those that are gone.
    closed: Vec<usize>,
    /// Connections without a complete CONNECT, by number.
    pending: BTreeMap<u64, Pending>,
    /// Their places, of all listeners.
    places: Places,
    /// The number of the next connection.
    next: u64,
    /// Connections that made room: their places are already taken by others.
    leaving: HashSet<u64>,
}

/// A connection without a complete CONNECT.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
struct Pending {
    listener: usize,
    since: Moment,
    peer: Option<SocketAddr>,
    client: Option<Client>,
    control: SessionHandle,
}

/// An admitted connection.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) number: u64,
    /// The client that it is counted for, if the listener counts per client.
    pub(super) client: Option<Client>,
    pub(super) control: SessionHandle,
    pub(super) evicted: Option<Evicted>,
}

/// A connection that made room: the gate orders it to end.
#[derive(Debug)]
pub(crate) struct Evicted {
    pub(super) control: SessionHandle,
    pub(crate) peer: Option<SocketAddr>,
    /// How long it was pending.
    pub(crate) waited: Duration,
    /// The limit that was reached.
    pub(crate) full: Refused,
}

impl State {
    pub(super) fn new(maximum: usize, descriptor_remedy: Option<&'static str>) -> Self {
        Self {
            maximum,
            descriptor_remedy,
            open: 0,
            listeners: Vec::new(),
            closed: Vec::new(),
            pending: BTreeMap::new(),
            places: Places::default(),
            next: 0,
            leaving: HashSet::new(),
        }
    }

    /// Makes room for a listener, and returns its place.
    pub(super) fn open_listener(&mut self, rules: &Rules) -> usize {
        let listener = Listener::new(rules);
        let Some(index) = self.closed.pop() else {
            self.listeners.push(listener);
            return self.listeners.len() - 1;
        };
        self.listeners[index] = listener;
        index
    }

    /// Gives back the place of a listener without connections.
    pub(super) fn close_listener(&mut self, index: usize) {
        self.closed.push(index);
    }

    pub(super) fn set_maximum(&mut self, maximum: usize, descriptor_remedy: Option<&'static str>) {
        self.maximum = maximum;
        self.descriptor_remedy = descriptor_remedy;
    }

    /// Admits a connection, or says why not. A refused connection takes nothing. `control` has the last word,
    /// before anybody makes room, and makes the handle.
    pub(super) fn enter(
        &mut self,
        index: usize,
        peer: Option<SocketAddr>,
        now: Moment,
        control: impl FnOnce() -> Result<SessionHandle, Refused>,
    ) -> Result<Entered, Refused> {
        let listener = &self.listeners[index];
        let client = peer.map(|peer| listener.client(peer.ip()));
        if let Some(client) = client {
            listener.check_own(client, now)?;
        }
        let room = match self.full(index, client) {
            None => None,
            Some(full) => {
                let number = self.find_room(index, client, full.limit, now);
                Some((full, number.ok_or(full)?))
            }
        };
        let listener = &self.listeners[index];
        if let Some(bucket) = &listener.bucket
            && !bucket.has_one(now)
        {
            return Err(Refused::too_fast(Limit::ConnectionRate, bucket.rate));
        }

        let control = control()?;
        let evicted = room.and_then(|(full, number)| self.evict(number, full, now));
        let number = self.next;
        self.next += 1;
        self.open += 1;
        let pending = Pending {
            listener: index,
            since: now,
            peer,
            client,
            control: control.clone(),
        };
        self.pending.insert(number, pending);
        let place = Place { since: now, number };
        self.places.enter(client, place);
        let listener = &mut self.listeners[index];
        listener.enter(client, place);
        Ok(Entered {
            number,
            client: client.filter(|_| listener.counts_clients()),
            control,
            evicted,
        })
    }

    /// The client of a connection that came without one is known: judges its own limits, and counts the
    /// connection for it. Returns it, if the listener counts per client. A refused connection must leave;
    /// what it took of the shared rate is given back at once.
    pub(super) fn identify(
        &mut self,
        index: usize,
        number: u64,
        peer: SocketAddr,
        now: Moment,
    ) -> Result<Option<Client>, Refused> {
        let listener = &mut self.listeners[index];
        let client = listener.client(peer.ip());
        if let Err(refused) = listener.check_own(client, now) {
            if let Some(bucket) = &mut listener.bucket {
                bucket.give_one_back();
            }
            return Err(refused);
        }
        // one that made room is about to end
        let Some(mut pending) = self.give_up_place(number) else {
            return Ok(None);
        };
        (pending.peer, pending.client) = (Some(peer), Some(client));
        let since = pending.since;
        self.pending.insert(number, pending);
        let place = Place { since, number };
        self.places.enter(Some(client), place);
        let listener = &mut self.listeners[index];
        listener.places.enter(Some(client), place);
        listener.take_own(client, now);
        Ok(Some(client).filter(|_| listener.counts_clients()))
    }

    /// The first shared limit that is reached for one more of `newcomer`.
    fn full(&self, index: usize, newcomer: Option<Client>) -> Option<Refused> {
        let listener = &self.listeners[index];
        // without an address it stands for many clients
        let is_crowd = |places: &Places| newcomer.is_some() && places.count(newcomer) >= CROWD;
        let (in_listener, in_all) = (is_crowd(&listener.places), is_crowd(&self.places));
        let counts = [
            (
                Limit::MaxPending,
                listener.places.len(),
                listener.maximum_pending,
                in_listener,
            ),
            (
                Limit::MaxConnections,
                listener.open,
                listener.maximum,
                in_listener,
            ),
            (Limit::ServerMaxConnections, self.open, self.maximum, in_all),
        ];
        let mut counts = counts.into_iter();
        let full = counts.find(|&(_, count, maximum, is_crowd)| {
            let reserved = if is_crowd { maximum / RESERVE } else { 0 };
            count >= maximum - reserved
        });
        full.map(|(limit, _, maximum, _)| Refused {
            descriptor_remedy: self
                .descriptor_remedy
                .filter(|_| limit == Limit::ServerMaxConnections),
            ..Refused::full(limit, maximum)
        })
    }

    /// The connection that makes room for one of `newcomer` when a limit is reached. It is of the same
    /// listener, unless only the server is full, so it makes room under all limits.
    fn find_room(
        &mut self,
        index: usize,
        newcomer: Option<Client>,
        limit: Limit,
        now: Moment,
    ) -> Option<u64> {
        if self.leaving.len() >= MOST_LEAVING {
            return None;
        }
        let places = match limit {
            Limit::ServerMaxConnections => &mut self.places,
            _ => &mut self.listeners[index].places,
        };
        places.ripen(now);
        places.to_evict(newcomer).map(|place| place.number)
    }

    fn evict(&mut self, number: u64, full: Refused, now: Moment) -> Option<Evicted> {
        let pending = self.give_up_place(number)?;
        self.listeners[pending.listener].leave(pending.client);
        self.open -= 1;
        self.leaving.insert(number);
        Some(Evicted {
            control: pending.control,
            peer: pending.peer,
            waited: Duration::from_nanos(now.saturating_sub(pending.since)),
            full,
        })
    }

    /// The CONNECT of a connection has come: frees its place, if it still has one.
    pub(super) fn connected(&mut self, number: u64) {
        self.give_up_place(number);
    }

    fn give_up_place(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        let Pending { since, client, .. } = pending;
        let place = Place { since, number };
        self.places.leave(client, place);
        let listener = &mut self.listeners[pending.listener];
        listener.places.leave(client, place);
        Some(pending)
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, index: usize, number: u64, client: Option<Client>) {
        if self.leaving.remove(&number) {
            return;
        }
        self.give_up_place(number);
        self.listeners[index].leave(client);
        self.open -= 1;
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let empty = self.listeners.iter().all(Listener::is_empty);
        let pending = self.pending.is_empty() && self.places.is_empty();
        self.open == 0 && self.leaving.is_empty() && pending && empty
    }
}

#[cfg(test)]
mod tests;
