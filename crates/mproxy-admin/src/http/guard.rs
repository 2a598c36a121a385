//! Decides who may use the routes that show or change traffic.
//!
//! Callers from loopback may, and callers with the bearer token. Loopback alone is not enough, because of
//! browsers: any page in a browser can send requests to 127.0.0.1, and if the name of its site points
//! there, the page is of the same origin. So the `Host` must be an address or `localhost`, a request that a
//! browser marks as coming from another site is refused, and requests that change something must be JSON,
//! which a page cannot send to another site without a CORS preflight.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::failure::Failure;
use crate::Api;

const NO_TOKEN: &str = "the bearer token is missing";

/// The remedies for a refused caller.
const USE_TOKEN: &str = "send `Authorization: Bearer TOKEN` with the token of admin.token_file; without that key, \
                         only callers on this host can use the API, and not through a proxy";
const USE_ADDRESS: &str =
    "use the address of the port, as in http://127.0.0.1:9883, or send the bearer token";

/// Headers that proxies add: the real caller is not on this host.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// The address of the caller; the server adds it to each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) SocketAddr);

/// Lets a request through, or says why not.
pub(super) async fn guard(
    State(api): State<Arc<dyn Api>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let headers = request.headers();
    let caller = request.extensions().get::<Caller>().copied();
    let allowed = match bearer(headers) {
        Some(token) if api.is_authorized(token) => Ok(()),
        Some(_) => Err((StatusCode::UNAUTHORIZED, "the bearer token is wrong")),
        None if api.needs_token() => Err((StatusCode::UNAUTHORIZED, NO_TOKEN)),
        None => from_here(caller, headers),
    };
    let Err((status, why)) = allowed else {
        return Ok(next.run(request).await);
    };
    tracing::warn!(
        target: "mproxy::admin",
        event = "refuse",
        peer = caller.map(|Caller(peer)| tracing::field::display(peer)),
        path = request.uri().path(),
        status = status.as_u16(),
        remedy = "use the token of admin.token_file; if you do not know the caller, bind admin to loopback",
        "a caller of the admin API is refused"
    );
    let remedy = match status {
        StatusCode::UNAUTHORIZED => USE_TOKEN,
        _ => USE_ADDRESS,
    };
    Err(Failure::new(status, why, remedy))
}

/// Refuses requests that a web page can send to another site without a CORS preflight.
pub(super) async fn require_json(request: Request, next: Next) -> Result<Response, Failure> {
    if is_json(request.headers()) {
        return Ok(next.run(request).await);
    }
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the request is not JSON",
        "send it with Content-Type: application/json",
    ))
}

/// Allows callers on this host, except pages in a browser.
fn from_here(
    caller: Option<Caller>,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    let is_loopback = caller.is_some_and(|Caller(peer)| peer.ip().to_canonical().is_loopback());
    if !is_loopback || FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err((StatusCode::UNAUTHORIZED, NO_TOKEN));
    }
    if !headers.get(header::HOST).is_none_or(is_address) {
        let why = "the Host header is not an address or localhost";
        return Err((StatusCode::FORBIDDEN, why));
    }
    let site = headers.get("sec-fetch-site").map(|it| it.as_bytes());
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        let why = "a page of another site sent the request";
        return Err((StatusCode::FORBIDDEN, why));
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a `Host` is an address or `localhost`, with or without a port: an attacker may own any other name.
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
