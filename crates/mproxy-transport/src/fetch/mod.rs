//! Fetching a file by HTTP, or asking for an answer, for those who configure a URL: revocation lists, OCSP.
//!
//! One request on a connection of its own, with a bound on its time and on its size. The caller judges the body
//! as it comes, and says whether there is room for more of it. Redirects are not followed: where mproxy connects
//! to is what an operator wrote, and nothing else.

mod body;
mod error;
mod url;

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
    },
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use mproxy_patience::timeout_at;
use std::time::Duration;
use tokio::{task::JoinSet, time::Instant};

use self::body::{Anything, Body};
pub use self::{body::Receive, error::FetchError, url::HttpUrl};
use crate::{
    connect::{DialOptions, Dialer, Resolver},
    later::later,
    tls::{TlsClient, TlsClientOptions},
    ws::Subprotocol,
};

/// Bounds on one fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct FetchLimits {
    /// Maximum time for all of it: name resolution, TLS, request and answer.
    pub timeout: Duration,
    /// The most bytes that a body may have.
    pub max_size: usize,
}

/// What a server said about the state of a file. Sent back, it lets the server answer that nothing has
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must look at both")]
pub enum Fetched {
    /// The file is as the validators say.
    Unchanged,
    /// The file.
    Body(Vec<u8>, Validators),
}

/// What is sent to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Content {
    /// Its media type.
    pub media_type: &'static str,
    /// The media type of the answer.
    pub accept: &'static str,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Fetches a file, unless it still is what `known` says. The server of an `https://` URL must have a
/// certificate of a CA that the system trusts.
///
/// # Errors
/// There is no connection, no answer in time, one with another status than 200, or a body that is too large
/// or not received.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn fetch(
    url: &HttpUrl,
    limits: FetchLimits,
    resolver: &Resolver,
    known: &Validators,
    receive: &mut impl Receive,
) -> Result<Fetched, FetchError> {
    let mut request = about(url, Request::get(url.path())).header(ACCEPT, "*/*");
    let conditions = [
        (IF_NONE_MATCH, &known.etag),
        (IF_MODIFIED_SINCE, &known.last_modified),
    ];
    for (name, value) in conditions {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let request = request.body(Full::default());
    match exchange(url, limits, resolver, request, receive).await {
        Ok((head, body)) => Ok(Fetched::Body(body, Validators::of(&head))),
        Err(FetchError::Redirect(StatusCode::NOT_MODIFIED)) if *known != Validators::default() => {
            Ok(Fetched::Unchanged)
        }
        Err(error) => Err(error),
    }
}

/// Sends something to a server by POST, and returns what it answers. About `https://`, see [`fetch`].
///
/// # Errors
/// As `fetch`.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn post(
    url: &HttpUrl,
    limits: FetchLimits,
    resolver: &Resolver,
    content: Content,
) -> Result<Vec<u8>, FetchError> {
    let request = about(url, Request::post(url.path()))
        .header(ACCEPT, content.accept)
        .header(CONTENT_TYPE, content.media_type)
        .body(Full::from(content.body));
    let (_, body) = exchange(url, limits, resolver, request, &mut Anything).await?;
    Ok(body)
}

/// What every request says.
fn about(url: &HttpUrl, request: Builder) -> Builder {
    request
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("mproxy/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "identity")
}

/// Sends a request. Returns the headers and the body of an answer with the status 200.
async fn exchange(
    url: &HttpUrl,
    limits: FetchLimits,
    resolver: &Resolver,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    receive: &mut impl Receive,
) -> Result<(HeaderMap, Vec<u8>), FetchError> {
    let request = request.map_err(|_| FetchError::Url)?;
    let mut due = later(Instant::now(), limits.timeout);
    // aborted when this future ends in any way
    let mut tasks = JoinSet::new();
    let late = |_| FetchError::TimedOut(limits.timeout);
    let answer = timeout_at(due, ask(url, limits, resolver, request, &mut tasks));
    let response = answer.await.map_err(late)??;
    match response.status() {
        StatusCode::OK => {
            let (head, incoming) = response.into_parts();
            let mut body = Body::new(incoming, limits.max_size)?;
            while let Some(new) = timeout_at(due, body.next()).await.map_err(late)?? {
                let began = Instant::now();
                body.add(&new, receive).await?;
                due += began.elapsed();
            }
            Ok((head.headers, body.bytes))
        }
        status if status.is_redirection() => Err(FetchError::Redirect(status)),
        status => Err(FetchError::Status(status)),
    }
}

/// Sends the request, and returns the answer as far as its head.
async fn ask(
    url: &HttpUrl,
    limits: FetchLimits,
    resolver: &Resolver,
    request: Request<Full<Bytes>>,
    tasks: &mut JoinSet<Result<(), hyper::Error>>,
) -> Result<Response<Incoming>, FetchError> {
    let options = DialOptions {
        connect_timeout: limits.timeout,
        ..DialOptions::default()
    };
    let mut dialer = Dialer::new(url.addr().clone(), options).resolver(resolver.clone());
    if url.addr().is_tls() {
        // the CAs of the system are read from files
        let tls = tokio::task::spawn_blocking(trusts_system).await;
        dialer = dialer.tls(tls.map_err(|_| FetchError::Stopped)??);
    }
    let stream = dialer.dial(Subprotocol::Mqtt).await;
    let stream = stream.map_err(|error| FetchError::Dial(error.into_cause()))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    tasks.spawn(connection);
    Ok(sender.send_request(request).await?)
}

fn trusts_system() -> Result<TlsClient, FetchError> {
    let options = TlsClientOptions {
        alpn: vec!["http/1.1".to_owned()],
        ..TlsClientOptions::default()
    };
    TlsClient::load(&options).map_err(FetchError::Trust)
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let short = |name: HeaderName| {
            let value = headers.get(name)?;
            (value.len() <= MAX_VALIDATOR).then(|| value.clone())
        };
        Self {
            etag: short(ETAG),
            last_modified: short(LAST_MODIFIED),
        }
    }
}

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The longest validator that is kept; no server makes one of a hundred bytes.
const MAX_VALIDATOR: usize = 256;
