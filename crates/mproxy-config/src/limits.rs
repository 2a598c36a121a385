//! `[listeners.limits]`: what a client may take.

use crate::scalar::{Count, KeepAlive, Number, Prefix, Rate, Size};
use crate::section::{Setting, section};
use crate::validate::bounds;
use std::num::NonZeroUsize;
use std::time::Duration;

section! {
    /// Limits on what a client may take.
    Limits, LimitsKeys in "[listeners.limits]" {
        /// From accept to the complete CONNECT. Modems are slow.
        connect_timeout: Duration = "30s", check bounds::timeout;
        /// How long a peer may take for the next 512 bytes of a packet, or for its end. Keep-alive
        /// cannot catch a peer that sends one byte a minute, because bytes keep arriving. This does.
        packet_timeout: Duration = "120s", check bounds::timeout;
        /// How long a peer may accept no data while some is waiting for it. Without it, a client
        /// that stopped reading would keep its session, and the broker's queue, forever.
        write_timeout: Duration = "120s", check bounds::timeout;
        /// Largest packet of a client, fixed header included. 256MiB, which is what MQTT can say, sets
        /// no limit: clients get the broker's CONNACK byte for byte. A smaller one is told to MQTT 5
        /// clients (Maximum Packet Size). A large PUBLISH streams through and takes no memory.
        max_packet_size: usize as Setting<Size> = "256MiB", check bounds::packet_size;
        /// Largest CONNECT: client identifier, will, user name and password.
        max_connect_size: usize as Setting<Size> = "64KiB", check bounds::connect_size;
        /// Largest packet that must be in memory whole: SUBSCRIBE, UNSUBSCRIBE and other packets but
        /// PUBLISH, and a PUBLISH whose payload a layer reads.
        max_held_packet: usize as Setting<Size> = "1MiB", check bounds::packet_size;
        /// Client connections on this listener. 0 = only server.max_connections counts.
        max_connections: Option<NonZeroUsize> as Setting<Count> = 0;
        /// Client connections from one IP address. 0 = unlimited. Behind a load balancer all
        /// clients share its address; on a Unix socket they have none.
        max_connections_per_ip: Option<NonZeroUsize> as Setting<Count> = 0;
        /// New connections from one IP address in a time, such as "10/s". "0/s" = unlimited.
        connection_rate_per_ip: Option<Rate> = "0/s";
        /// Connections from one IP address that have sent no whole CONNECT yet. 0 = unlimited.
        max_pending_per_ip: Option<NonZeroUsize> as Setting<Count> = 0;
        /// How many bits of an IPv6 address belong to one client, for every limit per address. 1 to
        /// 128. A provider gives each customer a /64 at least.
        ipv6_prefix: u8 as Setting<Prefix> = 64;
        /// Connections that have sent no whole CONNECT yet. 0 = unlimited. When this limit,
        /// max_connections or server.max_connections is reached, the address with most of them loses its
        /// oldest, if that has waited for a second, and the new one is let in, unless its address has more.
        max_pending: Option<NonZeroUsize> as Setting<Count> = 0;
        /// New connections in a time, such as "100/s". "0/s" = unlimited.
        connection_rate: Option<Rate> = "0/s";
        /// A client that was silent for its keep-alive times this is gone. The standard says 1.5. The
        /// broker judges first: mproxy closes such a client 30 seconds later, or at once with
        /// max_keepalive or conformance = "strict".
        keepalive_grace: f64 as Setting<Number> = 1.5, check bounds::keepalive_grace;
        /// Longest keep-alive; "0s" = as the client asks. MQTT 5 clients are told (Server Keep
        /// Alive), others are closed after keepalive_grace times this silence.
        max_keepalive: u16 as Setting<KeepAlive> = "0s";
        /// Bytes of mproxy's own answers (refused packets) that may wait for a client that does not read
        /// them, before mproxy stops reading that client.
        max_replies: usize as Setting<Size> = "64KiB", check bounds::buffer_size;
        /// Most levels of a topic name or topic filter where layers look at topics. A client that names a
        /// deeper one is closed, and a deeper delivery dropped.
        max_topic_levels: NonZeroUsize = 128;
        /// Most topic filters of a SUBSCRIBE or UNSUBSCRIBE where layers look at them, which may have four
        /// times as many levels in all. A client that sends more is closed.
        max_filters: NonZeroUsize = 16384;
        /// Packets of one client that layers refuse, and WebSocket frames without content, in a time; then
        /// it is closed. "0/m" = unlimited.
        max_denials: Option<Rate> = "600/m";
    }
    reserved {
        "idle_buffer": "remove it; an idle connection keeps no buffer";
    }
    renamed {
        "max_buffered": "max_replies = \"{}\"",
            "it limits mproxy's own answers that wait for a client, not what is forwarded";
        "max_connections_per_ipv6_prefix": "ipv6_prefix = 64",
            "it is the prefix alone: `max_connections_per_ip` and all other limits per address count by it";
    }
}
