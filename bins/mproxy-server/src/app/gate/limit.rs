//! What the log says about a limit that is reached.

use std::borrow::Cow;

use mproxy_admin::ConnectionLimit;

use mproxy_session::Rate;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) limit: ConnectionLimit,
    /// The maximum of connections, or of new connections per second.
    pub(crate) value: f64,
    /// The rate as configured: two per minute are hard to recognize in 0.033 per second.
    pub(crate) rate: Option<Rate>,
    /// What an operator can do if file descriptors, not a key, set the limit.
    pub(super) descriptor_remedy: Option<&'static str>,
}

/// What an operator can do if a few addresses hold most connections without a CONNECT; `NAME` is the
/// listener's.
const HOLDER_REMEDY: &str = "if one address holds most of the places, block it, or set \
    listeners.NAME.limits.max_pending_per_ip, or lower it if it is set";

impl Refused {
    pub(crate) const fn full(limit: ConnectionLimit, maximum: usize) -> Self {
        Self {
            limit,
            value: maximum as f64,
            rate: None,
            descriptor_remedy: None,
        }
    }

    /// The process does not keep up: a reading is above the value of this key.
    pub(crate) const fn overloaded(limit: ConnectionLimit, value: f64) -> Self {
        Self {
            limit,
            value,
            rate: None,
            descriptor_remedy: None,
        }
    }

    pub(super) fn too_fast(limit: ConnectionLimit, rate: Rate) -> Self {
        Self {
            limit,
            value: f64::from(rate.count.get()) / rate.period.as_secs_f64(),
            rate: Some(rate),
            descriptor_remedy: None,
        }
    }

    /// What an operator can do about a refused connection; `NAME` is the listener's.
    pub(crate) fn remedy(&self) -> Cow<'static, str> {
        match self.limit {
            ConnectionLimit::MaxPending => self.eviction_remedy().into(),
            _ => self.more(),
        }
    }

    /// What an operator can do about a connection that had to make room; `NAME` is the listener's.
    pub(crate) fn eviction_remedy(&self) -> String {
        format!("{HOLDER_REMEDY}; {}", self.more())
    }

    /// What to do for more connections.
    fn more(&self) -> Cow<'static, str> {
        match self.descriptor_remedy {
            Some(remedy) => format!(
                "if these are your clients, {remedy}; the file descriptor limit, not a key, allows no \
                 more connections: each needs two"
            )
            .into(),
            None => self.limit.remedy().into(),
        }
    }
}

/// A limit on connections, for the operator.
pub(crate) trait Limited {
    /// The key that sets it, as `--set` takes it.
    fn key(self, listener: &str) -> String;

    /// What an operator can do for more connections.
    fn remedy(self) -> &'static str;
}

impl Limited for ConnectionLimit {
    fn key(self, listener: &str) -> String {
        match self {
            Self::ServerMaxConnections
            | Self::ServerMemory
            | Self::OverloadLag
            | Self::OverloadCpuPressure
            | Self::OverloadMemoryPressure => self.as_str().to_owned(),
            key => format!("listeners.{listener}.limits.{key}"),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::ServerMaxConnections => {
                "if these are your clients, raise this key, and the limit of file descriptors \
                 (LimitNOFILE, ulimit -n): a connection needs two"
            }
            Self::MaxPending | Self::MaxConnections => "if these are your clients, raise this key",
            Self::MaxConnectionsPerIp | Self::ConnectionRatePerIp | Self::MaxPendingPerIp => {
                "if these are your clients behind one address (a NAT, a load balancer or a TLS \
                 terminator), raise or remove this key"
            }
            Self::MaxHandshakesPerIp | Self::HandshakeRatePerIp => {
                "if these are your clients behind one address (a NAT), raise or remove this key; \
                 clients that reconnect again and again cost a handshake each time"
            }
            Self::MaxHandshakes | Self::HandshakeRate => {
                "if these are your clients, raise this key; if one address sends most of them, set \
                 listeners.NAME.limits.handshake_rate_per_ip"
            }
            Self::ConnectionRate => {
                "if these are your clients, raise this key; after a restart they all connect at once"
            }
            Self::ServerMemory => {
                "see the line with event=memory: raise server.memory or the memory limit of the \
                 container if your fleet needs it"
            }
            Self::OverloadLag | Self::OverloadCpuPressure | Self::OverloadMemoryPressure => {
                "see the line with event=overload: give mproxy more CPU or memory, or another replica; raise \
                 this key if this is usual here"
            }
            _ => "raise this key",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mproxy_admin::ConnectionLimit as Limit;
    use mproxy_admin::RefuseReason::{self, RateLimited};

    /// A line told an operator to raise `server.max_connections`, which nobody had set: there were 64 file
    /// descriptors. Another told to set a limit of each address that was set.
    #[test]
    fn a_remedy_fits_what_is_configured() {
        let full = Refused::full(Limit::ServerMaxConnections, 1);
        let by_descriptors = Refused {
            descriptor_remedy: Some("raise LimitNOFILE"),
            ..full
        };
        assert!(full.remedy().contains("raise this key"));
        for remedy in [
            by_descriptors.remedy(),
            by_descriptors.eviction_remedy().into(),
        ] {
            assert!(remedy.contains("if these are your clients, raise LimitNOFILE;"));
            assert!(!remedy.contains("this key"), "{remedy}");
        }
        let pending = Refused::full(Limit::MaxPending, 1);
        let remedies = [pending.remedy(), full.eviction_remedy().into()];
        for remedy in remedies {
            assert!(
                remedy.contains("block it, or set") && remedy.contains("or lower it if it is set")
            );
            assert!(remedy.contains("; if these are your clients, raise this key"));
        }
        assert!(!full.remedy().contains("max_pending_per_ip"));
    }

    /// "connection_limit" alone made an operator guess between three keys.
    #[test]
    fn a_limit_is_named_by_its_key() {
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
            (
                Limit::HandshakeRatePerIp,
                "handshake_rate_per_ip",
                RateLimited,
            ),
            (Limit::MaxHandshakesPerIp, "max_handshakes_per_ip", FULL),
            (Limit::HandshakeRate, "handshake_rate", RateLimited),
            (Limit::MaxHandshakes, "max_handshakes", FULL),
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
        let memory = Limit::ServerMemory;
        assert_eq!(memory.key("mqtt"), "server.memory");
        assert_eq!(memory.reason(), RefuseReason::Overload);
        for (limit, key) in [
            (Limit::OverloadLag, "server.overload_lag"),
            (Limit::OverloadCpuPressure, "server.overload_cpu_pressure"),
            (
                Limit::OverloadMemoryPressure,
                "server.overload_memory_pressure",
            ),
        ] {
            assert_eq!(limit.key("mqtt"), key);
            assert_eq!(limit.reason(), RefuseReason::Overload);
        }
        assert_eq!(expected.len() + 5, Limit::ALL.len());
        let last_resort = Limit::ALL.iter().find(|it| it.remedy() == "raise this key");
        assert_eq!(last_resort, None, "every limit has a remedy of its own");
    }
}
