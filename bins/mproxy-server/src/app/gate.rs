//! Who may come in: limits that cost nothing to check, before anything is read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mproxy_admin::RefuseReason;

use crate::config::Rate;

/// A limit that a connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Connections of all listeners.
    Server,
    /// Connections of the listener.
    Listener,
    /// Connections from the client's address.
    Address,
    /// New connections in a time.
    Rate,
}

impl Limit {
    /// The label that metrics have for it.
    pub(crate) const fn reason(self) -> RefuseReason {
        match self {
            Self::Server | Self::Listener | Self::Address => RefuseReason::ConnectionLimit,
            Self::Rate => RefuseReason::RateLimited,
        }
    }

    /// The key that sets it, as `--set` takes it.
    pub(crate) fn key(self, listener: &str) -> String {
        let key = match self {
            Self::Server => return "server.max_connections".to_owned(),
            Self::Listener => "max_connections",
            Self::Address => "max_connections_per_ip",
            Self::Rate => "connection_rate",
        };
        format!("listeners.{listener}.limits.{key}")
    }

    /// What an operator can do about it.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::Server => {
                "if these are your clients, raise this key, and the limit of file descriptors \
                 (LimitNOFILE, ulimit -n): a connection needs two"
            }
            Self::Listener => "if these are your clients, raise this key",
            Self::Address => {
                "if these are your clients behind one address, as of a NAT, a load balancer or a \
                 TLS terminator, raise or remove this key"
            }
            Self::Rate => {
                "if these are your clients, raise this key; after a restart all of them come at once"
            }
        }
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) limit: Limit,
    /// The most connections, or the most new connections per second.
    pub(crate) value: f64,
    /// The rate as it was configured: two a minute are hard to tell from 0.033 per second.
    pub(crate) rate: Option<Rate>,
}

/// Counts connections against a maximum.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: AtomicUsize,
    maximum: usize,
}

impl Slots {
    pub(crate) fn new(maximum: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            maximum: maximum.unwrap_or(usize::MAX),
        })
    }

    /// Takes a slot, unless all are taken.
    fn take(self: &Arc<Self>) -> Option<Slot> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(self)); // gives back what was added, also when it was too much
        (taken < self.maximum).then_some(slot)
    }
}

/// One connection's share of [`Slots`].
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limits of one listener.
#[derive(Debug)]
pub(crate) struct Gate {
    server: Arc<Slots>,
    listener: Arc<Slots>,
    addresses: Option<Arc<Addresses>>,
    bucket: Option<Mutex<Bucket>>,
}

/// What a connection holds as long as it is open.
#[derive(Debug)]
pub(crate) struct Pass {
    _server: Slot,
    _listener: Slot,
    /// Boxed: few listeners count by address.
    _address: Option<Box<AddressSlot>>,
}

impl Gate {
    pub(crate) fn new(
        server: &Arc<Slots>,
        maximum: Option<usize>,
        per_address: Option<usize>,
        rate: Option<Rate>,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            listener: Slots::new(maximum),
            addresses: per_address.map(|maximum| {
                Arc::new(Addresses {
                    maximum,
                    open: Mutex::new(HashMap::new()),
                })
            }),
            bucket: rate.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))),
        }
    }

    /// Lets a connection in, or says why not.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter(&self, address: Option<IpAddr>) -> Result<Pass, Refused> {
        if let Some(bucket) = &self.bucket {
            let mut bucket = lock(bucket);
            if !bucket.take(Instant::now()) {
                return Err(Refused {
                    limit: Limit::Rate,
                    value: bucket.per_second,
                    rate: Some(bucket.rate),
                });
            }
        }
        let full = |limit, maximum: usize| {
            move || Refused {
                limit,
                value: maximum as f64,
                rate: None,
            }
        };
        let address = match (&self.addresses, address) {
            (Some(addresses), Some(address)) => {
                let slot = addresses.take(address);
                let slot = slot.ok_or_else(full(Limit::Address, addresses.maximum))?;
                Some(Box::new(slot))
            }
            _ => None,
        };
        let (server, listener) = (&self.server, &self.listener);
        Ok(Pass {
            _server: server
                .take()
                .ok_or_else(full(Limit::Server, server.maximum))?,
            _listener: listener
                .take()
                .ok_or_else(full(Limit::Listener, listener.maximum))?,
            _address: address,
        })
    }
}

/// Open connections by source address. Entries go when the last connection goes, so the map is
/// never larger than the number of connections.
#[derive(Debug)]
struct Addresses {
    maximum: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        let mut open = lock(&self.open);
        let count = open.entry(address).or_insert(0);
        if *count >= self.maximum {
            return None;
        }
        *count += 1;
        Some(AddressSlot {
            addresses: Arc::clone(self),
            address,
        })
    }
}

#[derive(Debug)]
struct AddressSlot {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut open = lock(&self.addresses.open);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// A token bucket that holds one second's worth, at least one.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    capacity: f64,
    per_second: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        let per_second = f64::from(rate.count.get()) / rate.period.as_secs_f64();
        let capacity = per_second.max(1.0);
        Self {
            rate,
            tokens: capacity,
            capacity,
            per_second,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = passed
            .mul_add(self.per_second, self.tokens)
            .min(self.capacity);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // counters stay valid whatever happened while the lock was held
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    #[test]
    fn every_limit_is_given_back() {
        let server = Slots::new(Some(3));
        let gate = Gate::new(&server, Some(2), Some(1), None);
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let first = gate.enter(address(1)).unwrap();
        let refused = |last| {
            let refused = gate.enter(address(last)).unwrap_err();
            (refused.limit, refused.value)
        };
        assert_eq!(refused(1), (Limit::Address, 1.0));
        let second = gate.enter(address(2)).unwrap();
        assert_eq!(refused(3), (Limit::Listener, 2.0));
        assert_eq!(server.taken.load(Ordering::Relaxed), 2);
        drop(first);
        let third = gate.enter(address(1)).unwrap();
        let other = Gate::new(&server, None, None, None);
        let last = other.enter(None).unwrap();
        let full = other.enter(None).unwrap_err();
        assert_eq!((full.limit, full.value), (Limit::Server, 3.0));
        drop((second, third, last));
        assert_eq!(server.taken.load(Ordering::Relaxed), 0);
        assert!(lock(&gate.addresses.as_ref().unwrap().open).is_empty());
    }

    /// "connection_limit" alone made an operator guess between three keys.
    #[test]
    fn a_limit_is_named_by_its_key() {
        for (limit, key, reason) in [
            (
                Limit::Server,
                "server.max_connections",
                RefuseReason::ConnectionLimit,
            ),
            (
                Limit::Listener,
                "listeners.mqtt.limits.max_connections",
                RefuseReason::ConnectionLimit,
            ),
            (
                Limit::Address,
                "listeners.mqtt.limits.max_connections_per_ip",
                RefuseReason::ConnectionLimit,
            ),
            (
                Limit::Rate,
                "listeners.mqtt.limits.connection_rate",
                RefuseReason::RateLimited,
            ),
        ] {
            assert_eq!((limit.key("mqtt").as_str(), limit.reason()), (key, reason));
        }
    }

    #[test]
    fn a_bucket_refills_with_time() {
        let rate = Rate {
            count: NonZeroU32::new(2).unwrap(),
            period: Duration::from_secs(1),
        };
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, start);
        assert!(bucket.take(start));
        assert!(bucket.take(start));
        assert!(!bucket.take(start));
        assert!(!bucket.take(start + Duration::from_millis(400)));
        assert!(bucket.take(start + Duration::from_millis(600)));
    }
}
