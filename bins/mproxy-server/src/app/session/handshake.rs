//! What an operator can do about WebSocket handshakes that fail.

use mproxy_codec::{ConnectGlimpse, Foreign};
use mproxy_transport::{WsCause, WsError, WsRefusal};

use crate::app::foreign;

/// What happened, with its causes, and what to change.
pub(super) fn account(error: &WsError) -> (String, Option<&'static str>) {
    if let Some((what, remedy)) = other_protocol(error.first_bytes()) {
        return (what, Some(remedy));
    }
    (error.to_string(), remedy(error))
}

/// The protocol of a client whose first bytes are not HTTP, and what to do about it.
fn other_protocol(first: &[u8]) -> Option<(String, &'static str)> {
    match Foreign::recognise(first) {
        Some(Foreign::HttpRequest) => None,
        Some(protocol) => Some((
            format!("{protocol} instead of a WebSocket handshake"),
            foreign::of_client(protocol),
        )),
        None => ConnectGlimpse::of(first).level.map(|_| {
            (
                "a CONNECT without WebSocket".to_owned(),
                "have the client connect over WebSocket, or to a listener with protocol = \"mqtt\"",
            )
        }),
    }
}

/// What to change, and where; `NAME` is the listener's.
fn remedy(error: &WsError) -> Option<&'static str> {
    Some(match error.cause() {
        // no path would help: a health check asks for `/` because it knows no other path
        WsCause::Refused(WsRefusal::Path) if !error.is_upgrade() => {
            return refused(WsRefusal::NotAnUpgrade);
        }
        WsCause::Refused(refusal) => return refused(*refusal),
        WsCause::TimedOut => {
            "the client started a request and did not finish it: check the network, or raise \
             listeners.NAME.limits.connect_timeout"
        }
        WsCause::TooLarge(_) => {
            "raise listeners.NAME.max_header_size, or make the cookies of the site smaller; a \
             request may have at most 200 headers"
        }
        WsCause::Http(_) => {
            "the client does not speak HTTP/1.1, or gave up: connect with an MQTT client over \
             WebSocket"
        }
        _ => return None,
    })
}

const fn refused(refusal: WsRefusal) -> Option<&'static str> {
    Some(match refusal {
        WsRefusal::Path => {
            "add the path to listeners.NAME.paths, or set one of them at the client; paths = [] \
             serves any"
        }
        WsRefusal::Origin => {
            "add the origin to listeners.NAME.origins if its pages may connect; origins = [] lets \
             in any"
        }
        WsRefusal::Subprotocol => "set the subprotocol \"mqtt\" at the client",
        WsRefusal::HttpVersion => {
            "a gateway in front of mproxy uses HTTP/1.0: set HTTP/1.1 there, in nginx \
             `proxy_http_version 1.1`"
        }
        WsRefusal::Method | WsRefusal::NotAnUpgrade => {
            "not an MQTT client, or a gateway in front of mproxy removes the Connection and Upgrade \
             headers; health checks should use /readyz of the admin port"
        }
        WsRefusal::Version | WsRefusal::Key | WsRefusal::Body => {
            "the client's request is not a WebSocket handshake of RFC 6455: update the client"
        }
        _ => return None,
    })
}
