//! `[server]`: the process.

use crate::choice::Choice;
use crate::context::Context;
use crate::environment::Environment;
use crate::scalar::{AutoSize, Count, Text};
use crate::section::{Setting, section};
use crate::validate::bounds;
use std::num::NonZeroUsize;
use std::time::Duration;

section! {
    /// What concerns the whole process.
    Server, ServerKeys in "[server]" {
        /// Name of this proxy in its logs.
        name: String as Setting<Text> = "${env:HOSTNAME:-mproxy}",
            restart "every log line carries it";
        /// Threads that carry traffic. 0 = one per CPU that the process may use; a CPU quota of
        /// its cgroup counts.
        worker_threads: Option<NonZeroUsize> as Setting<Count> = 0,
            restart "threads are started once";
        /// Client connections of all listeners together. 0 = derived from the limit of open
        /// files (RLIMIT_NOFILE). More are refused.
        max_connections: Option<NonZeroUsize> as Setting<Count> = 0;
        /// What peers may make mproxy hold, all of them together: packets that are not whole, what waits for
        /// a slow side, and 4KiB a connection. auto = 70 % of the memory limit of the container, or of the
        /// machine's memory.
        memory: Option<u64> as Setting<AutoSize> = "auto", check bounds::memory;
        /// Time between the signal to stop and the end of the process; clients are sent away
        /// during it.
        drain_timeout: Duration = "30s";
        /// Whether a planned stop fires the wills of the clients.
        drain_wills: DrainWills = "suppress";
        /// Whether a planned stop is told to the clients. none: their connections are closed, and they
        /// come back. disconnect: MQTT 5 clients get DISCONNECT 0x8B first, which some take as final.
        drain_notice: DrainNotice = "none";
        /// Raise the soft limit of open files to the hard limit at start.
        raise_fd_limit: bool = true;
    }
}

/// What a planned shutdown does to the wills of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainWills {
    /// mproxy sends DISCONNECT to the broker, which discards the will.
    Suppress,
    /// The broker sees the connection end, and publishes the will.
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

/// Checks `[server]`.
pub(crate) fn server(cx: &mut Context, keys: &ServerKeys, env: &Environment) -> Server {
    let mut server = Server::read(cx, keys);
    if keys.name.given.is_none() {
        let host = env.get("HOSTNAME").filter(|it| !it.trim().is_empty());
        server.name = host.unwrap_or("mproxy").to_owned();
    }
    server
}
