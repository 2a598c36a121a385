//! The limits of one listener, and its counts.

use std::net::IpAddr;

use mproxy_admin::ConnectionLimit as Limit;

use super::client::Client;
use super::counts::Counts;
use super::handshakes::{HandshakeRules, Handshakes};
use super::limit::Refused;
use super::places::{Holder, Place, Places};
use super::rate::{Bucket, Buckets, Moment};
use mproxy_session::Rate;

/// The limits of a listener; `None` = unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) connections_per_ip: Option<usize>,
    pub(crate) rate_per_ip: Option<Rate>,
    pub(crate) pending_per_ip: Option<usize>,
    pub(crate) pending: Option<usize>,
    pub(crate) connections: Option<usize>,
    pub(crate) rate: Option<Rate>,
    pub(crate) handshakes: HandshakeRules,
    /// The bits of an IPv6 address that belong to one client, 1 to 128.
    pub(crate) ipv6_prefix: u8,
}

/// A listener and its connections.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Listener {
    pub(super) maximum: usize,
    pub(super) open: usize,
    pub(super) maximum_pending: usize,
    /// Its connections without a complete CONNECT.
    pub(super) places: Places,
    pub(super) bucket: Option<Bucket>,
    pub(super) handshakes: Handshakes,
    pub(super) ipv6_prefix: u8,
    maximum_of_client: usize,
    maximum_pending_of_client: usize,
    buckets: Option<Buckets>,
    /// Connections per client, if a limit needs them.
    clients: Counts,
}

impl Listener {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut listener = Self {
            maximum: 0,
            open: 0,
            maximum_pending: 0,
            places: Places::default(),
            bucket: None,
            handshakes: Handshakes::default(),
            ipv6_prefix: rules.ipv6_prefix,
            maximum_of_client: 0,
            maximum_pending_of_client: 0,
            buckets: None,
            clients: Counts::default(),
        };
        listener.set_rules(rules);
        listener
    }

    /// Replaces the limits. A bucket whose rate stays the same keeps its level.
    pub(super) fn set_rules(&mut self, rules: &Rules) {
        let or_unlimited = |maximum: Option<usize>| maximum.unwrap_or(usize::MAX);
        self.maximum = or_unlimited(rules.connections);
        self.maximum_pending = or_unlimited(rules.pending);
        self.maximum_of_client = or_unlimited(rules.connections_per_ip);
        self.maximum_pending_of_client = or_unlimited(rules.pending_per_ip);
        if self.bucket.as_ref().map(|bucket| bucket.rate) != rules.rate {
            self.bucket = rules.rate.map(Bucket::new);
        }
        let is_other_prefix = self.ipv6_prefix != rules.ipv6_prefix;
        let rate = self.buckets.as_ref().map(|buckets| buckets.rate);
        if rate != rules.rate_per_ip || is_other_prefix {
            self.buckets = rules.rate_per_ip.map(Buckets::new);
        }
        self.handshakes
            .set_rules(&rules.handshakes, is_other_prefix);
        self.ipv6_prefix = rules.ipv6_prefix;
    }

    pub(super) fn client(&self, address: IpAddr) -> Client {
        Client::of(address, self.ipv6_prefix)
    }

    /// Whether connections are counted per client.
    pub(super) const fn counts_clients(&self) -> bool {
        self.maximum_of_client < usize::MAX
    }

    /// Whether the client's own limits allow one more. Takes nothing.
    pub(super) fn check_own(&self, client: Client, now: Moment) -> Result<(), Refused> {
        let maximum = self.maximum_of_client;
        if self.clients.of(client) >= maximum {
            return Err(Refused::full(Limit::MaxConnectionsPerIp, maximum));
        }
        if let Some(buckets) = &self.buckets
            && !buckets.has_one(client, now)
        {
            let limit = Limit::ConnectionRatePerIp;
            return Err(Refused::too_fast(limit, buckets.rate));
        }
        let maximum = self.maximum_pending_of_client;
        if self.places.count(Some(client)) >= maximum {
            return Err(Refused::full(Limit::MaxPendingPerIp, maximum));
        }
        Ok(())
    }

    /// Counts an admitted connection.
    pub(super) fn enter(&mut self, client: Holder, place: Place) {
        let now = place.since;
        self.open += 1;
        if let Some(client) = client {
            self.take_own(client, now);
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.take_one(now);
        }
        self.places.enter(client, place);
    }

    /// Counts a connection for its client.
    pub(super) fn take_own(&mut self, client: Client, now: Moment) {
        if self.counts_clients() {
            self.clients.add(client);
        }
        if let Some(buckets) = &mut self.buckets {
            buckets.take_one(client, now);
        }
    }

    /// A connection that is not pending has ended.
    pub(super) fn leave(&mut self, client: Option<Client>) {
        self.open -= 1;
        if let Some(client) = client {
            self.clients.remove(client);
        }
    }

    /// True for a listener without connections; its rates may still have state.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let is_idle = self.handshakes.is_empty();
        is_idle && self.open == 0 && self.places.is_empty() && self.clients.is_empty()
    }
}
