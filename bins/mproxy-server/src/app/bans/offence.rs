//! What counts as an offence, and whose it is.

use std::net::SocketAddr;
use std::time::Duration;

use mproxy_admin::Offence;
use mproxy_codec::{Foreign, ReasonCode};
use mproxy_config::{Subject as Kind, Subjects};
use mproxy_layers::acl::Network;
use mproxy_session::{CloseReason, SessionInfo, Side, Summary};
use mproxy_transport::{TlsCause, TlsError, TlsFault, WsCause, WsError};

use super::table::Subject;
use crate::app::gate::Client;

/// A session that ends sooner, and without DISCONNECT, may be one of a loop.
const SHORT: Duration = Duration::from_secs(5);

/// Who gets the points of an offence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offender<'a> {
    /// `None` for a client of a Unix socket, and for a load balancer.
    pub(crate) address: Option<SocketAddr>,
    /// Bits of an IPv6 address that are one client.
    pub(crate) ipv6_prefix: u8,
    /// The names of a client that the broker has let in.
    pub(crate) session: Option<&'a SessionInfo>,
}

impl Offender<'_> {
    pub(super) fn is_exempt(&self, networks: &[Network]) -> bool {
        let has = |address: SocketAddr| networks.iter().any(|it| it.contains(address.ip()));
        self.address.is_some_and(has)
    }

    /// Those among these kinds that are known.
    pub(super) fn subjects(&self, kinds: Subjects) -> impl Iterator<Item = Subject> {
        let client = self.address.map(|it| Client::of(it.ip(), self.ipv6_prefix));
        // an empty name is everybody's who has none
        let is_name = |name: &&str| !name.is_empty();
        let username = self
            .session
            .and_then(SessionInfo::user_name)
            .filter(is_name);
        let client_id = self.session.map(SessionInfo::client_id).filter(is_name);
        let all = [
            (
                Kind::Address,
                client.map(|it| Subject::Address(it.network())),
            ),
            (Kind::Username, username.map(Subject::username)),
            (Kind::ClientId, client_id.map(Subject::client_id)),
        ];
        let among = all
            .into_iter()
            .filter(move |(kind, _)| kinds.contains(*kind));
        among.filter_map(|(_, subject)| subject)
    }
}

/// Whether a web page can make any browser send this: a request, or the beginning of TLS.
fn is_of_browser(foreign: Option<Foreign>) -> bool {
    matches!(foreign, Some(Foreign::HttpRequest | Foreign::Tls))
}

/// The offence in the end of a session. Not: another client took the session over, which anybody can do to it; or
/// it spoke [as browsers do](is_of_browser).
pub(crate) fn of_end(summary: &Summary) -> Option<Offence> {
    use CloseReason as End;
    if is_of_browser(summary.foreign) {
        return None;
    }
    Some(match (summary.side, summary.reason) {
        (Side::Client, End::ProtocolError | End::Malformed | End::PacketTooLarge) => {
            Offence::ProtocolError
        }
        (Side::Proxy, End::AuthDenied) if !summary.established() => {
            return of_refusal(summary.connack?).filter(|it| *it == Offence::AuthFailed);
        }
        (_, End::UpstreamRefused) => return of_refusal(summary.connack?),
        (Side::Proxy, End::RateLimited) => Offence::Denials,
        (Side::Client, End::Eof | End::Reset)
            if summary.established() && summary.duration < SHORT =>
        {
            Offence::Reconnect
        }
        _ => return None,
    })
}

/// The offence that a broker refuses. Not: it has no room, or speaks another version.
fn of_refusal(code: ReasonCode) -> Option<Offence> {
    Some(match code {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD
        | ReasonCode::NOT_AUTHORIZED
        | ReasonCode::BAD_AUTHENTICATION_METHOD => Offence::AuthFailed,
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
        | ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::UNSPECIFIED_ERROR
        | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED
        | ReasonCode::CONNECTION_RATE_EXCEEDED => return None,
        _ => Offence::BrokerRefusal,
    })
}

/// The offence in a WebSocket handshake that failed: bytes that are no HTTP. A request that is refused, or too large, is
/// none.
pub(crate) fn of_websocket(error: &WsError) -> Option<Offence> {
    match error.cause() {
        _ if is_of_browser(Foreign::recognise(error.first_bytes())) => None,
        WsCause::TooLarge(_) | WsCause::Http(_) if error.received() > 0 => {
            Some(Offence::ProtocolError)
        }
        _ => None,
    }
}

/// The offence in a TLS handshake that failed. Not: the client does not trust us, has no certificate to show, or left.
pub(crate) fn of_tls(error: &TlsError) -> Option<Offence> {
    if Foreign::recognise(error.first_bytes()) == Some(Foreign::HttpRequest) {
        return None;
    }
    match error.cause() {
        TlsCause::Violation(violation) => match violation.fault() {
            TlsFault::Told
            | TlsFault::Version
            | TlsFault::ServerName
            | TlsFault::NothingInCommon
            // as any browser, where a web page sends it
            | TlsFault::NoCertificate => None,
            TlsFault::UnknownIssuer
            | TlsFault::Expired
            | TlsFault::Revoked
            | TlsFault::WrongName
            | TlsFault::CaCertificate
            | TlsFault::BadCertificate => Some(Offence::AuthFailed),
            // about our list, not about the client
            TlsFault::UnknownRevocation => None,
            _ => Some(Offence::ProtocolError),
        },
        TlsCause::TooLarge(_) => Some(Offence::ProtocolError),
        _ => None,
    }
}
