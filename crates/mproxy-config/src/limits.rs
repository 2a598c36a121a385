//! `[listeners.limits]`: limits on what clients may use.

use crate::choice::words;
use crate::scalar::{ByteRate, Count, KeepAlive, Number, Prefix, Size};
use crate::section::{Setting, section};
use crate::validate::bounds;
use mproxy_session::{Rate, SlowConsumer};
use std::num::NonZeroUsize;
use std::time::Duration;

section! {
    /// Limits on what clients may use.
    Limits, LimitsKeys in "[listeners.limits]", reload "for clients that connect from then on" {
        /// Maximum time from accept to the complete CONNECT. Modems are slow.
        connect_timeout: Duration = "30s", check bounds::timeout;
        /// Maximum time for the next 512 bytes of a packet, or for its end.
        ///
        /// Keep-alive cannot catch a peer that sends one byte a minute, because bytes keep arriving. This
        /// does. A device that loses its radio link within a packet can continue if it is back in this time.
        packet_timeout: Duration = "120s", check bounds::timeout;
        /// Maximum time that a client or broker may accept no data while some is waiting for it.
        ///
        /// Without it, a client that stopped reading would keep its session, and the broker's queue, forever.
        write_timeout: Duration = "120s", check bounds::timeout;
        /// What happens to a client that reads more slowly than the broker sends, after slow_consumer_time.
        ///
        /// wait: mproxy does not read the broker meanwhile, and the broker's queue for this client grows.
        /// drop-qos0: mproxy drops QoS 0 messages to this client while it is behind, and everything else
        /// arrives, in order. disconnect: mproxy closes the client; MQTT 5 clients receive DISCONNECT 0x97, and
        /// the broker publishes the will.
        slow_consumer: SlowConsumer = "wait";
        /// How long a client may accept less than the broker sends, before slow_consumer applies.
        ///
        /// The time begins when data has to wait for the client, and ends when none is left, in mproxy or on
        /// its way from the broker. write_timeout applies as well.
        slow_consumer_time: Duration = "30s", check bounds::timeout;
        /// Largest packet from a client, with its fixed header. "256MiB", the maximum of MQTT, = unlimited.
        ///
        /// CONNACK tells MQTT 5 clients a lower limit (Maximum Packet Size). Without a limit, CONNACK passes
        /// byte for byte. A large PUBLISH streams through and takes no memory.
        max_packet_size: usize as Setting<Size> = "256MiB", check bounds::packet_size;
        /// Largest CONNECT: client id, will, user name and password.
        max_connect_size: usize as Setting<Size> = "64KiB", check bounds::connect_size;
        /// Largest packet that mproxy must hold in memory as a whole.
        ///
        /// mproxy holds all packets except PUBLISH, and a PUBLISH only if a layer reads its payload.
        max_held_packet: usize as Setting<Size> = "1MiB", check bounds::packet_size;
        /// Maximum client connections on this listener. 0 = only server.max_connections counts.
        max_connections: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Maximum client connections from one IP address. 0 = unlimited.
        ///
        /// Behind a load balancer all clients share its address, unless it sends theirs (proxy_protocol,
        /// trust_forwarded_for): then leave this at 0. Clients of a Unix socket have no address.
        max_connections_per_ip: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Maximum rate of new connections from one IP address: "10/s", "600/m". "0/s" = unlimited.
        ///
        /// One period's worth may come at once. mproxy remembers 65,536 addresses per period; for further
        /// ones, only the keys below apply.
        connection_rate_per_ip: Option<Rate> = "0/s", reload "at once, for new connections";
        /// Maximum connections from one IP address without a complete CONNECT. 0 = unlimited.
        max_pending_per_ip: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Bits of an IPv6 address that count as one client, for all limits per address. 1 to 128.
        ///
        /// A provider gives each customer at least a /64. Link-local addresses (fe80::) share one /64: use 128
        /// to count each of them.
        ipv6_prefix: u8 as Setting<Prefix> = 64, reload "at once, for new connections";
        /// Maximum connections without a complete CONNECT. 0 = unlimited.
        ///
        /// When this limit, max_connections or server.max_connections is reached, mproxy looks for the address
        /// with the most such connections, closes its oldest one if that has waited for a second, and lets the
        /// new connection in, unless its own address has more. So silent connections do not keep clients out,
        /// and mproxy closes a slow modem only when there is no room and no address has more connections than
        /// the modem's. Clients of a Unix socket, which have no address, count as one.
        ///
        /// Set it well below max_connections: the rest is for clients.
        max_pending: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Maximum rate of new connections: "100/s", "600/m". "0/s" = unlimited.
        ///
        /// It is judged last: a connection that another limit refuses does not count.
        connection_rate: Option<Rate> = "0/s", reload "at once, for new connections";
        /// Maximum rate of TLS handshakes from one IP address: "5/s", "60/m". "0/s" = unlimited.
        ///
        /// A handshake is the most expensive thing that an unknown client can ask for. This key and the next three
        /// count it when its ClientHello is complete, before any cryptography: a silent connection is no
        /// handshake, a resumed session is one. mproxy closes a connection above a limit, without an alert.
        handshake_rate_per_ip: Option<Rate> = "0/s", reload "at once, for new connections";
        /// Maximum TLS handshakes of one IP address that compute or wait for the CPU at once. 0 = unlimited.
        ///
        /// One that waits for its client does not count: max_pending_per_ip is for those.
        max_handshakes_per_ip: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Maximum rate of TLS handshakes: "500/s". "0/s" = unlimited.
        ///
        /// All clients share it: set it above what your fleet needs when all of it comes back, and
        /// handshake_rate_per_ip against single addresses. Without it, handshakes do not delay the traffic of
        /// connected clients either: each thread does a few steps of handshakes between two looks at its
        /// connections.
        handshake_rate: Option<Rate> = "0/s", reload "at once, for new connections";
        /// Maximum TLS handshakes that compute or wait for the CPU at once. 0 = unlimited.
        ///
        /// Above it, clients are closed at once instead of waiting longer and longer. One that waits for its
        /// client does not count.
        max_handshakes: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Times its keep-alive, after which a client without a packet is gone. The standard says 1.5.
        ///
        /// The broker gets the first chance to close such a client: mproxy does so 30 seconds later, or at once
        /// with max_keepalive or conformance = "strict".
        keepalive_grace: f64 as Setting<Number> = 1.5, check bounds::keepalive_grace;
        /// Maximum keep-alive. "0s" = as the client asks.
        ///
        /// A longer keep-alive, or none, lets a silent client hold its connection that long. CONNACK tells MQTT
        /// 5 clients the limit (Server Keep Alive). mproxy closes any client that is silent for keepalive_grace
        /// times this limit.
        max_keepalive: u16 as Setting<KeepAlive> = "0s";
        /// Maximum bytes of mproxy's own answers that wait for a client before mproxy stops reading it.
        ///
        /// mproxy itself answers packets that a layer refuses. Forwarded packets need no such limit: while one
        /// side does not read, mproxy does not read the other.
        max_replies: usize as Setting<Size> = "64KiB", check bounds::buffer_size;
        /// Maximum levels of a topic or topic filter, on listeners whose layers look at topics.
        ///
        /// Judging a topic costs time per level. mproxy closes a client that uses a topic with more levels, and
        /// drops such a delivery.
        max_topic_levels: NonZeroUsize = 128;
        /// Maximum topic filters in a SUBSCRIBE or UNSUBSCRIBE, on listeners whose layers look at topics.
        ///
        /// Together they may have four times as many levels. mproxy closes a client that sends more.
        max_filters: NonZeroUsize = 16384;
        /// Maximum rate of refused packets of a client; above it, mproxy closes it. "0/m" = unlimited.
        ///
        /// WebSocket frames without content count, too. One period's worth may come at once.
        max_denials: Option<Rate> = "600/m";
        /// Maximum packet rate from each client: "100/s", "600/m". "0/s" = unlimited.
        ///
        /// Packets of all types count. One period's worth may come at once. Above the rate, mproxy reads the
        /// client more slowly: nothing is lost, and no timeout of mproxy runs meanwhile. The broker's
        /// keep-alive timer does run, so the rate must let a PINGREQ through in time.
        packet_rate_to_server: Option<Rate> = "0/s", reload "at once, for connected clients too";
        /// Maximum byte rate from each client: "64KiB/s". "0B/s" = unlimited.
        ///
        /// It works like packet_rate_to_server. A packet that is larger than one period's worth passes, and
        /// the next one waits accordingly longer.
        bytes_rate_to_server: Option<Rate> as Setting<ByteRate> = "0B/s",
            reload "at once, for connected clients too";
        /// Maximum packet rate from the broker to each client. "0/s" = unlimited.
        ///
        /// Above the rate, mproxy reads the broker more slowly; the broker's queue for this client grows.
        packet_rate_to_client: Option<Rate> = "0/s", reload "at once, for connected clients too";
        /// Maximum byte rate from the broker to each client: "64KiB/s". "0B/s" = unlimited.
        bytes_rate_to_client: Option<Rate> as Setting<ByteRate> = "0B/s",
            reload "at once, for connected clients too";
    }
    reserved {
        "idle_buffer": "remove it; an idle connection keeps no buffer";
    }
    renamed {
        "max_buffered": "max_replies = \"{}\"",
            "it limits mproxy's own answers that wait for a client, not what is forwarded";
        "max_connections_per_ipv6_prefix": "ipv6_prefix = 64",
            "it only sets the prefix: `max_connections_per_ip` and all other limits per address use it";
    }
}

words! {
    SlowConsumer { "wait": Wait, "drop-qos0": DropQos0, "disconnect": Disconnect, }
}
