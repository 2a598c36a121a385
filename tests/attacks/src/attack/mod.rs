//! The attacks: what each needs of a configuration, and how it is run.

mod floods;
mod frames;
mod halves;
mod refused;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

/// One attack with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// The name on the command line.
    pub name: &'static str,
    /// What the attackers do.
    pub what: &'static str,
    /// Tables of the configuration.
    pub toml: &'static str,
    /// Keys of every listener, with their values.
    pub keys: &'static [(&'static str, &'static str)],
    /// The memory that the system gives to mproxy.
    pub memory: Memory,
    /// What is done.
    pub kind: Kind,
}

/// What the system does when mproxy takes too much memory.
#[derive(Debug, Clone, Copy)]
pub enum Memory {
    /// Nothing.
    Unlimited,
    /// It kills mproxy beyond so many bytes, as that of a container does.
    Container(u64),
    /// It refuses an allocation beyond so many bytes, which ends mproxy; no privilege is needed.
    Data(u64),
}

/// What the attackers do, and how many they are.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the fields are what the variants say
pub enum Kind {
    /// Nothing: what the good client gets without an attack.
    Nothing,
    /// Each sends all but the last byte of a CONNECT of `size` bytes.
    HalfConnects { sockets: usize, size: usize },
    /// Each is let in, and sends all but the last byte of a SUBSCRIBE of about `size` bytes.
    HalfSubscribes { clients: usize, size: usize },
    /// Holds `held` connections of one address and asks for more without a pause.
    OverOwnLimit { held: usize, tasks: usize },
    /// Silent connections from each of some addresses, made again when they are closed.
    Silence { addresses: u8, each: usize },
    /// WebSockets that send frames without payload before CONNECT.
    EmptyFrames { clients: usize },
    /// Clients that publish what they may not.
    DeniedPublishes { clients: usize },
    /// Clients that subscribe to what they may not, with this many slashes in the filter.
    DeniedSubscribes { clients: usize, slashes: usize },
    /// WebSocket clients that ping and read nothing.
    DeafPings { clients: usize },
    /// WebSocket connections that send nothing.
    IdleWebSockets { sockets: usize },
    /// Connections from this many addresses of one IPv6 /64, so many of each.
    OnePrefix { addresses: u16, each: usize },
    /// Connects, begins a CONNECT and resets, without a pause.
    Resets { tasks: usize },
}

/// Where the attackers go.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Plain MQTT.
    pub mqtt: SocketAddr,
    /// MQTT over WebSocket.
    pub ws: SocketAddr,
}

/// What the attackers came to.
#[derive(Debug, Default)]
pub struct Tally {
    opened: AtomicUsize,
    cut: AtomicUsize,
}

impl Tally {
    /// Connections that were opened, or sessions that were let in.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections that mproxy closed, or did not let in.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }

    pub(crate) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }
}

impl Kind {
    /// Attacks for as long as it is polled.
    pub async fn run(self, target: Target, tally: &Tally) {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::HalfConnects { sockets, size } => {
                halves::connects(target, tally, sockets, size).await;
            }
            Self::HalfSubscribes { clients, size } => {
                halves::subscribes(target, tally, clients, size).await;
            }
            Self::OverOwnLimit { held, tasks } => {
                floods::over_own_limit(target, tally, held, tasks).await;
            }
            Self::Silence { addresses, each } => {
                floods::silence(target, tally, addresses, each).await;
            }
            Self::EmptyFrames { clients } => frames::empty(target, tally, clients).await,
            Self::DeniedPublishes { clients } => refused::publishes(target, tally, clients).await,
            Self::DeniedSubscribes { clients, slashes } => {
                refused::subscribes(target, tally, clients, slashes).await;
            }
            Self::DeafPings { clients } => frames::deaf_pings(target, tally, clients).await,
            Self::IdleWebSockets { sockets } => floods::idle(target, tally, sockets).await,
            Self::OnePrefix { addresses, each } => {
                floods::one_prefix(target, tally, addresses, each).await;
            }
            Self::Resets { tasks } => floods::resets(target, tally, tasks).await,
        }
    }
}

/// Runs `count` futures side by side, each made with its number, until all have ended.
pub(crate) async fn side_by_side<F>(count: usize, make: impl FnMut(usize) -> F)
where
    F: Future<Output = ()>,
{
    join_all((0..count).map(make)).await;
}

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
];
