//! Socket options, in one place so that both sides of the proxy get the same.

use std::{io, net::IpAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Options of a connected TCP socket. They cost one system call each, so those left alone cost
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Send small packets at once instead of waiting to fill a segment (`TCP_NODELAY`).
    /// On by default: the proxy gathers what belongs together itself.
    pub nodelay: bool,
    /// Idle time before the kernel checks that the peer is still there (`SO_KEEPALIVE`);
    /// `None`, the default, is never.
    ///
    /// It finds peers that vanished without a FIN, and that MQTT's own keep alive does not find
    /// because they asked for none: after about twice this time, the connection is reset. It probes
    /// up to five times, evenly in the second half. While sent bytes wait for their
    /// acknowledgement the kernel repeats those instead, and gives up after
    /// `net.ipv4.tcp_retries2` attempts (about 15 minutes).
    ///
    /// It counts in whole seconds: less than 1 s is 1 s, more than 32,767 s (about 9 h) is that.
    pub keepalive: Option<Duration>,
}

impl TcpOptions {
    pub(crate) fn apply(&self, socket: SockRef<'_>) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&probing(idle))?;
        }
        Ok(())
    }

    /// The options of a socket to this peer. One on the same machine does not vanish without a FIN.
    pub(crate) fn towards(mut self, peer: IpAddr) -> Self {
        if peer.to_canonical().is_loopback() {
            self.keepalive = None;
        }
        self
    }

    /// Like `apply`, for a socket that has other options already.
    pub(crate) fn replace(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        match self.keepalive {
            Some(idle) => socket.set_tcp_keepalive(&probing(idle)),
            None => socket.set_keepalive(false),
        }
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

/// Up to five probes, whose time together is about the idle time. The system's own values, which
/// would hold otherwise, take another 11 minutes.
fn probing(idle: Duration) -> TcpKeepalive {
    // More than Linux takes (include/net/tcp.h, MAX_TCP_KEEPIDLE) would fail the whole socket.
    let idle = idle.as_secs().clamp(1, MAX_KEEPALIVE_SECS);
    let probes = idle.min(MAX_PROBES);
    let interval = (idle + probes / 2) / probes;
    TcpKeepalive::new()
        .with_time(Duration::from_secs(idle))
        .with_interval(Duration::from_secs(interval))
        .with_retries(u32::try_from(probes).unwrap_or(1))
}

const MAX_KEEPALIVE_SECS: u64 = 32_767;
/// Enough that a few lost packets do not end a connection.
const MAX_PROBES: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_on_the_same_machine_is_not_probed() {
        let options = TcpOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
        };
        for (peer, is_local) in [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            let towards = options.towards(peer.parse().unwrap());
            assert_eq!(towards.keepalive.is_none(), is_local, "{peer}");
            assert!(towards.nodelay);
        }
    }
}
