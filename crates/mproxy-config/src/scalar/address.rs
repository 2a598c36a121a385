//! Addresses to listen on, addresses of brokers.

use super::raw::Raw;
use super::{Problem, Scalar, string};
use mproxy_layers::acl::{Network, NetworkError};
use mproxy_transport::{AddrError, HttpUrl, ListenAddr, UpstreamAddr};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use toml_edit::Value;

/// The longest path of a Unix socket: the kernel's field has 108 bytes with the zero at its end.
const UNIX_PATH_MAX: usize = 107;

/// What comes after `systemd:`.
const PASSED_NAME: &str = "expected the FileDescriptorName= of a .socket unit after systemd:";

/// An address to listen on, or nothing.
#[derive(Debug)]
pub(crate) struct AdminBind;

/// The URL of an OCSP responder, or nothing.
#[derive(Debug)]
pub(crate) struct ResponderUrl;

/// Where a listener listens: an IP address, a Unix socket, or a socket that systemd passes. Not a name,
/// although the transport accepts names: its address may change.
impl Scalar for ListenAddr {
    type Value = Self;
    written!(
        "an address such as \"0.0.0.0:1884\", \"[::]:1884\", \"unix:/path\" or \"systemd:name\"",
        { "type": "string", "examples": ["0.0.0.0:1884", "[::]:1884", "unix:/run/mproxy/mqtt.sock", "systemd:mqtt"] },
        to_string
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let text = string::<Self>(raw)?;
        if let Some(path) = text.strip_prefix("unix:") {
            unix_path(text, path)?;
        }
        let address = text.parse::<Self>();
        if let (true, Err(error)) = (text.starts_with("systemd:"), &address) {
            let problem = Problem::new(format!("invalid address `{text}`"), PASSED_NAME);
            return Err(problem.note(error.to_string()));
        }
        // not a host name
        let is_known = |it: &Self| {
            it.socket_addr().is_some() || it.unix_path().is_some() || it.passed_name().is_some()
        };
        let address = address.ok().filter(is_known);
        address.ok_or_else(|| invalid_bind(text, &Self::expected()))
    }
}

impl Scalar for SocketAddr {
    type Value = Self;
    written!(
        "an address such as \"0.0.0.0:1884\" or \"[::]:1884\"",
        { "type": "string", "examples": ["0.0.0.0:1884", "[::]:1884"] },
        to_string
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let text = string::<Self>(raw)?;
        text.parse()
            .map_err(|_| invalid_bind(text, &Self::expected()))
    }
}

impl Scalar for Network {
    type Value = Self;
    written!(
        "a network such as \"10.0.0.0/8\" or an address such as \"192.0.2.7\"",
        { "type": "string", "examples": ["10.0.0.0/8", "fd00::/8", "192.0.2.7"] },
        to_string
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let text = string::<Self>(raw)?;
        text.parse().map_err(|error| match error {
            NetworkError::HostBits { network, .. } => Problem::new(
                format!("network `{text}` has bits set after its prefix"),
                format!("did you mean `{network}`?"),
            ),
            _ => Problem::expected::<Self>(format!("invalid network `{text}`")),
        })
    }
}

impl Scalar for AdminBind {
    type Value = Option<SocketAddr>;
    written!(
        "an address such as \"127.0.0.1:9883\", or \"\" for off",
        { "type": "string", "examples": ["127.0.0.1:9883", "0.0.0.0:9883", ""] }
    );

    fn read(raw: &Raw, loose: bool) -> Result<Self::Value, Problem> {
        match string::<Self>(raw)? {
            "" => Ok(None),
            _ => SocketAddr::read(raw, loose).map(Some),
        }
    }

    fn show(value: &Self::Value) -> Value {
        value.map_or_else(String::new, |it| it.to_string()).into()
    }
}

