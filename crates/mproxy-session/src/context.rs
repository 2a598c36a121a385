//! Information about a connection and a session, for hooks.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use mproxy_codec::{ConnectPacket, Version};

/// Where a connection came from.
///
/// ```
/// use mproxy_session::Peer;
/// let peer = Peer::new("mqtt").with_address("192.0.2.7:50123".parse()?);
/// assert_eq!(peer.to_string(), "192.0.2.7:50123");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The client's address; `None` for a Unix socket or an in-memory pipe.
    pub address: Option<SocketAddr>,
    /// The name of the listener that accepted the connection.
    pub listener: Arc<str>,
    /// The HTTP request that opened the WebSocket, if the connection is one.
    pub upgrade: Option<Arc<UpgradeRequest>>,
    /// The TLS of the connection, if it has some.
    pub tls: Option<Arc<TlsPeer>>,
}

impl Peer {
    /// A peer of the listener with this name.
    #[must_use]
    pub fn new(listener: impl Into<Arc<str>>) -> Self {
        Self {
            address: None,
            listener: listener.into(),
            upgrade: None,
            tls: None,
        }
    }

    /// Sets the client's address.
    #[must_use]
    pub const fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Bytes of data from the client in it.
    pub(crate) fn size(&self) -> usize {
        let tls = self.tls.as_ref().map_or(0, |tls| tls.size());
        tls + self.upgrade.as_ref().map_or(0, |upgrade| upgrade.size())
    }

    /// Sets the TLS of the connection.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsPeer) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }

    /// The client's certificate, if it has shown one.
    #[must_use]
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.tls.as_ref()?.certificate.as_ref()
    }

    /// Sets the request that opened the WebSocket.
    #[must_use]
    pub fn with_upgrade(mut self, request: UpgradeRequest) -> Self {
        self.upgrade = Some(Arc::new(request));
        self
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// What a TLS handshake with a client has agreed on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsPeer {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: String,
    /// The server name that the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
    /// The certificate of the client, which was verified.
    pub certificate: Option<ClientCertificate>,
}

/// The verified certificate of a client.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The common name (CN) of the subject. `None` if there is none, or if it is not clear what it is: there
    /// are several, or it has control characters.
    pub common_name: Option<String>,
    /// The whole subject, as `openssl x509 -subject -nameopt RFC2253` writes it (RFC 4514):
    /// `CN=device-7,O=Example\, Inc`.
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number: pairs of hexadecimal digits with colons between them.
    pub serial: String,
    /// The DNS names among the subject's alternative names.
    pub dns_names: Vec<String>,
    /// The URIs among them; a SPIFFE id is one.
    pub uris: Vec<String>,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
    /// The chain in DER: the client's own certificate, and those that it sent with it.
    pub chain: Vec<Box<[u8]>>,
}

impl TlsPeer {
    fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let certificate = self.certificate.as_ref().map_or(0, |it| {
            let names = it.dns_names.iter().chain(&it.uris).map(String::len);
            let chain = it.chain.iter().map(|der| der.len());
            let texts = [&it.subject, &it.issuer, &it.serial].map(String::len);
            text(&it.common_name) + names.chain(chain).chain(texts).sum::<usize>()
        });
        let server_name = self.server_name.as_ref().map_or(0, |it| it.len());
        self.cipher.len() + server_name + text(&self.alpn) + certificate
    }
}

/// The HTTP request that opened a WebSocket. Its contents come from the client and are only as
/// trustworthy as any header.
///
/// ```
/// use mproxy_session::UpgradeRequest;
///
/// let mut request = UpgradeRequest::new("/mqtt?tenant=a%20b".to_owned());
/// request.headers.push(("Cookie".to_owned(), "theme=dark; session=\"x1\"".to_owned()));
/// assert_eq!(request.path(), "/mqtt");
/// assert_eq!(request.query("tenant").as_deref(), Some("a b"));
/// assert_eq!(request.cookie("session"), Some("x1"));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct UpgradeRequest {
    /// Path and query.
    pub uri: String,
    /// Names and values of headers, in order. mproxy-server writes names in lower case.
    pub headers: Vec<(String, String)>,
}

impl UpgradeRequest {
    /// A request for `uri` without headers.
    #[must_use]
    pub const fn new(uri: String) -> Self {
        Self {
            uri,
            headers: Vec::new(),
        }
    }

    fn size(&self) -> usize {
        let headers = self.headers.iter();
        self.uri.len()
            + headers
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        let end = self.uri.find('?').unwrap_or(self.uri.len());
        &self.uri[..end]
    }

