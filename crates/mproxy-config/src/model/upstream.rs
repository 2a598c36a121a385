//! Where a broker is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

/// Where a broker is, and how MQTT is carried there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `mqtt://host:port`.
    Tcp {
        /// A name or an IP address; IPv6 without brackets.
        host: String,
        /// The port; 1883 when it was not given.
        port: u16,
    },
    /// `ws://host:port/path`.
    Ws {
        /// A name or an IP address; IPv6 without brackets.
        host: String,
        /// The port; 80 when it was not given.
        port: u16,
        /// Path and query; `/mqtt` when it was not given.
        path: String,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "mqtt://{}:{port}", Bracketed(host)),
            Self::Ws { host, port, path } => write!(f, "ws://{}:{port}{path}", Bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Ipv6Addr>().map(IpAddr::from) {
            Ok(address) => write!(f, "[{address}]"),
            Err(_) => f.write_str(self.0),
        }
    }
}
