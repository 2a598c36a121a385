//! What a log says of a limit that is reached.

use mproxy_admin::ConnectionLimit;

use crate::config::Rate;

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) limit: ConnectionLimit,
    /// The most connections, or the most new connections per second.
    pub(crate) value: f64,
    /// The rate as it was configured: two a minute are hard to tell from 0.033 per second.
    pub(crate) rate: Option<Rate>,
}

impl Refused {
    pub(super) const fn full(limit: ConnectionLimit, maximum: usize) -> Self {
        Self {
            limit,
            value: maximum as f64,
            rate: None,
        }
    }

    pub(super) fn too_fast(limit: ConnectionLimit, rate: Rate) -> Self {
        Self {
            limit,
            value: f64::from(rate.count.get()) / rate.period.as_secs_f64(),
            rate: Some(rate),
        }
    }
}

/// A limit on connections, for the operator.
pub(crate) trait Limited {
    /// The key that sets it, as `--set` takes it.
    fn key(self, listener: &str) -> String;

    /// What an operator can do about it; `NAME` is the listener's.
    fn remedy(self) -> &'static str;
}

impl Limited for ConnectionLimit {
    fn key(self, listener: &str) -> String {
        match self {
            Self::ServerMaxConnections => self.as_str().to_owned(),
            key => format!("listeners.{listener}.limits.{key}"),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::ServerMaxConnections => {
                "if these are your clients, raise this key, and the limit of file descriptors \
                 (LimitNOFILE, ulimit -n): a connection needs two"
            }
            Self::MaxConnections => "if these are your clients, raise this key",
            Self::MaxConnectionsPerIp | Self::ConnectionRatePerIp | Self::MaxPendingPerIp => {
                "if these are your clients behind one address, as of a NAT, a load balancer or a \
                 TLS terminator, raise or remove this key"
            }
            Self::MaxPending => {
                "if these are your clients, raise this key; if one address holds most of the places, \
                 block it, or set listeners.NAME.limits.max_pending_per_ip, or lower it if it is set"
            }
            Self::ConnectionRate => {
                "if these are your clients, raise this key; after a restart all of them come at once"
            }
            _ => "raise this key",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mproxy_admin::RefuseReason::{self, RateLimited};

    /// "connection_limit" alone made an operator guess between three keys.
    #[test]
    fn a_limit_is_named_by_its_key() {
        use ConnectionLimit as Limit;
        const FULL: RefuseReason = RefuseReason::ConnectionLimit;
        let of_listener = |key: &str| format!("listeners.mqtt.limits.{key}");
        let expected = [
            (Limit::MaxConnectionsPerIp, "max_connections_per_ip", FULL),
            (
                Limit::ConnectionRatePerIp,
                "connection_rate_per_ip",
                RateLimited,
            ),
            (Limit::MaxPendingPerIp, "max_pending_per_ip", FULL),
            (Limit::MaxPending, "max_pending", FULL),
            (Limit::MaxConnections, "max_connections", FULL),
            (Limit::ConnectionRate, "connection_rate", RateLimited),
        ];
        for (limit, key, reason) in expected {
            assert_eq!(
                (limit.key("mqtt"), limit.reason()),
                (of_listener(key), reason)
            );
        }
        let server = Limit::ServerMaxConnections;
        assert_eq!(server.key("mqtt"), "server.max_connections");
        assert_eq!(server.reason(), FULL);
        assert_eq!(expected.len() + 1, Limit::ALL.len());
        let last_resort = Limit::ALL.iter().find(|it| it.remedy() == "raise this key");
        assert_eq!(last_resort, None, "every limit has a remedy of its own");
    }
}
