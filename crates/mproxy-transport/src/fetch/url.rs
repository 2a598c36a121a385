//! Where a file is.

use std::{fmt, str::FromStr};

use crate::addr::{AddrError, Carrier, UpstreamAddr};

/// The URL of a file: `http://host[:80]/path` or `https://host[:443]/path`, without credentials.
///
/// ```
/// use mproxy_transport::HttpUrl;
///
/// let url: HttpUrl = "http://pki.example.com/ca.crl?key=secret".parse()?;
/// assert_eq!(url.to_string(), "http://pki.example.com:80/ca.crl");
/// # Ok::<(), mproxy_transport::AddrError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    /// As if bytes were to be exchanged without HTTP.
    addr: UpstreamAddr,
    /// The host, and the port if it was written.
    authority: Box<str>,
    /// The path and the query.
    path: Box<str>,
}

impl HttpUrl {
    /// The URL as it was configured, with its query, which may be a secret.
    pub fn reveal(&self) -> String {
        let secure = if self.addr.is_tls { "s" } else { "" };
        format!("http{secure}://{}{}", self.authority, self.path)
    }

    pub(super) fn addr(&self) -> &UpstreamAddr {
        &self.addr
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for HttpUrl {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => ("ws", rest),
            Some(("https", rest)) => ("wss", rest),
            _ if text.contains('@') => return Err(AddrError::Credentials),
            _ => return Err(AddrError::NotHttp(text.to_owned())),
        };
        let len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(len);
        let slash = if behind.starts_with('/') { "" } else { "/" };
        // the address of a WebSocket has the same parts
        let mut addr: UpstreamAddr = format!("{scheme}://{authority}{slash}{behind}").parse()?;
        let path = match std::mem::replace(&mut addr.carrier, Carrier::Plain) {
            Carrier::WebSocket { path } => path,
            Carrier::Plain => "/".into(),
        };
        Ok(Self {
            addr,
            authority: authority.into(),
            path,
        })
    }
}

/// Without the query: some servers take a key in it.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = if self.addr.is_tls { "s" } else { "" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "http{secure}://{}{path}", self.addr.endpoint)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_path_and_is_shown_without_its_query() {
        for (text, shown, path) in [
            ("http://pki", "http://pki:80/", "/"),
            ("https://pki/ca.crl", "https://pki:443/ca.crl", "/ca.crl"),
            ("http://pki:8080?x=1", "http://pki:8080/", "/?x=1"),
            ("http://[::1]:81/a/b?c", "http://[::1]:81/a/b", "/a/b?c"),
        ] {
            let url: HttpUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.path()), (shown, path));
            assert_eq!(url.reveal().parse::<HttpUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_secrets_are_not_echoed() {
        for text in [
            "",
            "pki/ca.crl",
            "ftp://pki/ca.crl",
            "ldap://pki/cn=x",
            "http://",
            "http://pki/a b",
        ] {
            text.parse::<HttpUrl>().unwrap_err();
        }
        for text in [
            "http://user:secret@pki/ca.crl",
            "ftp://user:secret@pki",
            "user:secret@pki",
        ] {
            let error = text.parse::<HttpUrl>().unwrap_err();
            assert_eq!(error, AddrError::Credentials);
        }
    }
}
