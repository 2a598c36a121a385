//! Where to listen.

use std::{fmt, net::SocketAddr, path::Path, str::FromStr};

use super::{AddrError, Endpoint};

/// The address of a listener: `127.0.0.1:1884`, `[::]:1884`, `localhost:0` or `unix:/path`.
///
/// ```
/// use mproxy_transport::ListenAddr;
///
/// let addr: ListenAddr = "[::]:1884".parse()?;
/// assert_eq!(addr.to_string(), "[::]:1884");
/// let error = ":1884".parse::<ListenAddr>().unwrap_err();
/// assert!(error.to_string().contains("write 0.0.0.0:1884"));
/// # Ok::<(), mproxy_transport::AddrError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenAddr(pub(crate) Endpoint);

impl ListenAddr {
    /// The TCP address, if it is written as a number; `None` for a name and for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Endpoint::Ip(addr) => Some(*addr),
            Endpoint::Name { .. } | Endpoint::Unix(_) => None,
        }
    }

    /// The TCP port as written; `None` for a Unix socket. Port 0 asks the system for a free one.
    pub fn port(&self) -> Option<u16> {
        self.0.port()
    }

    /// The path of a Unix socket; `None` for TCP.
    pub fn unix_path(&self) -> Option<&Path> {
        self.0.unix_path()
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(Endpoint::Ip(addr))
    }
}

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Endpoint::parse_unix(path).map(Self);
        }
        if text.contains("://") || text.starts_with("systemd:") {
            return Err(AddrError::SchemeOnListener(text.to_owned()));
        }
        Endpoint::parse_host_port(text, None).map(Self)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_prints_what_operators_write() {
        for text in [
            "127.0.0.1:1884",
            "0.0.0.0:0",
            "[::]:1884",
            "[::1]:0",
            "localhost:0",
            "mqtt_edge.example.com:1883",
            "unix:/run/mproxy/mqtt.sock",
        ] {
            let addr: ListenAddr = text.parse().unwrap();
            assert_eq!(addr.to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_remedy() {
        for (text, remedy) in [
            ("", "write host:port"),
            ("localhost", "write localhost:1883"),
            (":1884", "[::]:1884"),
            ("::1:1884", "in brackets"),
            ("[::1", "not a host"),
            ("[::1]1884", "not a host"),
            ("[host]:1", "not a host"),
            ("127.0.0.1:", "0 to 65535"),
            ("127.0.0.1:65536", "0 to 65535"),
            ("127.0.0.1:+1", "0 to 65535"),
            ("10.0.0.300:1", "not a host"),
            ("a b:1", "not a host"),
            ("-a:1", "not a host"),
            ("a..b:1", "not a host"),
            ("unix:relative", "absolute path"),
            ("unix:", "absolute path"),
            ("mqtt://127.0.0.1:1883", "without a scheme"),
            ("systemd:mqtt", "without a scheme"),
        ] {
            let error = text.parse::<ListenAddr>().unwrap_err().to_string();
            assert!(error.contains(remedy), "{text:?}: {error}");
        }
    }
}
