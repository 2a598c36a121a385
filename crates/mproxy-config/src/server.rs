//! `[server]`: the process.

use crate::choice::words;
use crate::context::Context;
use crate::environment::Environment;
use crate::scalar::{AutoSize, Count, DurationOrNever, Text};
use crate::section::{Setting, section};
use crate::validate::bounds;
use std::num::NonZeroUsize;
use std::time::Duration;

section! {
    /// Settings of the whole process.
    Server, ServerKeys in "[server]", reload "at once" {
        /// Name of this proxy in its log.
        ///
        /// The default is the host name, so that the lines of several proxies can be told apart.
        name: String as Setting<Text> = "${env:HOSTNAME:-mproxy}",
            restart "every log line carries it";
        /// Threads that carry traffic. 0 = one per CPU that the process may use.
        ///
        /// A CPU quota of the cgroup counts: a container with 2 CPUs gets two threads on any host. If one CPU is
        /// enough for all clients, one thread takes a little less of it (4 % for messages that are acknowledged one
        /// by one).
        worker_threads: Option<NonZeroUsize> as Setting<Count> = 0, check bounds::threads,
            restart "threads are started once";
        /// Maximum client connections on all listeners together. 0 = as many as the open-file limit allows.
        ///
        /// mproxy refuses further connections. A client needs two open files (RLIMIT_NOFILE): one for its
        /// connection and one for the connection to the broker.
        max_connections: Option<NonZeroUsize> as Setting<Count> = 0,
            reload "at once, for new connections";
        /// Maximum memory that clients and brokers may occupy. "auto" = 70 % of the container or machine.
        ///
        /// This counts incomplete packets, data that waits for a slow side, and 4KiB per connection,
        /// 8KiB with TLS to the client or the broker, 12KiB with both. mproxy itself needs about 7MiB more. With
        /// "auto", mproxy follows changes of the container's limit.
        ///
        /// Above 80 % of this, mproxy closes the connections that occupy most: first those that have no
        /// session yet, then only as many as new clients need. Above 95 % it closes the largest of all,
        /// and accepts no new ones.
        memory: Option<u64> as Setting<AutoSize> = "auto", check bounds::memory;
        /// Delay of the worker threads above which mproxy accepts few new connections. "0s" = never.
        ///
        /// The delay is how long a packet waits for its turn; mproxy_worker_lag_seconds shows it. It must be above
        /// this for three seconds. Then mproxy accepts 50 new connections per second, and above four times
        /// this none, and closes those that have no session yet. Clients with a session stay.
        overload_lag: Option<Duration> as Setting<DurationOrNever> = "1s", check bounds::overload_lag;
        /// Percent of time waiting for CPU above which mproxy accepts few connections. 0 = never.
        ///
        /// It works like overload_lag; half-way from here to 100 is far above. The kernel measures it for the
        /// control group of mproxy (version 2, cpu.pressure), over ten seconds. A busy container has a high
        /// value without harm: look at its usual value first.
        overload_cpu_pressure: Option<NonZeroUsize> as Setting<Count> = 0, check bounds::percent;
        /// Percent of time waiting for memory above which mproxy accepts few connections. 0 = never.
        ///
        /// It works like overload_cpu_pressure, with memory.pressure: the kernel cannot find memory for the
        /// container fast enough, and may soon end a process.
        overload_memory_pressure: Option<NonZeroUsize> as Setting<Count> = 50, check bounds::percent;
        /// Time to keep accepting after the signal to stop, while /readyz fails already. "0s" = none.
        ///
        /// Load balancers, and the endpoints of Kubernetes, need seconds to learn that an address is not ready.
        /// Connections that they open meanwhile are served. drain_timeout begins after it.
        ready_delay: Duration = "0s";
        /// Maximum time from the end of ready_delay to the end of the process.
        ///
        /// mproxy closes all sessions within this time. The orchestrator must wait longer before it kills
        /// the process: `TimeoutStopSec` of systemd, `terminationGracePeriodSeconds` of Kubernetes.
        drain_timeout: Duration = "30s";
        /// Whether the broker publishes the wills of clients that a planned stop disconnects.
        ///
        /// suppress: mproxy sends DISCONNECT to the broker, which discards the will. publish: mproxy closes
        /// the connection to the broker, which publishes the will.
        drain_wills: DrainWills = "suppress";
        /// Whether a planned stop tells clients the reason: "none" or "disconnect".
        ///
        /// none: mproxy closes the connection, and clients reconnect. disconnect: MQTT 5 clients receive
        /// DISCONNECT 0x8B first. Some clients take that as final and do not reconnect.
        drain_notice: DrainNotice = "none";
        /// Raise the soft limit of open files to the hard limit at the start.
        raise_fd_limit: bool = true, reload "it matters at the start only";
    }
}

/// What a planned stop does to the clients' wills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainWills {
    /// mproxy sends DISCONNECT to the broker, which discards the will.
    Suppress,
    /// The broker sees the connection end, and publishes the will.
    Publish,
}

words! {
    DrainWills { "suppress": Suppress, "publish": Publish, }
}

/// Whether a planned stop tells clients the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainNotice {
    /// mproxy closes their connections.
    None,
    /// MQTT 5 clients get DISCONNECT 0x8B first.
    Disconnect,
}

words! {
    DrainNotice { "none": None, "disconnect": Disconnect, }
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
