//! `[server]`, `[admin]`, `[log]`.

use super::Setting;
use crate::model::{DrainNotice, DrainWills, LogFormat, Rate};
use crate::scalar::{AdminBind, AutoSize, Count, LogLevel, Text};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// What concerns the whole process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct ServerFile {
    /// Name of this proxy in its logs.
    #[schemars(extend("default" = "${env:HOSTNAME:-mproxy}"))]
    pub name: Setting<Text>,
    /// Threads that carry traffic. 0 = one per CPU that the process may use; a CPU quota of
    /// its cgroup counts.
    #[schemars(extend("default" = 0))]
    pub worker_threads: Setting<Count>,
    /// Client connections of all listeners together. 0 = derived from the limit of open
    /// files (RLIMIT_NOFILE). More are refused.
    #[schemars(extend("default" = 0))]
    pub max_connections: Setting<Count>,
    /// What peers may make mproxy hold, all of them together: packets that are not whole, what waits for
    /// a slow side, and 4KiB a connection. auto = 70 % of the memory limit of the container, or of the
    /// machine's memory.
    #[schemars(extend("default" = "auto"))]
    pub memory: Setting<AutoSize>,
    /// Time between the signal to stop and the end of the process; clients are sent away
    /// during it.
    #[schemars(extend("default" = "30s"))]
    pub drain_timeout: Setting<Duration>,
    /// Whether a planned stop fires the wills of the clients.
    #[schemars(extend("default" = "suppress"))]
    pub drain_wills: Setting<DrainWills>,
    /// Whether a planned stop is told to the clients. none: their connections are closed, and they
    /// come back. disconnect: MQTT 5 clients get DISCONNECT 0x8B first, which some take as final.
    #[schemars(extend("default" = "none"))]
    pub drain_notice: Setting<DrainNotice>,
    /// Raise the soft limit of open files to the hard limit at start.
    #[schemars(extend("default" = true))]
    pub raise_fd_limit: Setting<bool>,
}

/// Health, metrics and version over HTTP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct AdminFile {
    /// Address of the admin port; empty = off. In a pod: 0.0.0.0:9883.
    #[schemars(extend("default" = "127.0.0.1:9883"))]
    pub bind: Setting<AdminBind>,
}

/// The log of the process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct LogFile {
    /// A level (off, error, warn, info, debug, trace) or directives such as
    /// "info,mproxy::session=debug".
    #[schemars(extend("default" = "info"))]
    pub level: Setting<LogLevel>,
    /// Shape of a line. auto = text when standard error is a terminal, json otherwise. Text
    /// goes to standard error, JSON to standard output.
    #[schemars(extend("default" = "auto"))]
    pub format: Setting<LogFormat>,
    /// Most lines of one kind at level info and below, after ten seconds' worth at once; the next line
    /// says how many were left out. "0/s" = no limit. Of those at warn and error there are ten a second.
    #[schemars(extend("default" = "100/s"))]
    pub max_rate: Setting<Option<Rate>>,
}
