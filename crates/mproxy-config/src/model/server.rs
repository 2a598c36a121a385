//! `[server]`, `[admin]` and `[log]`.

use super::{Choice, Rate};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// What concerns the whole process.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The name of this proxy in logs.
    pub name: String,
    /// Number of threads that carry traffic; `None` = one per CPU that this process may use.
    pub worker_threads: Option<NonZeroUsize>,
    /// Client connections of all listeners together; `None` = derived from `RLIMIT_NOFILE`.
    pub max_connections: Option<NonZeroUsize>,
    /// Bytes that peers may make this process hold; `None` = a part of what the machine has.
    pub memory: Option<u64>,
    /// How long a shutdown may take, from the first signal to the last closed session.
    pub drain_timeout: Duration,
    /// What a planned shutdown does to the wills of the clients.
    pub drain_wills: DrainWills,
    /// Whether a planned shutdown is told to the clients.
    pub drain_notice: DrainNotice,
    /// Whether the soft limit of open files is raised to the hard limit at start.
    pub raise_fd_limit: bool,
}

/// What a planned shutdown does to the wills of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainWills {
    /// The broker is told DISCONNECT, so it forgets the will.
    Suppress,
    /// The broker sees the connection end, so it publishes the will.
    Publish,
}

impl Choice for DrainWills {
    const ALL: &'static [(&'static str, Self)] =
        &[("suppress", Self::Suppress), ("publish", Self::Publish)];
}

/// Whether a planned shutdown is told to the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainNotice {
    /// Their connections are closed.
    None,
    /// Those of MQTT 5 get DISCONNECT 0x8B first.
    Disconnect,
}

impl Choice for DrainNotice {
    const ALL: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("disconnect", Self::Disconnect)];
}

/// Health, metrics and version over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None` = off.
    pub bind: Option<SocketAddr>,
}

/// The log of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives in the syntax of `RUST_LOG`.
    pub level: String,
    /// The shape of a line.
    pub format: LogFormat,
    /// The most lines of one kind at level `info` and below; `None` = no limit.
    pub max_rate: Option<Rate>,
}

/// Lines of one kind a second: more than an operator reads, less than fills a disk overnight.
const LOG_RATE: u32 = 100;

impl Default for Log {
    fn default() -> Self {
        let period = Duration::from_secs(1);
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            max_rate: NonZeroU32::new(LOG_RATE).map(|count| Rate { count, period }),
        }
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise.
    Auto,
    /// For people, on standard error.
    Text,
    /// For machines, on standard output.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
    ];
    const LATER: &'static [&'static str] = &["logfmt"];
}
