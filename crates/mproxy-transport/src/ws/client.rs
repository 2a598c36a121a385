//! The client's side of the handshake: towards a broker, with hyper as on the other side.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    client::conn::http1,
    header::{
        CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::{
    handshake::{client::generate_key, derive_accept_key},
    protocol::Role,
};

use super::{Subprotocol, WsStream, negotiate::lists, options::Rules};
use crate::{sources::Sources, stream::Stream};

/// Why the WebSocket handshake with a broker failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The answer is not HTTP/1.1, too large, or cut off.
    #[error("no HTTP answer: {}", Sources(.0))]
    Http(#[source] hyper::Error),
    /// The request was answered, but not with an upgrade.
    #[error("the answer is {0}, not 101")]
    Status(u16),
    /// The upgrade is to something else, or the answer is not to this request.
    #[error("the answer's {0} header is missing or wrong")]
    Header(&'static str),
    /// The broker chose another subprotocol than was asked for, or none [MQTT-6.0.0-4].
    #[error("the broker does not agree on the subprotocol {0}")]
    Subprotocol(Subprotocol),
}

/// Upgrades a connected stream, and requires the subprotocol that was asked for.
pub(crate) async fn connect_websocket(
    stream: Stream,
    authority: &str,
    path: &str,
    subprotocol: Subprotocol,
    write_timeout: Duration,
) -> Result<Stream, HandshakeError> {
    let key = generate_key();
    let mut request = Request::new(Empty::<Bytes>::new());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    for (name, value) in [
        (HOST, authority),
        (CONNECTION, "Upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, &key),
        (SEC_WEBSOCKET_PROTOCOL, subprotocol.as_str()),
    ] {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(HandshakeError::Http)?;
    let exchange = async move {
        // Dropping sender and body at the end of this block ends the connection, if it is not
        // upgraded.
        let response = sender
            .send_request(request)
            .await
            .map_err(HandshakeError::Http)?;
        check(&response, &key, subprotocol)
    };
    let (checked, parts) = join(exchange, connection.without_shutdown()).await;
    checked?;
    let parts = parts.map_err(HandshakeError::Http)?;
    let io = parts.io.into_inner();
    let rules = Rules {
        max_message_size: MAX_BROKER_MESSAGE,
        write_timeout,
        ..Rules::default()
    };
    Ok(WsStream::new(io, parts.read_buf, Role::Client, rules).into())
}

/// RFC 6455 section 4.1, the list at its end.
fn check<B>(
    response: &Response<B>,
    key: &str,
    subprotocol: Subprotocol,
) -> Result<(), HandshakeError> {
    let headers = response.headers();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(HandshakeError::Status(response.status().as_u16()));
    }
    if !lists(headers, UPGRADE, "websocket") {
        return Err(HandshakeError::Header("upgrade"));
    }
    if !lists(headers, CONNECTION, "upgrade") {
        return Err(HandshakeError::Header("connection"));
    }
    let accept = headers.get(SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err(HandshakeError::Header("sec-websocket-accept"));
    }
    // None was offered.
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(HandshakeError::Header("sec-websocket-extensions"));
    }
    let mut chosen = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    match (chosen.next(), chosen.next()) {
        (Some(name), None) if name.as_bytes() == subprotocol.as_str().as_bytes() => Ok(()),
        _ => Err(HandshakeError::Subprotocol(subprotocol)),
    }
}

/// The default for requests.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// A message of a broker may hold any number of packets, and none of it is buffered: the bound is
/// that of one MQTT packet (256 MiB), below which no broker can be wrong.
const MAX_BROKER_MESSAGE: usize = 5 + 0x0fff_ffff;
