//! All attacks with their parameters.

use super::{Attack, Kind, Memory};

/// An access-control list that lets the good client do its work, and nobody anything else.
pub const ACL: &str = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
    [[layers.acl.rules]]\nname = \"good\"\nallow = [\"publish\"]\ntopics = [\"good\"]\n";

const ACCESS_LOG: &str =
    "[chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n";

/// All attacks, in the order of the table.
pub const ALL: &[Attack] = &[
    Attack {
        name: "none",
        what: "no attack",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::Nothing,
    },
    Attack {
        name: "half-connects",
        what: "4,000 sockets of one address, each all but one byte of a 64 KiB CONNECT; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfConnects {
            sockets: 4_000,
            size: 64 << 10,
        },
    },
    Attack {
        name: "half-connects-unlimited",
        what: "the same without a limit of memory: what stays afterwards",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::HalfConnects {
            sockets: 4_000,
            size: 64 << 10,
        },
    },
    Attack {
        name: "half-subscribes",
        what: "1,000 clients, each all but one byte of a 1 MiB SUBSCRIBE; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfSubscribes {
            clients: 1_000,
            size: 1 << 20,
        },
    },
    Attack {
        name: "over-own-limit",
        what: "200 connections held, and connects without a pause; 200 per address, 500/s",
        toml: "",
        keys: &[
            ("limits.max_connections_per_ip", "200"),
            ("limits.connection_rate", "500/s"),
        ],
        memory: Memory::Unlimited,
        kind: Kind::OverOwnLimit {
            held: 200,
            tasks: 32,
        },
    },
    Attack {
        name: "silence",
        what: "2 addresses with 200 silent connections each, again and again; 400 in all",
        toml: "",
        keys: &[
            ("limits.max_connections", "400"),
            ("limits.max_connections_per_ip", "200"),
        ],
        memory: Memory::Unlimited,
        kind: Kind::Silence {
            addresses: 2,
            each: 200,
        },
    },
    Attack {
        name: "empty-frames-1",
        what: "1 WebSocket, empty frames before CONNECT",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::EmptyFrames { clients: 1 },
    },
    Attack {
        name: "empty-frames-10",
        what: "10 WebSockets, empty frames before CONNECT",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::EmptyFrames { clients: 10 },
    },
    Attack {
        name: "denied-publishes-1",
        what: "1 client, PUBLISHes that an acl denies",
        toml: ACL,
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::DeniedPublishes { clients: 1 },
    },
    Attack {
        name: "denied-publishes-10",
        what: "10 clients, PUBLISHes that an acl denies",
        toml: ACL,
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::DeniedPublishes { clients: 10 },
    },
    Attack {
        name: "denied-publishes-unlimited",
        what: "1,000 clients, PUBLISHes that an acl denies, as many as they like",
        toml: ACL,
        keys: &[("limits.max_denials", "\"0/m\"")],
        memory: Memory::Unlimited,
        kind: Kind::DeniedPublishes { clients: 1_000 },
    },
    Attack {
        name: "denied-subscribes",
        what: "10 clients, SUBSCRIBEs with 65,000 slashes that an acl denies",
        toml: ACL,
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::DeniedSubscribes {
            clients: 10,
            slashes: 65_000,
        },
    },
    Attack {
        name: "deaf-pings",
        what: "10 WebSocket clients that ping and read nothing; write_timeout 2 s",
        toml: "",
        keys: &[("limits.write_timeout", "2s")],
        memory: Memory::Unlimited,
        kind: Kind::DeafPings { clients: 10 },
    },
    Attack {
        name: "idle-websockets",
        what: "5,000 WebSocket connections that send nothing",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::IdleWebSockets { sockets: 5_000 },
    },
    Attack {
        name: "one-prefix",
        what: "300 addresses of one IPv6 /64, 3 connections each; 5 per address",
        toml: "",
        keys: &[
            ("bind", "\"[::]:0\""),
            ("limits.max_connections_per_ip", "5"),
        ],
        memory: Memory::Unlimited,
        kind: Kind::OnePrefix {
            addresses: 300,
            each: 3,
        },
    },
    Attack {
        name: "resets",
        what: "connect, one byte, reset, without a pause; with an access-log",
        toml: ACCESS_LOG,
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::Resets { tasks: 64 },
    },
    Attack {
        name: "silence-pending",
        what: "as silence, with at most 50 of an address before CONNECT",
        toml: "",
        keys: &[
            ("limits.max_connections", "400"),
            ("limits.max_connections_per_ip", "200"),
            ("limits.max_pending_per_ip", "50"),
        ],
        memory: Memory::Unlimited,
        kind: Kind::Silence {
            addresses: 2,
            each: 200,
        },
    },
    Attack {
        name: "half-connects-ws",
        what: "as half-connects, over WebSocket; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfConnectsInFrames {
            sockets: 4_000,
            size: 64 << 10,
        },
    },
    Attack {
        name: "slow-readers",
        what: "200 clients subscribe to 16 KiB messages and read nothing; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::SlowReaders { clients: 200 },
    },
    Attack {
        name: "tls-half-handshakes",
        what: "4,000 sockets, each a ClientHello and nothing else; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfHandshakes { sockets: 4_000 },
    },
    Attack {
        name: "tls-half-hellos",
        what: "4,000 sockets, each 16,000 bytes of a ClientHello; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfHellos { sockets: 4_000 },
    },
    Attack {
        name: "tls-crumbs",
        what: "1,000 sockets, each a ClientHello in records of one byte",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::HelloCrumbs { sockets: 1_000 },
    },
    Attack {
        name: "tls-silence",
        what: "2,000 sockets, each silent after its handshake; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::SilentHandshakes { sockets: 2_000 },
    },
    Attack {
        name: "tls-half-records",
        what: "2,000 sockets, each 16,000 bytes of a record before CONNECT; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfRecords {
            sockets: 2_000,
            are_let_in: false,
        },
    },
    Attack {
        name: "tls-half-records-in",
        what: "2,000 clients, each 16,000 bytes of a record after CONNECT; 256 MiB",
        toml: "",
        keys: &[],
        memory: Memory::Container(256 << 20),
        kind: Kind::HalfRecords {
            sockets: 2_000,
            are_let_in: true,
        },
    },
    Attack {
        name: "tls-handshakes",
        what: "full handshakes without a pause, 16 at a time",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::Handshakes {
            tasks: 16,
            resumed: false,
        },
    },
    Attack {
        name: "tls-tickets",
        what: "resumed handshakes without a pause, 16 at a time",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::Handshakes {
            tasks: 16,
            resumed: true,
        },
    },
    Attack {
        name: "tls-aborts",
        what: "a ClientHello and a reset, without a pause, 16 at a time",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::AbortedHandshakes { tasks: 16 },
    },
    Attack {
        name: "tls-key-updates",
        what: "10 clients, each changes its keys without a pause",
        toml: "",
        keys: &[],
        memory: Memory::Unlimited,
        kind: Kind::KeyUpdates { clients: 10 },
    },
    Attack {
        name: "tls-long-chains",
        what: "handshakes with chains of 200 certificates, 16 at a time",
        toml: "",
        keys: &[("tls.client_auth", "\"optional\"")],
        memory: Memory::Unlimited,
        kind: Kind::LongChains {
            tasks: 16,
            certificates: 200,
        },
    },
];
