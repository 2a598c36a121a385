//! Who may use the routes that show or change traffic.
//!
//! A caller from loopback may, or one with the bearer token. Loopback alone is not enough for a browser:
//! any page that it shows can ask 127.0.0.1, and a name that somebody else's DNS server points there
//! makes that page the same origin. So the `Host` must be an address or `localhost`, a request that a
//! browser says comes from another site is refused, and what changes something must be JSON, which a
//! page cannot send elsewhere unasked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::guarded::failure;
use crate::Api;

/// What a caller without the token is told.
const NEEDS_TOKEN: &str = "this needs `Authorization: Bearer TOKEN`, with the token of admin.token_file; \
                           without that key, only callers on this host are let in, and not through a proxy";

/// What proxies add: the caller is somebody else.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// The address of the caller, put to each request by the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) SocketAddr);

/// Lets a request through, or says why not.
pub(super) async fn guard(
    State(api): State<Arc<dyn Api>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let caller = request.extensions().get::<Caller>().copied();
    let allowed = match bearer(headers) {
        Some(token) if api.is_authorized(token) => Ok(()),
        Some(_) => Err((StatusCode::UNAUTHORIZED, "the bearer token is wrong")),
        None if api.needs_token() => Err((StatusCode::UNAUTHORIZED, NEEDS_TOKEN)),
        None => from_here(caller, headers),
    };
    if let Err((status, why)) = allowed {
        tracing::warn!(
            target: "mproxy::admin",
            event = "refuse",
            peer = caller.map(|Caller(peer)| tracing::field::display(peer)),
            path = request.uri().path(),
            status = status.as_u16(),
            remedy = "use the token of admin.token_file; if this was nobody you know, bind admin to loopback",
            "a caller of the admin API is refused"
        );
        return failure(status, why);
    }
    if *request.method() != Method::GET && *request.method() != Method::HEAD && !is_json(headers) {
        return failure(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send it with Content-Type: application/json",
        );
    }
    next.run(request).await
}

/// Whether the caller is this host, and no page of a browser.
fn from_here(
    caller: Option<Caller>,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    let is_loopback = caller.is_some_and(|Caller(peer)| peer.ip().to_canonical().is_loopback());
    if !is_loopback {
        return Err((StatusCode::UNAUTHORIZED, NEEDS_TOKEN));
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err((StatusCode::UNAUTHORIZED, NEEDS_TOKEN));
    }
    if !headers.get(header::HOST).is_none_or(is_address) {
        return Err((
            StatusCode::FORBIDDEN,
            "the Host header must be an address or localhost",
        ));
    }
    let site = headers.get("sec-fetch-site").map(|it| it.as_bytes());
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Err((StatusCode::FORBIDDEN, "not for pages of other sites"));
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a `Host` is an address or `localhost`, with or without a port: a name could be anybody's.
fn is_address(host: &header::HeaderValue) -> bool {
    let Ok(host) = host.to_str() else {
        return false;
    };
    let is_ip = |text: &str| text.parse::<IpAddr>().is_ok();
    if host.parse::<SocketAddr>().is_ok() || is_ip(host.trim_matches(['[', ']'])) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let kind = value.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_host_is_an_address_or_localhost() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9883",
            "[::1]:9883",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
        ] {
            assert!(is_address(&HeaderValue::from_static(host)), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:9883",
            "localhost.evil",
            "",
            "a:b",
        ] {
            assert!(!is_address(&HeaderValue::from_static(host)), "{host}");
        }
    }

    #[test]
    fn only_this_host_needs_no_token() {
        let caller = |text: &str| Some(Caller(text.parse().unwrap()));
        let none = HeaderMap::new();
        assert!(from_here(caller("127.0.0.1:5"), &none).is_ok());
        assert!(from_here(caller("[::1]:5"), &none).is_ok());
        assert!(from_here(caller("[::ffff:127.0.0.1]:5"), &none).is_ok());
        for caller in [caller("10.0.0.1:5"), None] {
            let (status, _) = from_here(caller, &none).unwrap_err();
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
        for (name, value) in [("x-forwarded-for", "10.0.0.1"), ("via", "1.1 x")] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let (status, _) = from_here(caller("127.0.0.1:5"), &headers).unwrap_err();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}");
        }
        for (name, value) in [("host", "evil.example"), ("sec-fetch-site", "cross-site")] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let (status, _) = from_here(caller("127.0.0.1:5"), &headers).unwrap_err();
            assert_eq!(status, StatusCode::FORBIDDEN, "{name}");
        }
    }
}
