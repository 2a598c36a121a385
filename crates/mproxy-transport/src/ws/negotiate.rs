//! The decision on an upgrade request: a pure function of its head.
//!
//! Header values are client's bytes: they are compared as bytes or through a checked `to_str`,
//! and never unwrapped.

use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{
        CONTENT_LENGTH, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
    },
};

use super::{Subprotocol, WsOptions};

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
    /// Whether `Connection` and `Upgrade` ask for a WebSocket.
    pub(super) is_upgrade: bool,
}

/// A request that is not served, and what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

/// Agrees on a subprotocol, or says why not. The order matters to the client: it hears first
/// about what it would have to change first.
pub(super) fn negotiate(
    head: Head<'_>,
    options: &WsOptions,
) -> Result<Option<Subprotocol>, Refusal> {
    if head.uri.path() != options.path {
        return refuse(StatusCode::NOT_FOUND, "no such path");
    }
    if head.method != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "the method is not GET");
    }
    if !head.is_upgrade || head.version < Version::HTTP_11 {
        return refuse(StatusCode::UPGRADE_REQUIRED, "not a websocket upgrade");
    }
    if single(head.headers, SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return refuse(
            StatusCode::UPGRADE_REQUIRED,
            "the websocket version is not 13",
        );
    }
    if !single(head.headers, SEC_WEBSOCKET_KEY).is_some_and(is_websocket_key) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "sec-websocket-key is missing or malformed",
        );
    }
    // A body in front of the frames is how a request is smuggled past a front proxy.
    let has_length = head.headers.contains_key(CONTENT_LENGTH)
        && single(head.headers, CONTENT_LENGTH) != Some(b"0");
    if has_length || head.headers.contains_key(TRANSFER_ENCODING) {
        return refuse(StatusCode::BAD_REQUEST, "an upgrade request has no body");
    }
    if !origin_allowed(head.headers, &options.origins) {
        return refuse(StatusCode::FORBIDDEN, "the origin is not in the allow list");
    }
    choose_subprotocol(head.headers, options.allow_missing_subprotocol)
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4]: one of the offered names is answered, `mqtt` if it is offered.
fn choose_subprotocol(
    headers: &HeaderMap,
    allow_missing: bool,
) -> Result<Option<Subprotocol>, Refusal> {
    let mut chosen = None;
    let mut offered = false;
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let Ok(names) = value.to_str() else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "sec-websocket-protocol is not ASCII",
            );
        };
        offered = true;
        for subprotocol in names
            .split(',')
            .filter_map(|name| Subprotocol::from_name(name.trim()))
        {
            if chosen != Some(Subprotocol::Mqtt) {
                chosen = Some(subprotocol);
            }
        }
    }
    match chosen {
        Some(subprotocol) => Ok(Some(subprotocol)),
        None if !offered && allow_missing => Ok(None),
        None => refuse(
            StatusCode::BAD_REQUEST,
            "neither mqtt nor mqttv3.1 is offered",
        ),
    }
}

/// A client without an `Origin` is not a browser, and the list is there against other sites'
/// pages in browsers.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    if allowed.is_empty() || !headers.contains_key(ORIGIN) {
        return true;
    }
    single(headers, ORIGIN).is_some_and(|origin| {
        allowed.iter().any(|allowed| {
            let allowed = allowed.strip_suffix('/').unwrap_or(allowed);
            allowed.as_bytes().eq_ignore_ascii_case(origin)
        })
    })
}

/// The value of a header that must not come twice.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// 16 bytes in base64, RFC 6455 section 4.2.1: 22 characters and two of padding.
fn is_websocket_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22
            && digits
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    })
}

fn refuse<T>(status: StatusCode, reason: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, reason })
}
