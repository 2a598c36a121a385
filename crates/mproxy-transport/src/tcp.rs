//! Socket options, in one place so that both sides of the proxy get the same.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Options of a connected TCP socket. They cost one system call each, so those left alone cost
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Send small packets at once instead of waiting to fill a segment (`TCP_NODELAY`).
    /// On by default: the proxy gathers what belongs together itself.
    pub nodelay: bool,
    /// Idle time after which the kernel begins to probe the peer; `None`, the default, leaves
    /// probing off, because MQTT's own keep alive already finds dead clients.
    pub keepalive: Option<Duration>,
}

impl TcpOptions {
    /// Sets `TCP_NODELAY`.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sets the idle time before keepalive probes.
    #[must_use]
    pub fn keepalive(mut self, idle: Option<Duration>) -> Self {
        self.keepalive = idle;
        self
    }

    pub(crate) fn apply(&self, socket: SockRef<'_>) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            // The kernel counts in whole seconds and refuses zero.
            let idle = idle.max(Duration::from_secs(1));
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
        }
        Ok(())
    }
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: None,
        }
    }
}
