//! The parts of an upgrade request that are kept.

use std::{borrow::Cow, fmt};

use hyper::HeaderMap;

use super::{Subprotocol, WsOptions};

/// The upgrade request of a client, for hooks. Its size is bounded by the limit on request headers
/// ([`max_header_size`](WsOptions::max_header_size)).
///
/// The client wrote everything in it, including [`forwarded_for`](Self::forwarded_for): trust
/// that only if the connection comes from a proxy you trust. Values with bytes outside of
/// printable ASCII are left out; in `X-Forwarded-For` these bytes are replaced, because a client must not be
/// able to hide what a proxy has added.
#[derive(Clone, PartialEq, Eq)]
pub struct WsRequest {
    path: Box<str>,
    query: Option<Box<str>>,
    subprotocol: Subprotocol,
    headers: Box<[(Box<str>, Box<str>)]>,
}

impl WsRequest {
    pub(super) fn new(
        uri: &hyper::Uri,
        headers: &HeaderMap,
        subprotocol: Subprotocol,
        options: &WsOptions,
    ) -> Self {
        let extra = options.headers.iter().map(String::as_str);
        Self {
            path: uri.path().into(),
            query: uri.query().map(Into::into),
            subprotocol,
            headers: KEPT_HEADERS
                .into_iter()
                .chain(extra)
                .filter_map(|name| Some((name.into(), joined(headers, name)?)))
                .collect(),
        }
    }

    /// The requested path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query string, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Subprotocol {
        self.subprotocol
    }

    /// The `Host` header.
    pub fn host(&self) -> Option<&str> {
        self.header("host")
    }

    /// The `Origin` header: the site whose page connects, in a browser.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The `User-Agent` header.
    pub fn user_agent(&self) -> Option<&str> {
        self.header("user-agent")
    }

    /// The `X-Forwarded-For` headers, joined with commas; see the warning above.
    pub fn forwarded_for(&self) -> Option<&str> {
        self.header(FORWARDED_FOR)
    }

    /// A header named above or in [`keep_headers`](WsOptions::keep_headers). If it came
    /// several times, its values are joined with commas, cookies with semicolons, so that none is hidden.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(kept, _)| kept.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }
}

impl fmt::Debug for WsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Query and headers may hold credentials: names only.
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WsRequest")
            .field("path", &self.path)
            .field("subprotocol", &self.subprotocol)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

fn joined(headers: &HeaderMap, name: &str) -> Option<Box<str>> {
    let values = headers.get_all(name).iter();
    let texts = values.map(|value| match name {
        FORWARDED_FOR => Some(String::from_utf8_lossy(value.as_bytes())),
        _ => value.to_str().ok().map(Cow::Borrowed),
    });
    let texts = texts.collect::<Option<Vec<_>>>()?;
    let between = match name.eq_ignore_ascii_case("cookie") {
        // HTTP/2 cuts cookies apart, and they are to be joined like this (RFC 9113, section 8.2.3)
        true => "; ",
        false => ", ",
    };
    Some(texts.join(between).into()).filter(|_| !texts.is_empty())
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const KEPT_HEADERS: [&str; 4] = ["host", "origin", "user-agent", FORWARDED_FOR];
