//! `[server]`, `[admin]`, `[log]`.

use super::bounds;
use crate::context::Context;
use crate::environment::Environment;
use crate::file::{AdminFile, LogFile, ServerFile};
use crate::model::{Admin, DrainNotice, DrainWills, Log, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The port of health and metrics.
const ADMIN_PORT: u16 = 9883;

/// Checks `[server]`.
pub(super) fn server(cx: &mut Context, file: &ServerFile, env: &Environment) -> Server {
    let host = env.get("HOSTNAME").filter(|it| !it.trim().is_empty());
    Server {
        name: cx.value(&file.name, host.unwrap_or("mproxy").to_owned()),
        worker_threads: cx.value(&file.worker_threads, None),
        max_connections: cx.value(&file.max_connections, None),
        memory: cx.checked(&file.memory, None, bounds::memory),
        drain_timeout: cx.value(&file.drain_timeout, Duration::from_secs(30)),
        drain_wills: cx.value(&file.drain_wills, DrainWills::Suppress),
        drain_notice: cx.value(&file.drain_notice, DrainNotice::None),
        raise_fd_limit: cx.value(&file.raise_fd_limit, true),
    }
}

/// Checks `[admin]`.
pub(super) fn admin(cx: &mut Context, file: &AdminFile) -> Admin {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let bind = match file.bind.given {
        // A wrong address is none, so that nothing is said about the default in its place.
        Some(_) => cx.given(&file.bind).flatten(),
        None => Some(loopback),
    };
    Admin { bind }
}

/// Checks `[log]`.
pub(super) fn log(cx: &mut Context, file: &LogFile) -> Log {
    let default = Log::default();
    Log {
        level: cx.value(&file.level, default.level),
        format: cx.value(&file.format, default.format),
        max_rate: cx.value(&file.max_rate, default.max_rate),
    }
}
