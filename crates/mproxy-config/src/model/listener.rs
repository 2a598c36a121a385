//! `[[listeners]]`: where clients connect, and what is asked of them.

use super::{Bind, Chain, Choice, Rate, Upstream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// A place where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name in logs and metrics; unique.
    pub name: String,
    /// The address it listens on; unique unless it is a TCP port of 0.
    pub bind: Bind,
    /// How MQTT arrives here.
    pub transport: Transport,
    /// Idle time before TCP asks whether the client is still there; `None` = never.
    pub tcp_keepalive: Option<Duration>,
    /// The broker that its clients are connected to.
    pub upstream: Arc<Upstream>,
    /// The layers that its packets pass.
    pub chain: Arc<Chain>,
    /// The versions of MQTT that are let in; at least one, in ascending order.
    pub versions: Vec<MqttVersion>,
    /// How strictly the standard is kept.
    pub conformance: Conformance,
    /// Whether mosquitto bridges are let in.
    pub bridges: Bridges,
    /// Who keeps clients to the broker's Receive Maximum.
    pub receive_maximum: ReceiveMaximum,
    /// What becomes of a Server Reference of the broker.
    pub server_reference: ServerReference,
    /// What becomes of a packet with control characters in a name, a topic or a topic filter.
    pub control_characters: ControlCharacters,
    /// Bounds on what a client may take.
    pub limits: Limits,
}

/// How MQTT arrives at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain MQTT over TCP.
    Mqtt,
    /// MQTT in binary WebSocket frames.
    Ws {
        /// The paths that are upgraded, each exact or a prefix with `/*` at its end; empty = any.
        paths: Vec<String>,
        /// The `Origin` header values that are let in; empty = any.
        origins: Vec<String>,
        /// The largest head of an upgrade request.
        max_header_size: usize,
    },
}

impl Transport {
    /// The word for it in the configuration.
    pub fn name(&self) -> TransportName {
        match self {
            Self::Mqtt => TransportName::Mqtt,
            Self::Ws { .. } => TransportName::Ws,
        }
    }
}

/// The values of `listeners.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportName {
    /// Plain MQTT over TCP.
    Mqtt,
    /// MQTT in binary WebSocket frames.
    Ws,
}

impl Choice for TransportName {
    const ALL: &'static [(&'static str, Self)] = &[("mqtt", Self::Mqtt), ("ws", Self::Ws)];
    const LATER: &'static [&'static str] = &["mqtts", "wss"];
}

/// The versions of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MqttVersion {
    /// MQTT 3.1, `MQIsdp`.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

impl Choice for MqttVersion {
    const ALL: &'static [(&'static str, Self)] =
        &[("3.1", Self::V31), ("3.1.1", Self::V311), ("5", Self::V5)];
}

/// How strictly the standard is kept where a slip has one meaning only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conformance {
    /// Small slips are repaired on the way.
    Tolerant,
    /// The standard to the letter.
    Strict,
}

impl Choice for Conformance {
    const ALL: &'static [(&'static str, Self)] =
        &[("tolerant", Self::Tolerant), ("strict", Self::Strict)];
}

/// Whether mosquitto bridges are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bridges {
    /// As clients like any other; the broker sees that they are bridges.
    Pass,
    /// They are refused, and come back as plain clients.
    Refuse,
}

impl Choice for Bridges {
    const ALL: &'static [(&'static str, Self)] = &[("pass", Self::Pass), ("refuse", Self::Refuse)];
}

/// Who keeps clients to the Receive Maximum that the broker announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveMaximum {
    /// The broker.
    Pass,
    /// The proxy.
    Enforce,
}

impl Choice for ReceiveMaximum {
    const ALL: &'static [(&'static str, Self)] =
        &[("pass", Self::Pass), ("enforce", Self::Enforce)];
}

/// What becomes of a Server Reference with which the broker sends a client elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerReference {
    /// It is taken out: an address behind the proxy is of no use before it.
    Strip,
    /// It goes to the client.
    Pass,
}

impl Choice for ServerReference {
    const ALL: &'static [(&'static str, Self)] = &[("strip", Self::Strip), ("pass", Self::Pass)];
}

/// What becomes of a packet with control characters in a name, a topic or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCharacters {
    /// It ends the session.
    Refuse,
    /// It goes on.
    Pass,
}

impl Choice for ControlCharacters {
    const ALL: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("pass", Self::Pass)];
}

/// Bounds on what a client may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From accept to the complete CONNECT.
    pub connect_timeout: Duration,
    /// How long a peer may take for the next 512 bytes of a packet, or for its end.
    pub packet_timeout: Duration,
    /// How long a peer may refuse to take bytes that wait for it.
    pub write_timeout: Duration,
    /// The largest packet of a client, fixed header included.
    pub max_packet_size: u32,
    /// The largest CONNECT.
    pub max_connect_size: usize,
    /// The largest packet that must be in memory whole.
    pub max_held_packet: usize,
    /// Client connections on this listener; `None` = only the limit of the process counts.
    pub max_connections: Option<NonZeroUsize>,
    /// Client connections from one IP address, which those of a Unix socket have not; `None` =
    /// unlimited.
    pub max_connections_per_ip: Option<NonZeroUsize>,
    /// New connections from one IP address; `None` = unlimited.
    pub connection_rate_per_ip: Option<Rate>,
    /// Connections from one IP address that have sent no whole CONNECT yet; `None` = unlimited.
    pub max_pending_per_ip: Option<NonZeroUsize>,
    /// The bits of an IPv6 address that belong to one client, 1 to 128.
    pub ipv6_prefix: u8,
    /// Connections that have sent no whole CONNECT yet; `None` = unlimited.
    pub max_pending: Option<NonZeroUsize>,
    /// New connections; `None` = unlimited.
    pub connection_rate: Option<Rate>,
    /// A client is silent for its keep-alive times this: it is gone. At least 1.
    pub keepalive_grace: f64,
    /// The longest keep-alive in seconds; 0 = as the client asks.
    pub max_keepalive: u16,
    /// Bytes of the proxy's own answers that wait for a slow peer before it is not read any more.
    pub max_replies: usize,
    /// The most levels of a topic that layers look at.
    pub max_topic_levels: NonZeroUsize,
    /// The most topic filters of a request that layers look at.
    pub max_filters: NonZeroUsize,
    /// Refused packets and other useless work of a client; `None` = unlimited.
    pub max_denials: Option<Rate>,
}
