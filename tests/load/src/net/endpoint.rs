//! Where to listen or to connect.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{During, Error};

/// A TCP address or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// `127.0.0.1:1883`
    Tcp(SocketAddr),
    /// `unix:/run/broker.sock`
    Unix(PathBuf),
}

impl Endpoint {
    /// A TCP port of the loopback interface.
    pub fn loopback(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix("unix:") {
            Some("") => Err(Error::Address(text.to_owned())),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| Error::Address(text.to_owned())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A loopback port that was free a moment ago.
///
/// For programs that take a port number but cannot be told to choose one. Somebody else may take
/// the port in between, so the caller must be ready to try again.
///
/// # Errors
/// [`Error::Io`] when no port can be bound at all.
pub fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|addr| addr.port())
        .during("find a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_survive_a_round_trip() {
        for text in ["127.0.0.1:1883", "[::1]:1883", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost", "1883"] {
            assert!(
                matches!(text.parse::<Endpoint>(), Err(Error::Address(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_free_port_has_a_number() {
        assert!(free_port().unwrap() > 0);
    }
}
