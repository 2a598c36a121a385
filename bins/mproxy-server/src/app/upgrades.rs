//! What hooks see of the request that opened a WebSocket.

use mproxy_config as config;
use mproxy_session::UpgradeRequest;
use mproxy_transport::WsRequest;

const COOKIE: &str = "cookie";

/// The names of what is kept, besides the path and a few headers. All else is forgotten: a browser sends the
/// cookies of the whole site, and each connection would hold them as long as it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upgrades {
    /// In lower case.
    headers: Vec<String>,
    cookies: Vec<String>,
    query: Vec<String>,
}

impl Upgrades {
    pub(crate) fn of(listener: &config::Listener) -> Self {
        let headers = listener.headers.iter().map(|it| it.to_ascii_lowercase());
        Self {
            headers: headers.collect(),
            cookies: listener.cookies.clone(),
            query: listener.query.clone(),
        }
    }

    /// The headers that have to be kept for it.
    pub(crate) fn headers(&self) -> Vec<String> {
        let mut headers = self.headers.clone();
        if !self.cookies.is_empty() && !headers.iter().any(|it| it == COOKIE) {
            headers.push(COOKIE.to_owned());
        }
        headers
    }

    /// The part of a request that hooks see.
    pub(crate) fn select(&self, request: &WsRequest) -> UpgradeRequest {
        let mut upgrade = UpgradeRequest::new(self.uri(request.path(), request.query()));
        let usual = [
            ("host", request.host()),
            ("origin", request.origin()),
            ("user-agent", request.user_agent()),
            ("x-forwarded-for", request.forwarded_for()),
        ];
        let usual = usual.into_iter().filter(|(name, _)| !self.has(name));
        let named = self
            .headers
            .iter()
            .map(|name| (&**name, request.header(name)));
        for (name, value) in usual.chain(named) {
            if let Some(value) = value {
                upgrade.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        // if the whole header is kept, so is each cookie
        if !self.has(COOKIE)
            && let Some(cookies) = self.cookies_in(request.header(COOKIE).unwrap_or_default())
        {
            upgrade.headers.push((COOKIE.to_owned(), cookies));
        }
        upgrade
    }

    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|it| it == header)
    }

    fn uri(&self, path: &str, query: Option<&str>) -> String {
        let all = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let kept: Vec<_> = all
            .filter(|(name, _)| self.query.iter().any(|it| it == name))
            .collect();
        let mut uri = path.to_owned();
        if !kept.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            uri.push('?');
            uri.push_str(&query.extend_pairs(kept).finish());
        }
        uri
    }

    fn cookies_in(&self, header: &str) -> Option<String> {
        // several headers are joined with commas, which no cookie contains (RFC 6265, section 4.1.1)
        let all = header.split([';', ',']).map(str::trim);
        let is_kept = |cookie: &&str| {
            let name = cookie.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| self.cookies.iter().any(|it| it == name))
        };
        let kept: Vec<_> = all.filter(is_kept).collect();
        (!kept.is_empty()).then(|| kept.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mproxy_transport::{WsOptions, accept_websocket};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    fn upgrades(headers: &[&str], cookies: &[&str], query: &[&str]) -> Upgrades {
        let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        Upgrades {
            headers: owned(headers),
            cookies: owned(cookies),
            query: owned(query),
        }
    }

    #[test]
    fn only_named_parameters_and_cookies_are_kept() {
        let upgrades = upgrades(&[], &["session", "b"], &["token", "tenant"]);
        let query = Some("x=1&token=a%26b&tenant=%C3%A9&token=2");
        let uri = upgrades.uri("/mqtt", query);
        assert_eq!(uri, "/mqtt?token=a%26b&tenant=%C3%A9&token=2");
        assert_eq!(upgrades.uri("/mqtt", Some("x=1")), "/mqtt");
        assert_eq!(upgrades.uri("/", None), "/");
        let cookies = upgrades.cookies_in("theme=dark; session=\"x=1\", b=2; sessionid=3; c");
        assert_eq!(cookies.as_deref(), Some("session=\"x=1\"; b=2"));
        assert_eq!(upgrades.cookies_in("theme=dark"), None);
        assert_eq!(upgrades.headers(), ["cookie"]);
    }

    /// A request as a browser sends it, through the real handshake.
    #[tokio::test]
    async fn hooks_see_what_is_named_and_nothing_else() {
        let upgrades = upgrades(&["x-user", "x-none"], &["session"], &["token"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = "GET /mqtt?theme=1&token=a%20b HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nX-User: ann\r\nX-Other: 1\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
                Cookie: theme=dark; session=s3cret\r\n\r\n";
            client.write_all(request.as_bytes()).await.unwrap();
            client
        };
        let options = WsOptions::default().keep_headers(upgrades.headers());
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            accept_websocket(stream, &options).await.unwrap()
        };
        let (_client, (_stream, request)) = tokio::join!(client, server);
        let upgrade = upgrades.select(&request);
        assert_eq!(upgrade.uri, "/mqtt?token=a+b");
        assert_eq!(upgrade.query("token").as_deref(), Some("a b"));
        assert_eq!(upgrade.header("x-user"), Some("ann"));
        assert_eq!(upgrade.cookie("session"), Some("s3cret"));
        let names: Vec<_> = upgrade.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["host", "x-user", "cookie"]);
        // a log line of a hook that shows all of it
        let shown = format!("{upgrade:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("a+b"),
            "{shown}"
        );
    }

    #[test]
    fn without_names_nothing_more_is_asked_for() {
        assert!(Upgrades::default().headers().is_empty());
    }
}
