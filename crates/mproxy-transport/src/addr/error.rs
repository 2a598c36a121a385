//! Why an address is not valid, and what to write instead.

/// An invalid address. The message includes the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrError {
    /// The text is empty.
    #[error("address is empty: write host:port or unix:/path")]
    Empty,
    /// No `:port` behind the host.
    #[error("{0:?} has no port: write {0}:1883, or the port you mean")]
    MissingPort(String),
    /// A port, or another number, without a host.
    #[error("{0:?} has no host: write 0.0.0.0:{0} for all IPv4, or [::]:{0} for all addresses")]
    OnlyPort(String),
    /// Nothing before the port.
    #[error("{0:?} has no host: write 0.0.0.0{0} for all IPv4, or [::]{0} for all addresses")]
    MissingHost(String),
    /// The port is not a number from 0 to 65535.
    #[error("{0:?} is not a port: write a number from 0 to 65535")]
    InvalidPort(String),
    /// Port 0 where somebody has to be reached.
    #[error("port 0 cannot be dialled: write the port the broker listens on")]
    ZeroPort,
    /// An IPv6 address without brackets, whose port cannot be told from its last group.
    #[error("{0:?} is ambiguous: put the IPv6 address in brackets, as in [::1]:1883")]
    UnbracketedIpv6(String),
    /// The host is neither an IP address nor a host name.
    #[error("{0:?} is not a host: write an IPv4 address, [an IPv6 address] or a DNS name")]
    InvalidHost(String),
    /// `unix:` without an absolute path.
    #[error("{0:?} is not an absolute path: write unix:/run/mproxy.sock")]
    InvalidUnixPath(String),
    /// `systemd:` without a name that a socket can have.
    #[error("{0:?} is not the name of a passed socket: write FileDescriptorName= of its unit")]
    InvalidPassedName(String),
    /// A broker address that does not begin with a known scheme.
    #[error(
        "{0:?} has no known scheme: write mqtt://host:1883, ws://host:port/path or unix:/path; \
         mqtts:// and wss:// are the same with TLS"
    )]
    UnknownScheme(String),
    /// The URL of a file that is neither `http://` nor `https://`.
    #[error("{0:?} is not the URL of a file: write http://host/path or https://host/path")]
    NotHttp(String),
    /// A scheme that a listener does not know.
    #[error("{0:?} is not a listener address: write host:port or unix:/path, without a scheme")]
    SchemeOnListener(String),
    /// User name and password inside the URL.
    #[error("credentials do not belong in the address: remove everything up to the @")]
    Credentials,
    /// A path, query or fragment where none is allowed.
    #[error("{0:?} is more than host:port: remove {1:?}")]
    TrailingPart(String, String),
    /// A WebSocket path with characters that are not allowed in a request line.
    #[error("{0:?} is not a request path: use printable ASCII without spaces, and no #fragment")]
    InvalidPath(String),
}
