//! `[upstreams.NAME]`: the brokers.

use super::{Choice, VendorForm};
use mproxy_codec::topic;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where it is.
    pub address: UpstreamAddress,
    /// How it reads topics.
    pub dialect: Dialect,
    /// For name resolution, TCP and the WebSocket hand-shake together.
    pub connect_timeout: Duration,
    /// From CONNECT forwarded to CONNACK received.
    pub connack_timeout: Duration,
    /// Whether small packets are sent at once.
    pub tcp_nodelay: bool,
    /// Idle time before TCP asks whether the broker is still there; `None` = never.
    pub tcp_keepalive: Option<Duration>,
    /// What clients see when it does not answer their CONNECT.
    pub when_unreachable: WhenUnreachable,
    /// How readiness learns whether the broker serves clients.
    pub health: UpstreamHealth,
}

/// How a broker reads topics; layers judge and map what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As the standard says.
    Mqtt,
    /// As a topic exchange of AMQP 0-9-1: RabbitMQ.
    Amqp,
    /// As NATS does.
    Nats,
}

impl Choice for Dialect {
    const ALL: &'static [(&'static str, Self)] = &[
        ("mqtt", Self::Mqtt),
        ("amqp", Self::Amqp),
        ("nats", Self::Nats),
    ];
}

impl Dialect {
    /// The dialect of a broker that knows these forms, which only those of the standard do.
    pub fn with_forms(self, forms: &[VendorForm]) -> topic::Dialect {
        match self {
            Self::Mqtt => topic::Dialect::Mqtt(VendorForm::set(forms)),
            Self::Amqp => topic::Dialect::Amqp,
            Self::Nats => topic::Dialect::Nats,
        }
    }
}

/// What clients see when the broker does not answer their CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// Their connection is closed.
    Close,
    /// A CONNACK: 3, or 0x88 in MQTT 5.
    Connack,
}

impl Choice for WhenUnreachable {
    const ALL: &'static [(&'static str, Self)] =
        &[("close", Self::Close), ("connack", Self::Connack)];
}

/// `[upstreams.NAME.health]`: how readiness learns whether a broker serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamHealth {
    /// What the broker must do.
    pub check: HealthCheck,
    /// How often a connection is tried, or the longest pause between attempts that fail.
    pub interval: Duration,
}

/// What a broker must do to count as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// Nothing: it is not looked at.
    Off,
    /// Accept connections.
    Tcp,
    /// Answer CONNECT with CONNACK.
    Session,
}

impl Choice for HealthCheck {
    const ALL: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("tcp", Self::Tcp),
        ("session", Self::Session),
    ];
}

/// Where a broker is, and how MQTT is carried there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `mqtt://host:port`.
    Tcp {
        /// A name or an IP address; IPv6 without brackets.
        host: String,
        /// The port; 1883 when it was not given.
        port: u16,
    },
    /// `ws://host:port/path`.
    Ws {
        /// A name or an IP address; IPv6 without brackets.
        host: String,
        /// The port; 80 when it was not given.
        port: u16,
        /// Path and query; `/mqtt` when it was not given.
        path: String,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "mqtt://{}:{port}", Bracketed(host)),
            Self::Ws { host, port, path } => write!(f, "ws://{}:{port}{path}", Bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Ipv6Addr>().map(IpAddr::from) {
            Ok(address) => write!(f, "[{address}]"),
            Err(_) => f.write_str(self.0),
        }
    }
}
