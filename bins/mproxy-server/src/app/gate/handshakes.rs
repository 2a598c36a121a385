//! The TLS handshakes of a listener: the most expensive thing that somebody unknown can ask for.
//!
//! A handshake counts from its whole ClientHello on, and not while it waits for what its client sends next, so that
//! silent connections take no place. Measured with ECDSA P-256 and TLS 1.3: 0.28 ms of cryptography when the
//! ClientHello has come, 0.08 ms at the client's next message, 0.19 with its certificate. Nothing in between.

use mproxy_admin::ConnectionLimit as Limit;
use mproxy_session::Rate;

use super::client::Client;
use super::counts::Counts;
use super::limit::Refused;
use super::rate::{Bucket, Buckets, Moment};

/// The limits on handshakes; `None` = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HandshakeRules {
    pub(crate) rate_per_ip: Option<Rate>,
    pub(crate) most_per_ip: Option<usize>,
    pub(crate) rate: Option<Rate>,
    pub(crate) most: Option<usize>,
}

impl HandshakeRules {
    /// No limits.
    pub(crate) const NONE: Self = Self {
        rate_per_ip: None,
        most_per_ip: None,
        rate: None,
        most: None,
    };

    /// Whether nothing is limited, so that handshakes need not be counted.
    pub(crate) fn is_unlimited(&self) -> bool {
        *self == Self::NONE
    }
}

/// The handshakes of a listener.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Handshakes {
    rules: HandshakeRules,
    /// Those that compute, or wait for their first turn to.
    running: usize,
    clients: Counts,
    bucket: Option<Bucket>,
    buckets: Option<Buckets>,
}

impl Handshakes {
    /// Replaces the limits. A bucket whose rate stays the same keeps its level, unless clients are other
    /// parts of addresses now.
    pub(super) fn set_rules(&mut self, rules: &HandshakeRules, is_other_prefix: bool) {
        if self.rules.rate != rules.rate {
            self.bucket = rules.rate.map(Bucket::new);
        }
        if self.rules.rate_per_ip != rules.rate_per_ip || is_other_prefix {
            self.buckets = rules.rate_per_ip.map(Buckets::new);
        }
        self.rules = *rules;
    }

    /// Counts a handshake, or says why it must not begin. The client's own limits come first, and one that
    /// is refused takes nothing.
    pub(super) fn begin(&mut self, client: Option<Client>, now: Moment) -> Result<(), Refused> {
        let rules = self.rules;
        if let Some(client) = client {
            let running = self.clients.of(client);
            if let Some(most) = rules.most_per_ip.filter(|most| running >= *most) {
                return Err(Refused::full(Limit::MaxHandshakesPerIp, most));
            }
            if let Some(buckets) = self.buckets.as_ref().filter(|it| !it.has_one(client, now)) {
                let limit = Limit::HandshakeRatePerIp;
                return Err(Refused::too_fast(limit, buckets.rate));
            }
        }
        if let Some(most) = rules.most.filter(|most| self.running >= *most) {
            return Err(Refused::full(Limit::MaxHandshakes, most));
        }
        if let Some(bucket) = self.bucket.as_ref().filter(|it| !it.has_one(now)) {
            return Err(Refused::too_fast(Limit::HandshakeRate, bucket.rate));
        }
        self.go_on(client);
        if let Some(bucket) = &mut self.bucket {
            bucket.take_one(now);
        }
        if let Some(client) = client
            && let Some(buckets) = &mut self.buckets
        {
            buckets.take_one(client, now);
        }
        Ok(())
    }

    /// Counts a handshake that has begun before: its next turn has come.
    pub(super) fn go_on(&mut self, client: Option<Client>) {
        self.running += 1;
        if let Some(client) = client {
            self.clients.add(client);
        }
    }

    /// A handshake that was counted is over, or waits for its client.
    pub(super) fn end(&mut self, client: Option<Client>) {
        self.running = self.running.saturating_sub(1);
        if let Some(client) = client {
            self.clients.remove(client);
        }
    }

    /// True if none runs; its rates may still have state.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.running == 0 && self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn handshakes(rules: &HandshakeRules) -> Handshakes {
        let mut handshakes = Handshakes::default();
        handshakes.set_rules(rules, false);
        handshakes
    }

    fn client(last: u8) -> Option<Client> {
        Some(Client::of([192, 0, 2, last].into(), 64))
    }

    fn rate(count: u32) -> Option<Rate> {
        let count = NonZeroU32::new(count).unwrap();
        Some(Rate::new(count, Duration::from_secs(1)))
    }

    /// A client that is over its own limit must cost the others nothing.
    #[test]
    fn own_limits_come_before_shared_ones_and_a_refused_handshake_takes_nothing() {
        let mut handshakes = handshakes(&HandshakeRules {
            rate_per_ip: rate(3),
            most_per_ip: Some(2),
            rate: rate(5),
            most: Some(3),
        });
        let limit = |result: Result<(), Refused>| result.unwrap_err().limit;
        for _ in 0..2 {
            handshakes.begin(client(1), 0).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(
                limit(handshakes.begin(client(1), 0)),
                Limit::MaxHandshakesPerIp
            );
        }
        handshakes.begin(client(2), 0).unwrap();
        assert_eq!(limit(handshakes.begin(client(3), 0)), Limit::MaxHandshakes);
        for number in [1, 1, 2] {
            handshakes.end(client(number));
        }
        assert!(handshakes.is_empty());
        handshakes.begin(client(1), 0).unwrap();
        assert_eq!(
            limit(handshakes.begin(client(1), 0)),
            Limit::HandshakeRatePerIp
        );
        handshakes.begin(client(2), 0).unwrap();
        handshakes.end(client(2));
        assert_eq!(limit(handshakes.begin(client(3), 0)), Limit::HandshakeRate);
        handshakes.begin(client(3), 1_000_000_000).unwrap();
    }

    /// Fifty sockets that sent a ClientHello and nothing else kept everybody out for half a minute.
    #[test]
    fn a_handshake_that_waits_for_its_client_takes_no_place_and_is_not_turned_away_later() {
        let mut handshakes = handshakes(&HandshakeRules {
            most_per_ip: Some(1),
            most: Some(2),
            rate: rate(1000),
            ..HandshakeRules::default()
        });
        for _ in 0..50 {
            handshakes.begin(client(1), 0).unwrap();
            handshakes.end(client(1));
        }
        for _ in 0..3 {
            handshakes.go_on(client(1));
        }
        // but they count
        let limit = |result: Result<(), Refused>| result.unwrap_err().limit;
        assert_eq!(
            limit(handshakes.begin(client(1), 0)),
            Limit::MaxHandshakesPerIp
        );
        assert_eq!(limit(handshakes.begin(client(2), 0)), Limit::MaxHandshakes);
        for _ in 0..3 {
            handshakes.end(client(1));
        }
        assert!(handshakes.is_empty());
    }

    #[test]
    fn a_client_without_an_address_has_only_shared_limits() {
        let mut handshakes = handshakes(&HandshakeRules {
            most_per_ip: Some(1),
            most: Some(2),
            ..HandshakeRules::default()
        });
        handshakes.begin(None, 0).unwrap();
        handshakes.begin(None, 0).unwrap();
        assert_eq!(
            handshakes.begin(None, 0).unwrap_err().limit,
            Limit::MaxHandshakes
        );
    }
}
