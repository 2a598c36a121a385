//! `[[listeners]]` and `[listeners.limits]`.

use super::{Listing, Setting};
use crate::model::{
    Bind, Bridges, Conformance, ControlCharacters, MqttVersion, Rate, ReceiveMaximum,
    ServerReference, TransportName,
};
use crate::scalar::{Count, Number, Origin, Prefix, Size, Text, UrlPath};
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroUsize;
use std::time::Duration;

/// A place where clients connect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct ListenerFile {
    /// Name in logs and metrics; unique.
    pub name: Setting<Text>,
    /// IP address and port (0 = any free one), or unix:/path for a Unix socket.
    pub bind: Setting<Bind>,
    /// How MQTT arrives: over TCP, or in WebSocket frames.
    #[schemars(extend("default" = "mqtt"))]
    pub protocol: Setting<TransportName>,
    /// Paths of the WebSocket upgrade; ws only. Empty = any. "/tenant/*" is every path that begins
    /// with /tenant/.
    #[schemars(extend("default" = []))]
    pub paths: Listing<UrlPath>,
    /// Values of the Origin header that are let in; ws only. Empty = any.
    #[schemars(extend("default" = []))]
    pub origins: Listing<Origin>,
    /// Largest head of an upgrade request, cookies and all; ws only. 8KiB to 1MiB.
    #[schemars(extend("default" = "16KiB"))]
    pub max_header_size: Setting<Size>,
    /// Idle time before TCP asks whether the client is still there; one that vanished is found
    /// after about twice this time. "0s" = never.
    #[schemars(extend("default" = "60s"))]
    pub tcp_keepalive: Setting<Duration>,
    /// Name of the broker. Default: the only one there is.
    pub upstream: Setting<Text>,
    /// Name of the chain of layers.
    #[schemars(extend("default" = "default"))]
    pub chain: Setting<Text>,
    /// Versions of MQTT that are let in.
    #[schemars(extend("default" = ["3.1", "3.1.1", "5"]))]
    pub versions: Listing<MqttVersion>,
    /// How strictly the standard is kept. tolerant: small slips that have one meaning only are
    /// repaired on the way, so that what works with the broker works through mproxy. strict: to
    /// the letter.
    #[schemars(extend("default" = "tolerant"))]
    pub conformance: Setting<Conformance>,
    /// Whether mosquitto bridges, which say so in their protocol level, are let in. pass: as clients
    /// like any other. refuse: with return code 1, after which they come back as plain clients.
    #[schemars(extend("default" = "pass"))]
    pub bridges: Setting<Bridges>,
    /// Who keeps MQTT 5 clients to the Receive Maximum that the broker announced. pass: the
    /// broker. enforce: mproxy, with DISCONNECT 0x93.
    #[schemars(extend("default" = "pass"))]
    pub receive_maximum: Setting<ReceiveMaximum>,
    /// What becomes of a Server Reference with which the broker sends a client elsewhere
    /// (MQTT 5).
    #[schemars(extend("default" = "strip"))]
    pub server_reference: Setting<ServerReference>,
    /// What becomes of a packet with control characters in a client identifier, a user name, a
    /// topic or a topic filter.
    #[schemars(extend("default" = "refuse"))]
    pub control_characters: Setting<ControlCharacters>,
    /// Bounds on what a client may take.
    pub limits: LimitsFile,
}

