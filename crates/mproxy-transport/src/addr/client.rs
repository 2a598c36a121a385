//! The address of a client.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::AddrError;

/// The peer of an accepted connection: a TCP address, or a client of a Unix socket.
///
/// An IPv4 client of a dual-stack listener shows up as the IPv4 address it is, not as
/// `::ffff:192.0.2.1`, so that per-address limits and rules see one client once.
///
/// ```
/// use mproxy_transport::ClientAddr;
///
/// let addr: ClientAddr = "[::ffff:192.0.2.1]:5000".parse()?;
/// assert_eq!(addr.to_string(), "192.0.2.1:5000");
/// assert_eq!(ClientAddr::UNIX.ip(), None);
/// # Ok::<(), mproxy_transport::AddrError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(Option<SocketAddr>);

impl ClientAddr {
    /// A peer on a Unix socket, which has no address of its own.
    pub const UNIX: Self = Self(None);

    /// The TCP address; `None` for a Unix peer.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.0
    }

    /// The IP address; `None` for a Unix peer.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.map(|addr| addr.ip())
    }

    /// Whether the peer came in over a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.0.is_none()
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            // Only a mapped address is rebuilt: a scope id is worth keeping.
            ip if ip != addr.ip() => Self(Some(SocketAddr::new(ip, addr.port()))),
            _ => Self(Some(addr)),
        }
    }
}

impl FromStr for ClientAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if text == UNIX_TEXT {
            return Ok(Self::UNIX);
        }
        match text.parse::<SocketAddr>() {
            Ok(addr) => Ok(addr.into()),
            Err(_) => Err(AddrError::InvalidHost(text.to_owned())),
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str(UNIX_TEXT),
        }
    }
}

const UNIX_TEXT: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_round_trips() {
        for text in ["192.0.2.1:5000", "[2001:db8::1]:1", "unix:"] {
            let addr: ClientAddr = text.parse().unwrap();
            assert_eq!(addr.to_string(), text);
        }
        assert!("nobody".parse::<ClientAddr>().is_err());
    }

    #[test]
    fn unix_peer_has_no_ip() {
        assert!(ClientAddr::UNIX.is_unix());
        assert_eq!(ClientAddr::UNIX.socket_addr(), None);
    }
}
