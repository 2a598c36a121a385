//! The decision on an upgrade request: a pure function of its head.
//!
//! Header values are client's bytes: they are compared as bytes or through a checked `to_str`,
//! and never unwrapped.

use hyper::{
    HeaderMap, Method, Uri, Version,
    header::{
        CONTENT_LENGTH, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
    },
};

use super::{Subprotocol, WsOptions, WsRefusal, error::Asked};

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

/// Agrees on an upgrade, or says why not. The order matters to the client: it hears first
/// about what it would have to change first.
pub(super) fn negotiate(head: Head<'_>, options: &WsOptions) -> Result<Subprotocol, WsRefusal> {
    if !options.paths.serve(head.uri.path()) {
        return Err(WsRefusal::Path);
    }
    if head.method != Method::GET {
        return Err(WsRefusal::Method);
    }
    // RFC 9110 section 7.8: `Upgrade` means nothing in HTTP/1.0.
    if head.version < Version::HTTP_11 {
        return Err(WsRefusal::HttpVersion);
    }
    if !head.is_upgrade {
        return Err(WsRefusal::NotAnUpgrade);
    }
    if single(head.headers, SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(WsRefusal::Version);
    }
    // Only to be answered: what it holds makes no difference, and some devices send fewer bytes
    // than the 16 of RFC 6455.
    if single(head.headers, SEC_WEBSOCKET_KEY).is_none_or(<[u8]>::is_empty) {
        return Err(WsRefusal::Key);
    }
    // A body in front of the frames is how a request is smuggled past a front proxy.
    let has_length = head.headers.contains_key(CONTENT_LENGTH)
        && single(head.headers, CONTENT_LENGTH) != Some(b"0");
    if has_length || head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(WsRefusal::Body);
    }
    if !origin_allowed(head.headers, &options.origins) {
        return Err(WsRefusal::Origin);
    }
    choose_subprotocol(head.headers)
}

/// What is worth telling an operator about a request that is refused.
pub(super) fn asked(head: Head<'_>) -> Asked {
    Asked {
        path: cut(head.uri.path()),
        offered: shown(head.headers, SEC_WEBSOCKET_PROTOCOL).map(|it| names(&it)),
        origin: shown(head.headers, ORIGIN),
        is_upgrade: head.is_upgrade,
    }
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4]: one of the offered names is answered, `mqtt` if it is offered.
fn choose_subprotocol(headers: &HeaderMap) -> Result<Subprotocol, WsRefusal> {
    let mut chosen = None;
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let Ok(names) = value.to_str() else {
            return Err(WsRefusal::Subprotocol);
        };
        for subprotocol in names
            .split(',')
            .filter_map(|name| Subprotocol::from_name(name.trim()))
        {
            if chosen != Some(Subprotocol::Mqtt) {
                chosen = Some(subprotocol);
            }
        }
    }
    chosen.ok_or(WsRefusal::Subprotocol)
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

/// Whether one of the comma-separated values is this one.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// A header's values for the log, joined and cut; `None` if there is none.
fn shown(headers: &HeaderMap, name: HeaderName) -> Option<Box<str>> {
    let mut values = headers.get_all(name).iter();
    let mut all = String::from_utf8_lossy(values.next()?.as_bytes()).into_owned();
    for value in values {
        if all.len() > SHOWN_BYTES {
            break;
        }
        all.push_str(", ");
        all.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(cut(&all))
}

/// The beginnings of the names in a list: browsers, which can send no other header, put tokens into it.
fn names(list: &str) -> Box<str> {
    let begin = |name: &str| {
        let name = name.trim();
        match name.char_indices().nth(NAME_CHARS) {
            Some((end, _)) => format!("{}\u{2026}", &name[..end]),
            None => name.to_owned(),
        }
    };
    list.split(',')
        .map(begin)
        .collect::<Vec<_>>()
        .join(", ")
        .into()
}

fn cut(text: &str) -> Box<str> {
    match text.get(..text.floor_char_boundary(SHOWN_BYTES)) {
        Some(beginning) if beginning.len() < text.len() => format!("{beginning}\u{2026}").into(),
        _ => text.into(),
    }
}

/// How much of a path or a header is kept for the log: a client must not fill it.
const SHOWN_BYTES: usize = 128;

/// The longest name of a subprotocol that is kept: that of `mqttv3.1`.
const NAME_CHARS: usize = 8;