impl Scalar for UpstreamAddr {
    type Value = Self;
    written!(
        "a URL such as \"mqtt://127.0.0.1:1883\", \"ws://host:80/mqtt\" or \"unix:/path\"",
        { "type": "string", "examples": ["mqtt://127.0.0.1:1883", "ws://broker:80/mqtt", "unix:/run/broker.sock"] },
        to_string
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let text = string::<Self>(raw)?;
        if let Some(path) = text.strip_prefix("unix:") {
            unix_path(text, path)?;
        }
        text.parse().map_err(|error| invalid_upstream(text, &error))
    }
}

impl Scalar for ResponderUrl {
    type Value = Option<HttpUrl>;
    written!(
        "a URL such as \"http://ocsp.example.com\", or \"\" for none",
        { "type": "string", "pattern": "^(https?://[^/?#@]+.*)?$", "examples": ["http://ocsp.example.com", ""] }
    );

    fn read(raw: &Raw, _: bool) -> Result<Self::Value, Problem> {
        let text = string::<Self>(raw)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| match error {
            AddrError::Credentials => Problem::new("a URL with a user name in it", "leave it out")
                .note("a responder answers anybody, and signs what it says"),
            _ => Problem::expected::<Self>(format!("invalid URL `{text}`")),
        })
    }

    fn show(value: &Self::Value) -> Value {
        value
            .as_ref()
            .map_or_else(String::new, HttpUrl::reveal)
            .into()
    }
}

/// The URL of a file.
impl Scalar for HttpUrl {
    type Value = Self;
    written!(
        "a URL such as \"http://pki.example.com/ca.crl\"",
        { "type": "string", "pattern": "^https?://[^/?#@]+", "examples": ["http://pki.example.com/ca.crl"] },
        reveal
    );

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let text = string::<Self>(raw)?;
        text.parse().map_err(|error| match error {
            AddrError::Credentials => Problem::new("a URL with a user name in it", "leave it out")
                .note("a revocation list is public: anybody may see it, and it is signed"),
            _ => Problem::expected::<Self>(format!("invalid URL `{text}`")),
        })
    }
}

/// Describes what is wrong with the address of a broker, and what was probably meant.
fn invalid_upstream(text: &str, error: &AddrError) -> Problem {
    let label = match error {
        AddrError::Credentials => {
            let message = "an address with a user name in it";
            return Problem::new(message, "leave it out")
                .note("clients log in to the broker with their own name and password");
        }
        AddrError::UnknownScheme(_) => match text.split_once("://") {
            None => format!("did you mean `mqtt://{text}`?"),
            Some(("tcp", rest)) => format!("did you mean `mqtt://{rest}`?"),
            Some(("http", rest)) => format!("did you mean `ws://{rest}`?"),
            Some(_) => format!("expected {}", UpstreamAddr::expected()),
        },
        AddrError::TrailingPart(..) => match text.starts_with("mqtts") {
            true => "mqtts:// has no path; did you mean `wss://`?".to_owned(),
            false => "mqtt:// has no path; did you mean `ws://`?".to_owned(),
        },
        AddrError::InvalidPath(_) => "the path is not percent-encoded".to_owned(),
        AddrError::Empty | AddrError::MissingHost(_) => "the host is missing".to_owned(),
        AddrError::InvalidPort(_) | AddrError::ZeroPort => "expected a port, 1 to 65535".to_owned(),
        AddrError::UnbracketedIpv6(_) => {
            "write IPv6 addresses in brackets: `[::1]:1883`".to_owned()
        }
        AddrError::InvalidHost(host) => match (host.starts_with('['), host.contains(']')) {
            (true, false) => "a bracket is not closed".to_owned(),
            (true, true) => "expected a colon and a port after the bracket".to_owned(),
            _ if text.contains("://[") => "not an IPv6 address".to_owned(),
            _ => "not a host name".to_owned(),
        },
        _ => format!("expected {}", UpstreamAddr::expected()),
    };
    Problem::new(format!("invalid address `{text}`"), label)
}