/// Bounds on what a client may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct LimitsFile {
    /// From accept to the complete CONNECT. Modems are slow.
    #[schemars(extend("default" = "30s"))]
    pub connect_timeout: Setting<Duration>,
    /// How long a peer may take for the next 512 bytes of a packet, or for its end. Keep-alive
    /// cannot catch a peer that sends one byte a minute, because bytes keep arriving. This does.
    #[schemars(extend("default" = "120s"))]
    pub packet_timeout: Setting<Duration>,
    /// How long a peer may take none of the bytes that wait for it. Without it, a client
    /// that stopped reading would keep its session, and the broker's queue, for ever.
    #[schemars(extend("default" = "120s"))]
    pub write_timeout: Setting<Duration>,
    /// Largest packet of a client, fixed header included. 256MiB, which is what MQTT can say, sets
    /// no limit: clients get the broker's CONNACK byte for byte. A smaller one is told to MQTT 5
    /// clients (Maximum Packet Size). A large PUBLISH streams through and takes no memory.
    #[schemars(extend("default" = "256MiB"))]
    pub max_packet_size: Setting<Size>,
    /// Largest CONNECT: client identifier, will, user name and password.
    #[schemars(extend("default" = "64KiB"))]
    pub max_connect_size: Setting<Size>,
    /// Largest packet that must be in memory whole: SUBSCRIBE, UNSUBSCRIBE and other packets but
    /// PUBLISH, and a PUBLISH whose payload a layer reads.
    #[schemars(extend("default" = "1MiB"))]
    pub max_held_packet: Setting<Size>,
    /// Client connections on this listener. 0 = only server.max_connections counts.
    #[schemars(extend("default" = 0))]
    pub max_connections: Setting<Count>,
    /// Client connections from one IP address. 0 = unlimited. Behind a load balancer all
    /// clients share its address; on a Unix socket they have none.
    #[schemars(extend("default" = 0))]
    pub max_connections_per_ip: Setting<Count>,
    /// New connections from one IP address in a time, such as "10/s". "0/s" = unlimited.
    #[schemars(extend("default" = "0/s"))]
    pub connection_rate_per_ip: Setting<Option<Rate>>,
    /// Connections from one IP address that have sent no whole CONNECT yet. 0 = unlimited.
    #[schemars(extend("default" = 0))]
    pub max_pending_per_ip: Setting<Count>,
    /// How many bits of an IPv6 address belong to one client, for every limit per address. 1 to
    /// 128. A provider gives each customer a /64 at least.
    #[schemars(extend("default" = 64))]
    pub ipv6_prefix: Setting<Prefix>,
    /// Connections that have sent no whole CONNECT yet. 0 = unlimited. When this limit,
    /// max_connections or server.max_connections is reached, the address with most of them loses its
    /// oldest, if that has waited for a second, and the new one is let in, unless its address has more.
    #[schemars(extend("default" = 0))]
    pub max_pending: Setting<Count>,
    /// New connections in a time, such as "100/s". "0/s" = unlimited.
    #[schemars(extend("default" = "0/s"))]
    pub connection_rate: Setting<Option<Rate>>,
    /// A client that was silent for its keep-alive times this is gone. The standard says 1.5. The
    /// broker judges first: mproxy closes such a client 30 seconds later, or at once with
    /// max_keepalive or conformance = "strict".
    #[schemars(extend("default" = 1.5))]
    pub keepalive_grace: Setting<Number>,
    /// Longest keep-alive; "0s" = as the client asks. MQTT 5 clients are told (Server Keep
    /// Alive), others are closed after keepalive_grace times this silence.
    #[schemars(extend("default" = "0s"))]
    pub max_keepalive: Setting<Duration>,
    /// Bytes of mproxy's own answers (refused packets) that may wait for a client that does not read
    /// them, before mproxy stops reading that client.
    #[schemars(extend("default" = "64KiB"))]
    pub max_replies: Setting<Size>,
    /// Most levels of a topic name or topic filter where layers look at topics. A client that names a
    /// deeper one is closed, and a deeper delivery dropped.
    #[schemars(extend("default" = 128))]
    pub max_topic_levels: Setting<NonZeroUsize>,
    /// Most topic filters of a SUBSCRIBE or UNSUBSCRIBE where layers look at them, which may have four
    /// times as many levels in all. A client that sends more is closed.
    #[schemars(extend("default" = 16384))]
    pub max_filters: Setting<NonZeroUsize>,
    /// Packets of one client that layers refuse, and WebSocket frames without content, in a time; then
    /// it is closed. "0/m" = unlimited.
    #[schemars(extend("default" = "600/m"))]
    pub max_denials: Setting<Option<Rate>>,
}
