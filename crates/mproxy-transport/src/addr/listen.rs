//! Where to listen.

use std::{fmt, net::SocketAddr, path::Path, str::FromStr};

use super::{AddrError, Endpoint};

/// The address of a listener: `127.0.0.1:1884`, `[::]:1884`, `localhost:0`, `unix:/path`, or
/// `systemd:NAME` for a socket that the service manager [passes](crate::PassedSockets).
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
pub struct ListenAddr(pub(crate) Place);

/// Where a listening socket comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// It is opened here.
    Endpoint(Endpoint),
    /// It is passed under this name.
    Passed(Box<str>),
}

impl ListenAddr {
    /// The IP address and port; `None` for a host name and for everything that is not TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Place::Endpoint(Endpoint::Ip(addr)) => Some(*addr),
            Place::Endpoint(Endpoint::Name { .. } | Endpoint::Unix(_)) | Place::Passed(_) => None,
        }
    }

    /// The TCP port as written; `None` if there is none. Port 0 asks the system for a free one.
    pub fn port(&self) -> Option<u16> {
        self.endpoint().and_then(Endpoint::port)
    }

    /// The path of a Unix socket that is opened here.
    pub fn unix_path(&self) -> Option<&Path> {
        self.endpoint().and_then(Endpoint::unix_path)
    }

    /// The name of a socket that is passed.
    pub fn passed_name(&self) -> Option<&str> {
        match &self.0 {
            Place::Passed(name) => Some(name),
            Place::Endpoint(_) => None,
        }
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        match &self.0 {
            Place::Endpoint(endpoint) => Some(endpoint),
            Place::Passed(_) => None,
        }
    }
}

impl From<Endpoint> for ListenAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self(Place::Endpoint(endpoint))
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Endpoint::Ip(addr).into()
    }
}

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Endpoint::parse_unix(path).map(Self::from);
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return match is_passable(name) {
                true => Ok(Self(Place::Passed(name.into()))),
                false => Err(AddrError::InvalidPassedName(name.to_owned())),
            };
        }
        if text.contains("://") {
            return Err(AddrError::SchemeOnListener(text.to_owned()));
        }
        Endpoint::parse_host_port(text, None).map(Self::from)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Endpoint(endpoint) => endpoint.fmt(f),
            Place::Passed(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// What `FileDescriptorName=` may be, systemd.socket(5). The default is the name of the unit.
fn is_passable(name: &str) -> bool {
    (1..=MAX_PASSED_NAME).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_graphic() && it != b':')
}

const MAX_PASSED_NAME: usize = 255;

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
            "systemd:mqtt",
            "systemd:mproxy.socket",
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
            // the advice was 1884:1883
            ("1884", "0.0.0.0:1884"),
            ("65536", "not a host"),
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
            ("systemd:", "FileDescriptorName="),
            ("systemd:a:b", "FileDescriptorName="),
            ("systemd:a b", "FileDescriptorName="),
        ] {
            let error = text.parse::<ListenAddr>().unwrap_err().to_string();
            assert!(error.contains(remedy), "{text:?}: {error}");
        }
    }
}
