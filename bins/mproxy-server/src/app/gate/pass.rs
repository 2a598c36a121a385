//! The places that a connection holds while it is open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mproxy_session::{Order, SessionHandle};
use mproxy_transport::HandshakePlace;

use super::client::Client;
use super::limit::Refused;
use super::listener::Rules;
use super::rate::nanos;
use super::state::{Evicted, State};

/// The gates of all listeners.
#[derive(Clone, Debug)]
pub(crate) struct Gates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    opened: Instant,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // nothing that can panic lies between two changes that belong together
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gates {
    /// Gates that together admit this many connections at the same time; and what an operator can do
    /// for more, if the file descriptor limit, not a key, allows no more.
    pub(crate) fn new(maximum: usize, descriptor_remedy: Option<&'static str>) -> Self {
        Self(Arc::new(Shared {
            opened: Instant::now(),
            state: Mutex::new(State::new(maximum, descriptor_remedy)),
        }))
    }

    /// The gate of one more listener.
    pub(crate) fn listener(&self, rules: &Rules) -> Gate {
        let index = self.0.lock().open_listener(rules);
        Gate(Arc::new(Inner {
            shared: Arc::clone(&self.0),
            index,
        }))
    }

    /// Changes how many connections all gates admit. Open ones stay.
    pub(crate) fn set_maximum(&self, maximum: usize, descriptor_remedy: Option<&'static str>) {
        self.0.lock().set_maximum(maximum, descriptor_remedy);
    }
}

/// The gate of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    index: usize,
}

impl Drop for Inner {
    /// No connection of the listener is left.
    fn drop(&mut self) {
        self.shared.lock().close_listener(self.index);
    }
}

/// An admitted connection, and the one that made room for it.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) pass: Pass,
    /// The handle of the session that the connection becomes.
    pub(crate) control: SessionHandle,
    pub(crate) evicted: Option<Evicted>,
}

impl Gate {
    /// Whether a connection, or a socket that is accepted from, has it, too.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Replaces the limits. Open connections stay, and count.
    pub(crate) fn set_rules(&self, rules: &Rules) {
        let Inner { shared, index } = &*self.0;
        shared.lock().listeners[*index].set_rules(rules);
    }

    /// Admits a connection, or says why not. `control` has the last word, after all limits of the listener, and
    /// makes the handle.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter(
        &self,
        peer: Option<SocketAddr>,
        control: impl FnOnce() -> Result<SessionHandle, Refused>,
    ) -> Result<Admitted, Refused> {
        let Inner { shared, index } = &*self.0;
        let now = nanos(shared.opened.elapsed());
        let entered = shared.lock().enter(*index, peer, now, control)?;
        if let Some(evicted) = &entered.evicted {
            evicted.control.close(Order::evict());
        }
        Ok(Admitted {
            pass: Pass {
                gate: self.clone(),
                number: entered.number,
                client: entered.client.map(Box::new),
            },
            control: entered.control,
            evicted: entered.evicted,
        })
    }

    /// Counts the TLS handshake of a client that has sent its ClientHello, until it is dropped, unless it waits for
    /// the client.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn begin_handshake(&self, peer: Option<SocketAddr>) -> Result<Handshake, Refused> {
        let Inner { shared, index } = &*self.0;
        let now = nanos(shared.opened.elapsed());
        let mut state = shared.lock();
        let listener = &mut state.listeners[*index];
        let client = peer.map(|peer| listener.client(peer.ip()));
        listener.handshakes.begin(client, now)?;
        drop(state);
        Ok(Handshake {
            gate: self.clone(),
            client,
            is_counted: true,
        })
    }

    /// The address with the most pending connections on this listener, how many these are, and how
    /// many there are in all. Looks at each address, so only for rare log lines.
    pub(crate) fn most_pending(&self) -> Option<MostPending> {
        let state = self.0.shared.lock();
        let listener = &state.listeners[self.0.index];
        let (client, count) = listener.places.most()?;
        let all = listener.places.len();
        drop(state);
        Some(MostPending {
            client: client.name(),
            count,
            all,
        })
    }
}

