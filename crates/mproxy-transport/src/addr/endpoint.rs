//! `host:port` or a Unix socket path: what listeners and dialers have in common.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::AddrError;

/// Where bytes go, before any scheme is considered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// A literal address: no resolver is asked.
    Ip(SocketAddr),
    /// A name and a port, resolved at each use.
    Name { host: Box<str>, port: u16 },
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Parses `host:port`; `default_port` stands in for a missing one.
    pub(crate) fn parse_host_port(
        text: &str,
        default_port: Option<u16>,
    ) -> Result<Self, AddrError> {
        let missing_port = || AddrError::MissingPort(text.to_owned());
        if text.is_empty() {
            return Err(AddrError::Empty);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (inside, behind) = rest
                .split_once(']')
                .ok_or_else(|| AddrError::InvalidHost(text.to_owned()))?;
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(port),
                None if behind.is_empty() => None,
                None => return Err(AddrError::InvalidHost(text.to_owned())),
            };
            let ip = inside
                .parse::<Ipv6Addr>()
                .map_err(|_| AddrError::InvalidHost(inside.to_owned()))?;
            (Ok(IpAddr::V6(ip)), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(AddrError::UnbracketedIpv6(text.to_owned()));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if host.is_empty() {
                return Err(AddrError::MissingHost(text.to_owned()));
            }
            match host.parse::<Ipv4Addr>() {
                Ok(ip) => (Ok(IpAddr::V4(ip)), port),
                Err(_) => (Err(host), port),
            }
        };
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None => default_port.ok_or_else(|| match host {
                _ if parse_port(text).is_ok() => AddrError::OnlyPort(text.to_owned()),
                Err(name) if !is_host_name(name) => AddrError::InvalidHost(name.to_owned()),
                _ => missing_port(),
            })?,
        };
        match host {
            Ok(ip) => Ok(Self::Ip(SocketAddr::new(ip, port))),
            Err(name) if is_host_name(name) => Ok(Self::Name {
                host: name.into(),
                port,
            }),
            Err(name) => Err(AddrError::InvalidHost(name.to_owned())),
        }
    }

    /// Parses the text after `unix:`.
    pub(crate) fn parse_unix(path: &str) -> Result<Self, AddrError> {
        // unix:///run/x is how some tools write unix:/run/x.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.len() < 2 || path.contains('\0') {
            return Err(AddrError::InvalidUnixPath(path.to_owned()));
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }

    /// The name or IP address, the latter without brackets; `None` for a Unix socket.
    pub(crate) fn host(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Ip(addr) => Some(addr.ip().to_string().into()),
            Self::Name { host, .. } => Some(Cow::Borrowed(host)),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(addr) => Some(addr.port()),
            Self::Name { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn unix_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Ip(_) | Self::Name { .. } => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Digits only: `u16::from_str` alone would take "+1883".
fn parse_port(digits: &str) -> Result<u16, AddrError> {
    let invalid = || AddrError::InvalidPort(digits.to_owned());
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    digits.parse().map_err(|_| invalid())
}

/// Letters, digits, `-`, `_` and dots, with no empty label. A name whose last label is all digits
/// is a mistyped IPv4 address (`127.0.1` or `10.0.0.300`), which a resolver may still guess at.
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next().unwrap_or(host);
    (1..=MAX_HOST_NAME_LEN).contains(&host.len())
        && host.split('.').all(label_ok)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 1035 section 2.3.4, in text form.
const MAX_HOST_NAME_LEN: usize = 253;