/// Checks the path of a Unix socket; `text` is the whole value.
fn unix_path(text: &str, path: &str) -> Result<(), Problem> {
    // Some tools write unix:///run/x.
    let path = path.strip_prefix("//").unwrap_or(path);
    let label = if !path.starts_with('/') {
        "the path of a socket starts with a slash".to_owned()
    } else if path.ends_with('/') || path.contains(char::is_control) {
        "not the path of a file".to_owned()
    } else if path.len() > UNIX_PATH_MAX {
        format!("the path of a socket has at most {UNIX_PATH_MAX} bytes")
    } else {
        return Ok(());
    };
    Err(Problem::new(format!("invalid address `{text}`"), label))
}

/// Describes what was probably meant by an invalid listen address.
fn invalid_bind(text: &str, expected: &str) -> Problem {
    if text.starts_with("unix:") || text.starts_with("systemd:") {
        let (kind, _) = text.split_once(':').unwrap_or((text, ""));
        return Problem::new(
            format!("listening on `{kind}:` is not available in this version"),
            format!("expected {expected}"),
        );
    }
    if text.starts_with('/') && ListenAddr::expected() == expected {
        return Problem::new(
            format!("invalid address `{text}`"),
            format!("did you mean `unix:{text}`?"),
        );
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = bare.rsplit_once(':').unwrap_or(("", bare));
    let meant = match host {
        "" if bare.parse::<u16>().is_ok() => format!("127.0.0.1:{bare}"),
        "" if bare.starts_with(':') => format!("0.0.0.0:{port}"),
        "localhost" => format!("127.0.0.1:{port}"),
        "*" => format!("0.0.0.0:{port}"),
        _ if bare.parse::<IpAddr>().is_ok_and(|it| it.is_ipv4()) => format!("{bare}:1884"),
        _ if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        _ => bare.to_owned(),
    };
    let label = match meant.parse::<SocketAddr>() {
        Ok(_) => format!("did you mean `{meant}`?"),
        Err(_) => format!("expected {expected}"),
    };
    let problem = Problem::new(format!("invalid address `{text}`"), label);
    match host.starts_with(|it: char| it.is_ascii_alphabetic()) && meant == text {
        true => problem.note("mproxy does not resolve names here: write the IP address"),
        false => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Result<String, String> {
        UpstreamAddr::read(&Raw::String(text.to_owned()), false)
            .map(|it| it.to_string())
            .map_err(|it| it.label)
    }

    fn bind(text: &str) -> Result<String, String> {
        ListenAddr::read(&Raw::String(text.to_owned()), false)
            .map(|it| it.to_string())
            .map_err(|it| it.label)
    }

    fn admin(text: &str) -> Result<SocketAddr, String> {
        SocketAddr::read(&Raw::String(text.to_owned()), false).map_err(|it| it.message)
    }

    #[test]
    fn urls_of_files() {
        let read = |text: &str| HttpUrl::read(&Raw::String(text.to_owned()), false);
        let url = read("https://pki.example.com/ca.crl?key=1").unwrap();
        let shown = HttpUrl::show(&url).as_str().map(str::to_owned);
        assert_eq!(
            shown.as_deref(),
            Some("https://pki.example.com/ca.crl?key=1")
        );
        let problem = read("ldap://pki/cn=ca").unwrap_err();
        assert!(problem.label.contains("http://"), "{problem:?}");
        let problem = read("http://user:secret@pki/ca.crl").unwrap_err();
        assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
    }

    #[test]
    fn urls_of_responders() {
        let read = |text: &str| ResponderUrl::read(&Raw::String(text.to_owned()), false);
        for text in ["", "https://ocsp.example.com/a?key=1"] {
            let shown = ResponderUrl::show(&read(text).unwrap());
            assert_eq!(shown.as_str(), Some(text));
        }
        let problem = read("ocsp.example.com").unwrap_err();
        assert!(problem.label.contains("http://"), "{problem:?}");
        let problem = read("http://user:secret@ocsp/").unwrap_err();
        assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
    }

    #[test]
    fn addresses_of_brokers() {
        for (text, full) in [
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtt://10.0.0.1:1/", "mqtt://10.0.0.1:1"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtt://[::1]:99", "mqtt://[::1]:99"),
            ("ws://a", "ws://a:80/mqtt"),
            ("ws://a:8080/x?y=1", "ws://a:8080/x?y=1"),
            ("ws://a?y=1", "ws://a:80/mqtt?y=1"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(upstream(text).as_deref(), Ok(full));
        }
    }

    #[test]
    fn what_was_meant_by_a_wrong_address_of_a_broker() {
        for (text, label) in [
            ("127.0.0.1:1883", "did you mean `mqtt://127.0.0.1:1883`?"),
            ("tcp://a:1", "did you mean `mqtt://a:1`?"),
            ("mqtt://u:p@a", "leave it out"),
            ("mqtt://a/x", "mqtt:// has no path; did you mean `ws://`?"),
            (
                "mqtt://::1",
                "write IPv6 addresses in brackets: `[::1]:1883`",
            ),
            ("mqtt://a:0", "expected a port, 1 to 65535"),
            ("mqtt://a:x", "expected a port, 1 to 65535"),
            ("mqtt://", "the host is missing"),
            ("mqtt://[::1", "a bracket is not closed"),
            ("mqtt://a b", "not a host name"),
            (
                "mqtts://a/x",
                "mqtts:// has no path; did you mean `wss://`?",
            ),
            ("unix:a", "the path of a socket starts with a slash"),
        ] {
            assert_eq!(upstream(text), Err(label.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_was_meant_by_a_wrong_address_to_listen_on() {
        for (text, meant) in [
            ("1884", "127.0.0.1:1884"),
            (":1884", "0.0.0.0:1884"),
            ("*:1884", "0.0.0.0:1884"),
            ("localhost:1884", "127.0.0.1:1884"),
            ("mqtt://0.0.0.0:1884", "0.0.0.0:1884"),
            ("10.0.0.1", "10.0.0.1:1884"),
            ("::1:1884", "[::1]:1884"),
        ] {
            assert_eq!(
                bind(text),
                Err(format!("did you mean `{meant}`?")),
                "{text}"
            );
        }
        assert!(
            bind("example.com:1")
                .unwrap_err()
                .starts_with("expected an address")
        );
    }

    #[test]
    fn addresses_to_listen_on() {
        for (text, full) in [
            ("[::]:0", "[::]:0"),
            ("127.0.0.1:1884", "127.0.0.1:1884"),
            ("unix:/run/mproxy/mqtt.sock", "unix:/run/mproxy/mqtt.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("systemd:mqtt", "systemd:mqtt"),
        ] {
            assert_eq!(bind(text).as_deref(), Ok(full));
        }
        let longest = format!("unix:/{}", "a".repeat(UNIX_PATH_MAX - 1));
        assert_eq!(bind(&longest).as_deref(), Ok(&*longest));
        for (text, label) in [
            (format!("{longest}a"), "the path of a socket has at most"),
            ("unix:a.sock".to_owned(), "the path of a socket starts"),
            ("unix:".to_owned(), "the path of a socket starts"),
            ("unix:/".to_owned(), "not the path of a file"),
            ("/run/a.sock".to_owned(), "did you mean `unix:/run/a.sock`?"),
            ("systemd:".to_owned(), "expected the FileDescriptorName="),
            ("systemd:a:b".to_owned(), "expected the FileDescriptorName="),
        ] {
            let told = bind(&text).unwrap_err();
            assert!(told.starts_with(label), "{text}: {told}");
        }
        for text in ["unix:/run/a.sock", "systemd:admin"] {
            let told = admin(text).unwrap_err();
            assert!(told.contains("not available in this version"), "{told}");
        }
    }
}
