//! The limits of one listener, and what counts against them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mproxy_admin::ConnectionLimit as Limit;
use mproxy_session::Control;

use super::client::Client;
use super::limit::Refused;
use super::rate::{Bucket, Buckets, Moment, nanos};
use crate::config::Rate;

/// How long a connection may be pending before it has to make room for another one. A CONNECT that was
/// sent at once has come by then, over a slow network too.
const GRACE: Duration = Duration::from_secs(1);

/// What a listener is limited to; `None` = unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) connections_per_ip: Option<usize>,
    pub(crate) rate_per_ip: Option<Rate>,
    pub(crate) pending_per_ip: Option<usize>,
    pub(crate) pending: Option<usize>,
    pub(crate) connections: Option<usize>,
    pub(crate) rate: Option<Rate>,
    /// The bits of an IPv6 address that belong to one client, 1 to 128.
    pub(crate) ipv6_prefix: u8,
}

/// A connection that has sent no whole CONNECT yet.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) struct Pending {
    pub(super) since: Moment,
    pub(super) peer: Option<SocketAddr>,
    pub(super) client: Option<Client>,
    pub(super) control: Control,
}

/// Connections of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    open: usize,
    pending: usize,
}

/// A listener and its connections.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Listener {
    pub(super) maximum: usize,
    pub(super) open: usize,
    pub(super) maximum_pending: usize,
    /// By number, so from the oldest to the youngest.
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) bucket: Option<Bucket>,
    pub(super) ipv6_prefix: u8,
    maximum_of_client: usize,
    maximum_pending_of_client: usize,
    buckets: Option<Buckets>,
    /// Clients with connections, if a limit asks: never more than there are connections.
    clients: HashMap<Client, Count>,
}

impl Listener {
    pub(super) fn new(rules: &Rules) -> Self {
        let or_unlimited = |maximum: Option<usize>| maximum.unwrap_or(usize::MAX);
        Self {
            maximum: or_unlimited(rules.connections),
            open: 0,
            maximum_pending: or_unlimited(rules.pending),
            pending: BTreeMap::new(),
            bucket: rules.rate.map(Bucket::new),
            ipv6_prefix: rules.ipv6_prefix,
            maximum_of_client: or_unlimited(rules.connections_per_ip),
            maximum_pending_of_client: or_unlimited(rules.pending_per_ip),
            buckets: rules.rate_per_ip.map(Buckets::new),
            clients: HashMap::new(),
        }
    }

    pub(super) fn client(&self, address: IpAddr) -> Client {
        Client::of(address, self.ipv6_prefix)
    }

    /// Whether connections are counted by client.
    pub(super) const fn counts_clients(&self) -> bool {
        self.maximum_of_client < usize::MAX || self.maximum_pending_of_client < usize::MAX
    }

    /// Whether the limits of the client alone let one more in. Takes nothing.
    pub(super) fn check_own(&self, client: Client, now: Moment) -> Result<(), Refused> {
        let count = self.clients.get(&client).copied().unwrap_or_default();
        let maximum = self.maximum_of_client;
        if count.open >= maximum {
            return Err(Refused::full(Limit::MaxConnectionsPerIp, maximum));
        }
        if let Some(buckets) = &self.buckets
            && !buckets.has_one(client, now)
        {
            let limit = Limit::ConnectionRatePerIp;
            return Err(Refused::too_fast(limit, buckets.rate));
        }
        let maximum = self.maximum_pending_of_client;
        if count.pending >= maximum {
            return Err(Refused::full(Limit::MaxPendingPerIp, maximum));
        }
        Ok(())
    }

    /// Counts a connection that is let in.
    pub(super) fn enter(&mut self, number: u64, pending: Pending) {
        let now = pending.since;
        self.open += 1;
        if let Some(client) = pending.client {
            if self.counts_clients() {
                let count = self.clients.entry(client).or_default();
                count.open += 1;
                count.pending += 1;
            }
            if let Some(buckets) = &mut self.buckets {
                buckets.take_one(client, now);
            }
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.take_one(now);
        }
        self.pending.insert(number, pending);
    }

    /// A connection is not pending any more, if it still was.
    pub(super) fn connected(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        if let Some(count) = self.count_of(pending.client) {
            count.pending -= 1;
        }
        Some(pending)
    }

    /// A connection that is not pending is over.
    pub(super) fn leave(&mut self, client: Option<Client>) {
        self.open -= 1;
        let left = self.count_of(client).map(|count| {
            count.open -= 1;
            count.open
        });
        if let (Some(client), Some(0)) = (client, left) {
            self.clients.remove(&client);
        }
    }

    fn count_of(&mut self, client: Option<Client>) -> Option<&mut Count> {
        self.clients.get_mut(&client?)
    }

    /// The connection that has been pending for longest, if it had its time.
    pub(super) fn oldest(&self, now: Moment) -> Option<u64> {
        let (number, pending) = self.pending.first_key_value()?;
        (now.saturating_sub(pending.since) >= nanos(GRACE)).then_some(*number)
    }

    /// True for a listener on which nothing is left of any connection, but for the rates.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0 && self.pending.is_empty() && self.clients.is_empty()
    }
}
