//! A client of the admin port of a running proxy.

use super::args::AdminArgs;
use super::streams::say;
use crate::exit::Exit;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fs;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// Maximum size of an answer: a thousand connections are half a megabyte.
const ANSWER_MAX: usize = 16 << 20;

/// How long to wait for the answer, if the proxy may need a while: a large configuration takes
/// seconds.
const PATIENT: Duration = Duration::from_secs(60);

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Why the request failed, as the proxy says.
    pub(super) fn error(&self) -> String {
        match self.json()["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!("{}: {}", self.status, self.body.trim_end()),
        }
    }

    /// What to do about it, as a separate line.
    pub(super) fn note(&self) -> String {
        let json = self.json();
        let remedy = json["remedy"].as_str();
        remedy.map_or_else(String::new, |it| format!("note: {it}\n"))
    }
}

/// Sends a GET, and reports on standard error if there is no answer.
///
/// # Errors
/// There was no answer; this was reported.
pub(super) fn ask(
    args: &AdminArgs,
    method: &Method,
    path: &str,
    body: String,
) -> Result<Answer, Exit> {
    let patience = args.timeout.unwrap_or(PATIENT);
    request(args, method, path, body, patience).map_err(|error| {
        say(format_args!("error: {}: {error}\n", args.url));
        if error.kind() == io::ErrorKind::ConnectionRefused {
            say(format_args!(
                "note: is mproxy running, with its admin port there? set another address with --url\n"
            ));
        }
        Exit::Unavailable
    })
}

/// Reports on standard error if it is the answer to a failure.
///
/// # Errors
/// It is; this was reported.
pub(super) fn expect(answer: Answer) -> Result<Answer, Exit> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    say(format_args!("error: {}\n{}", answer.error(), answer.note()));
    Err(Exit::Failure)
}

/// Sends a request.
///
/// # Errors
/// There is no answer.
pub(super) fn request(
    args: &AdminArgs,
    method: &Method,
    path: &str,
    body: String,
    patience: Duration,
) -> io::Result<Answer> {
    let uri: Uri = args.url.parse().map_err(invalid)?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
    let host = host.ok_or_else(|| invalid("expected http://HOST:PORT"))?;
    if !matches!(uri.path(), "" | "/") {
        return Err(invalid("expected http://HOST:PORT, without a path"));
    }
    let authority = uri.authority().map_or(host, |it| it.as_str());
    let port = match uri.port_u16() {
        Some(port) => port,
        None if authority.ends_with(host) => 80,
        // one that is no port is `None`, too
        None => return Err(invalid("the port is no number up to 65535")),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(file) = &args.token_file {
        let token = fs::read_to_string(file).map_err(|error| {
            let file = file.display();
            io::Error::new(error.kind(), format!("--token-file {file}: {error}"))
        })?;
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
    }
    let request = request.body(Full::<Bytes>::from(body)).map_err(invalid)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exchange = exchange((host.trim_matches(['[', ']']), port), request);
    let exchange = async { tokio::time::timeout(patience, exchange).await };
    runtime
        .block_on(exchange)
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
}

async fn exchange(to: (&str, u16), request: Request<Full<Bytes>>) -> io::Result<Answer> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX);
    let body = body.collect().await.map_err(io::Error::other)?;
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    })
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