/// A TLS handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    gate: Gate,
    client: Option<Client>,
    /// It computes, or waits for its first turn to.
    is_counted: bool,
}

impl Handshake {
    fn count(&mut self, is_counted: bool) {
        if self.is_counted == is_counted {
            return;
        }
        self.is_counted = is_counted;
        let Inner { shared, index } = &*self.gate.0;
        let mut state = shared.lock();
        let handshakes = &mut state.listeners[*index].handshakes;
        match is_counted {
            true => handshakes.go_on(self.client),
            false => handshakes.end(self.client),
        }
    }
}

impl HandshakePlace for Handshake {
    fn leave(&mut self) {
        self.count(false);
    }

    fn come_back(&mut self) {
        self.count(true);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.count(false);
    }
}

/// The holder of most pending places.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MostPending {
    pub(crate) client: String,
    pub(crate) count: usize,
    pub(crate) all: usize,
}

/// The places of an open connection, released on drop.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    number: u64,
    /// Boxed, because few listeners count per address.
    client: Option<Box<Client>>,
}

impl Pass {
    /// The client of a connection that was let in without one is known.
    ///
    /// # Errors
    /// The limit of this client that is reached: the connection must end.
    pub(crate) fn identify(&mut self, peer: SocketAddr) -> Result<(), Refused> {
        let Inner { shared, index } = &*self.gate.0;
        let now = nanos(shared.opened.elapsed());
        let client = shared.lock().identify(*index, self.number, peer, now)?;
        self.client = client.map(Box::new);
        Ok(())
    }

    /// The CONNECT has come: releases the place of a pending connection.
    pub(crate) fn connected(&self) {
        let Inner { shared, .. } = &*self.gate.0;
        shared.lock().connected(self.number);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Inner { shared, index } = &*self.gate.0;
        let client = self.client.as_deref().copied();
        shared.lock().leave(*index, self.number, client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::gate::HandshakeRules;
    use mproxy_admin::ConnectionLimit as Limit;

    #[test]
    fn a_pass_gives_back_what_it_took() {
        let gates = Gates::new(2, None);
        let rules = Rules {
            connections_per_ip: Some(1),
            rate_per_ip: None,
            pending_per_ip: Some(1),
            pending: None,
            connections: None,
            rate: None,
            handshakes: HandshakeRules::NONE,
            ipv6_prefix: 64,
        };
        let (one, other) = (gates.listener(&rules), gates.listener(&rules));
        let peer = |last| Some(SocketAddr::from(([192, 0, 2, last], 1883)));
        let first = one.enter(peer(1), || Ok(SessionHandle::new())).unwrap();
        first.pass.connected();
        assert_eq!(
            one.enter(peer(1), || Ok(SessionHandle::new()))
                .unwrap_err()
                .limit,
            Limit::MaxConnectionsPerIp
        );
        let second = other.enter(peer(1), || Ok(SessionHandle::new())).unwrap();
        let most = MostPending {
            client: "192.0.2.1".to_owned(),
            count: 1,
            all: 1,
        };
        assert_eq!(
            (one.most_pending(), other.most_pending()),
            (None, Some(most))
        );
        let full = one.enter(peer(2), || Ok(SessionHandle::new())).unwrap_err();
        assert_eq!((full.limit, full.value), (Limit::ServerMaxConnections, 2.0));
        drop(first);
        let third = one.enter(peer(1), || Ok(SessionHandle::new())).unwrap();
        drop((second, third));
        assert!(gates.0.lock().is_empty());
        // a listener was kept for each name that a configuration ever had
        drop(one);
        let _another = gates.listener(&rules);
        assert_eq!(gates.0.lock().listeners.len(), 2);
    }
}