    /// The first parameter of the query with this name, decoded (`application/x-www-form-urlencoded`). Bytes that
    /// are not UTF-8 are replaced by U+FFFD.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, query) = self.uri.split_once('?')?;
        let mut all = form_urlencoded::parse(query.as_bytes());
        all.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first cookie with this name (RFC 6265, section 4.2.1), without quotes around it.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let of_name = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case("cookie"));
        let pairs = of_name.flat_map(|(_, cookies)| cookies.split(';'));
        let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        let unquoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        Some(unquoted.unwrap_or(value))
    }

    /// The first header with this name, in upper or lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Values may be secret: only the path is shown, and which headers there are.
impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("UpgradeRequest")
            .field("path", &self.path())
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// Who the client is according to a layer, beyond what CONNECT claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The authenticated name, for example a certificate's common name or a token's subject.
    pub name: String,
}

impl Identity {
    /// An identity with this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// What stays the same for the life of a session. Cheap to clone.
///
/// Two are equal if they belong to one session. A client that takes over its own session is a different one,
/// even with the same names.
#[derive(Clone, Debug)]
pub struct SessionInfo(Arc<Facts>);

impl PartialEq for SessionInfo {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SessionInfo {}

#[derive(Debug)]
struct Facts {
    names: Names,
    /// The broker's choice. Boxed twice, to be one word, as the next: few sessions have one.
    assigned_client_id: OnceLock<Box<Box<str>>>,
    identity: Option<Box<Identity>>,
    peer: Peer,
    version: Version,
    is_bridge: bool,
    clean_start: bool,
    keep_alive: u16,
}

/// The names in a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The client identifier followed by the user name: one allocation for both.
    text: Box<str>,
    client_id_len: u16,
    has_user_name: bool,
}

impl Names {
    pub(crate) fn of(packet: &ConnectPacket) -> Self {
        let (client_id, user_name) = (packet.client_id(), packet.user_name());
        Self {
            text: [client_id, user_name.unwrap_or_default()].concat().into(),
            // a packet field is never longer
            client_id_len: u16::try_from(client_id.len()).unwrap_or(u16::MAX),
            has_user_name: user_name.is_some(),
        }
    }

    fn split(&self) -> (&str, &str) {
        let names = self.text.split_at_checked(self.client_id_len.into());
        names.unwrap_or_default()
    }

    pub(crate) fn client_id(&self) -> &str {
        self.split().0
    }

    pub(crate) fn user_name(&self) -> Option<&str> {
        self.has_user_name.then_some(self.split().1)
    }

    /// Whether these are the names in `packet`.
    pub(crate) fn are_of(&self, packet: &ConnectPacket) -> bool {
        self.client_id() == packet.client_id() && self.user_name() == packet.user_name()
    }

    /// Their bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }
}

impl SessionInfo {
    pub(crate) fn new(packet: &ConnectPacket, peer: &Peer, identity: Option<&Identity>) -> Self {
        Self(Arc::new(Facts {
            names: Names::of(packet),
            assigned_client_id: OnceLock::new(),
            identity: identity.cloned().map(Box::new),
            peer: peer.clone(),
            version: packet.version(),
            is_bridge: packet.is_bridge(),
            clean_start: packet.clean_start(),
            keep_alive: packet.keep_alive(),
        }))
    }

    /// Bytes of data from the client in it.
    pub(crate) fn size(&self) -> usize {
        self.0.names.size() + self.0.peer.size()
    }

    /// The client identifier; the assigned one, once the broker has assigned one.
    #[must_use]
    pub fn client_id(&self) -> &str {
        match self.0.assigned_client_id.get() {
            Some(assigned) => assigned,
            None => self.0.names.client_id(),
        }
    }

    pub(crate) fn assign_client_id(&self, client_id: &str) {
        // there is only one CONNACK; a second value would be ignored
        let _ = self.0.assigned_client_id.set(Box::new(client_id.into()));
    }

    /// The names in the CONNECT that was sent to the broker.
    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    /// The user name, as the hooks left it.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        self.0.names.user_name()
    }

    /// The identity that a layer established.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_deref()
    }

    /// Where the connection came from.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// The protocol version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// True for a mosquitto [bridge](ConnectPacket::is_bridge).
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.0.is_bridge
    }

    /// Clean Session of MQTT 3.x, Clean Start of MQTT 5.0.
    #[must_use]
    pub fn clean_start(&self) -> bool {
        self.0.clean_start
    }

    /// The keep alive in seconds that the client asked for; 0 = off.
    #[must_use]
    pub fn keep_alive(&self) -> u16 {
        self.0.keep_alive
    }
}
