//! Where the broker is.

use std::{borrow::Cow, fmt, path::Path, str::FromStr};

use super::{AddrError, Endpoint};

/// The address of a broker: `mqtt://host[:1883]`, `mqtts://host[:8883]`, `ws://host[:80]/path`,
/// `wss://host[:443]/path` or `unix:/path`.
///
/// A `ws://` or `wss://` address without a path means `/mqtt`, the path brokers serve by default.
///
/// ```
/// use mproxy_transport::UpstreamAddr;
///
/// let addr: UpstreamAddr = "mqtt://broker.example.com".parse()?;
/// assert_eq!(addr.to_string(), "mqtt://broker.example.com:1883");
/// assert!("wss://broker".parse::<UpstreamAddr>()?.is_tls());
/// # Ok::<(), mproxy_transport::AddrError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamAddr {
    pub(crate) endpoint: Endpoint,
    pub(crate) carrier: Carrier,
    pub(crate) is_tls: bool,
}

/// What carries MQTT to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Carrier {
    /// MQTT directly on the socket.
    Plain,
    /// MQTT in WebSocket frames, after a request for this path (and query).
    WebSocket { path: Box<str> },
}

impl UpstreamAddr {
    /// The name or IP address of the host, the latter without brackets; `None` for a Unix socket.
    pub fn host(&self) -> Option<Cow<'_, str>> {
        self.endpoint.host()
    }

    /// The TCP port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.endpoint.port()
    }

    /// The path of a Unix socket; `None` for TCP.
    pub fn unix_path(&self) -> Option<&Path> {
        self.endpoint.unix_path()
    }

    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether MQTT travels in WebSocket frames.
    pub fn is_websocket(&self) -> bool {
        matches!(self.carrier, Carrier::WebSocket { .. })
    }
}

impl FromStr for UpstreamAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if text.is_empty() {
            return Err(AddrError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self {
                endpoint: Endpoint::parse_unix(path)?,
                carrier: Carrier::Plain,
                is_tls: false,
            });
        }
        // A text with credentials in it is not echoed.
        let unknown_scheme = || match text.contains('@') {
            true => AddrError::Credentials,
            false => AddrError::UnknownScheme(text.to_owned()),
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown_scheme)?;
        let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(authority_len);
        if authority.contains('@') {
            return Err(AddrError::Credentials);
        }
        let (is_websocket, is_tls, default_port) = match scheme {
            "mqtt" => (false, false, MQTT_PORT),
            "mqtts" => (false, true, MQTTS_PORT),
            "ws" => (true, false, HTTP_PORT),
            "wss" => (true, true, HTTPS_PORT),
            _ => return Err(unknown_scheme()),
        };
        let carrier = match is_websocket {
            true => Carrier::WebSocket {
                path: request_path(behind)?,
            },
            false if behind.is_empty() || behind == "/" => Carrier::Plain,
            false => return Err(AddrError::TrailingPart(text.to_owned(), behind.to_owned())),
        };
        let endpoint = Endpoint::parse_host_port(authority, Some(default_port))?;
        if endpoint.port() == Some(0) {
            return Err(AddrError::ZeroPort);
        }
        Ok(Self {
            endpoint,
            carrier,
            is_tls,
        })
    }
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = if self.is_tls { "s" } else { "" };
        match (&self.carrier, &self.endpoint) {
            (Carrier::Plain, Endpoint::Unix(_)) => self.endpoint.fmt(f),
            (Carrier::Plain, _) => write!(f, "mqtt{secure}://{}", self.endpoint),
            (Carrier::WebSocket { path }, _) => write!(f, "ws{secure}://{}{path}", self.endpoint),
        }
    }
}

/// The request target of a WebSocket address: it goes into a request line as it is.
fn request_path(behind: &str) -> Result<Box<str>, AddrError> {
    let invalid = || AddrError::InvalidPath(behind.to_owned());
    if !behind.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(invalid());
    }
    Ok(match behind {
        "" => DEFAULT_PATH.into(),
        _ if behind.starts_with('/') => behind.into(),
        query => format!("{DEFAULT_PATH}{query}").into(),
    })
}

const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
const DEFAULT_PATH: &str = "/mqtt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_canonical_form() {
        for (text, canonical) in [
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
            ("mqtt://[::1]/", "mqtt://[::1]:1883"),
            ("mqtt://broker:1884", "mqtt://broker:1884"),
            ("mqtts://broker", "mqtts://broker:8883"),
            ("mqtts://[::1]:8884/", "mqtts://[::1]:8884"),
            ("wss://broker", "wss://broker:443/mqtt"),
            ("wss://broker:8084/a?b", "wss://broker:8084/a?b"),
            ("ws://broker", "ws://broker:80/mqtt"),
            ("ws://broker:8083/", "ws://broker:8083/"),
            ("ws://broker:8083/a/b?x=1", "ws://broker:8083/a/b?x=1"),
            ("ws://broker?token=1", "ws://broker:80/mqtt?token=1"),
            ("unix:/run/broker.sock", "unix:/run/broker.sock"),
            ("unix:///run/broker.sock", "unix:/run/broker.sock"),
        ] {
            let addr: UpstreamAddr = text.parse().unwrap();
            assert_eq!(addr.to_string(), canonical);
            assert_eq!(canonical.parse::<UpstreamAddr>().unwrap(), addr);
        }
    }

    #[test]
    fn errors_name_the_remedy() {
        for (text, remedy) in [
            ("", "write host:port"),
            ("127.0.0.1:1883", "write mqtt://host:1883"),
            ("http://broker", "write mqtt://host:1883"),
            ("mqtts://broker/topic", "remove \"/topic\""),
            ("mqtt://", "write host:port"),
            ("mqtt://user:pw@broker", "remove everything up to the @"),
            ("mqtt://broker/topic", "remove \"/topic\""),
            ("mqtt://broker:0", "port 0 cannot be dialled"),
            ("ws://broker/a b", "without spaces"),
            ("ws://broker/a#b", "no #fragment"),
            ("unix:x", "absolute path"),
        ] {
            let error = text.parse::<UpstreamAddr>().unwrap_err().to_string();
            assert!(error.contains(remedy), "{text:?}: {error}");
        }
    }

    #[test]
    fn credentials_are_not_echoed() {
        for text in [
            "mqtt://user:secret@broker",
            "user:secret@broker",
            "x://user:secret@broker",
        ] {
            let error = text.parse::<UpstreamAddr>().unwrap_err();
            assert_eq!(error, AddrError::Credentials);
        }
    }
}
