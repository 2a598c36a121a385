//! The server's side of the handshake: one HTTP/1.1 request, read by hyper and judged by
//! hyper-tungstenite.

use std::{
    convert::Infallible,
    future::{pending, poll_fn, ready},
    sync::{Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use futures_util::future::Either;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION,
        UPGRADE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use mproxy_patience::timeout_at;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{
    WsCause, WsError, WsOptions, WsRefusal, WsRequest, WsStream,
    negotiate::{Head, asked, negotiate},
    observed::Observed,
};
use crate::{beginning::Beginning, later::later, linger::linger, stream::Stream};

/// Upgrades a client to WebSocket and returns the stream inside the WebSocket, with the useful parts
/// of the request. Bytes that came right after the request are read first.
///
/// A refused request is answered with the status that says what is wrong (404, 405, 426, 403, 400, or
/// 431 for a head that is too large) and `Connection: close`.
///
/// # Errors
///
/// If the upgrade fails; the stream is then closed, after the answer had time to arrive.
///
/// # Cancel safety
///
/// Not cancel-safe: dropping the future closes the stream.
pub fn accept_websocket(
    stream: impl Into<Stream>,
    options: &WsOptions,
) -> impl Future<Output = Result<(Stream, WsRequest), WsError>> + Send {
    accept_websocket_counted(stream, options, |_| {})
}

/// Like [`accept_websocket`], for callers that count the memory of all connections: calls `held`
/// with the bytes that the upgrade holds for the client, whenever they increase.
///
/// # Errors
///
/// As above.
///
/// # Cancel safety
///
/// Not cancel-safe: dropping the future closes the stream.
pub fn accept_websocket_counted(
    stream: impl Into<Stream>,
    options: &WsOptions,
    mut held: impl FnMut(usize) + Send,
) -> impl Future<Output = Result<(Stream, WsRequest), WsError>> + Send {
    let stream = stream.into();
    // Boxed: the caller's task is kept for the session's life.
    Box::pin(async move {
        if stream.is_websocket() {
            let nothing = Beginning::default();
            return Err(WsError::new(WsCause::AlreadyUpgraded, nothing, None));
        }
        let deadline = later(Instant::now(), options.handshake_timeout);
        let mut stream = Observed::new(stream);
        let max = options.max_header_size.max(MIN_HEADER_BYTES);
        let head = poll_fn(|cx| {
            let polled = stream.poll_head(cx, max);
            held(stream.gathered());
            polled
        });
        if timeout_at(deadline, head).await.is_err() {
            // A client that has not sent its request waits for no answer.
            let (_, beginning) = stream.into_parts();
            return Err(WsError::new(WsCause::TimedOut, beginning, None));
        }
        held(stream.gathered() + HTTP_CONNECTION);
        // Only now, and boxed: an HTTP connection is large.
        Box::pin(upgrade(stream, options, deadline)).await
    })
}

async fn upgrade(
    stream: Observed,
    options: &WsOptions,
    deadline: Instant,
) -> Result<(Stream, WsRequest), WsError> {
    let outcome = Mutex::new(None);
    let outcome = || outcome.lock().unwrap_or_else(PoisonError::into_inner);
    let service = service_fn(|mut request: Request<Incoming>| {
        match agree(&mut request, options) {
            Ok(agreed) => {
                *outcome() = Some(Ok(agreed));
                // Not answered by the HTTP library: see `switching_protocols`.
                Either::Left(pending())
            }
            Err(refusal) => {
                *outcome() = Some(Err((refusal, asked(head(&request)))));
                let answer = refusal_response(refusal, options);
                Either::Right(ready(Ok::<_, Infallible>(answer)))
            }
        }
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(options.max_header_size.max(MIN_HEADER_BYTES))
        .max_headers(MAX_HEADERS)
        // The deadline of the whole upgrade covers the head as well.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let serving = poll_fn(|cx| {
        let polled = connection.poll_without_shutdown(cx);
        match &*outcome() {
            Some(Ok(_)) => Poll::Ready(Ok(())),
            _ => polled,
        }
    });
    // Inside of the future, so that what had come until then is still there to look at.
    let served = timeout_at(deadline, serving).await;
    let outcome = outcome().take();
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    let (mut stream, beginning) = io.into_inner().into_parts();
    let (cause, asked) = match (served, outcome) {
        (_, Some(Ok(agreed))) => {
            let answered = timeout_at(deadline, switch(&mut stream, &agreed)).await;
            return match answered.unwrap_or(Err(WsCause::TimedOut)) {
                Ok(()) => {
                    let stream = WsStream::server(stream, read_buf, options).into();
                    Ok((stream, agreed.request))
                }
                Err(cause) => Err(WsError::new(cause, beginning, None)),
            };
        }
        (_, Some(Err((refusal, asked)))) => (WsCause::Refused(refusal), Some(asked)),
        (Err(_), None) => {
            // A client that has not sent its request waits for no answer.
            return Err(WsError::new(WsCause::TimedOut, beginning, None));
        }
        (Ok(served), None) => (not_a_request(served, &beginning), None),
    };
    linger(stream).await;
    Err(WsError::new(cause, beginning, asked))
}

/// Answers that WebSocket is spoken from here on.
async fn switch(stream: &mut Stream, agreed: &Agreed) -> Result<(), WsCause> {
    let answer = switching_protocols(agreed);
    let written = stream.write_all(answer.as_bytes()).await;
    written.map_err(WsCause::Io)
}

/// Why there was no request.
fn not_a_request(served: hyper::Result<()>, beginning: &Beginning) -> WsCause {
    match (beginning.failure(), served) {
        (_, Err(error)) if error.is_parse_too_large() => WsCause::TooLarge(error),
        // Before the first byte, the HTTP library takes it for an end.
        (Some(error), _) => WsCause::Io(error),
        (None, Err(error)) => WsCause::Http(error),
        (None, Ok(())) => WsCause::Closed,
    }
}

/// The negotiated parameters.
struct Agreed {
    /// The answer to the client's key.
    accept: HeaderValue,
    request: WsRequest,
}

fn agree(request: &mut Request<Incoming>, options: &WsOptions) -> Result<Agreed, WsRefusal> {
    let subprotocol = negotiate(head(request), options)?;
    let kept = WsRequest::new(request.uri(), request.headers(), subprotocol, options);
    // The future beside the response would give a boxed connection: the caller takes the socket
    // itself back instead.
    let (mut response, _) =
        hyper_tungstenite::upgrade(request, None).map_err(|_| WsRefusal::Key)?;
    let accept = response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    Ok(Agreed {
        accept: accept.ok_or(WsRefusal::Key)?,
        request: kept,
    })
}

fn head(request: &Request<Incoming>) -> Head<'_> {
    Head {
        method: request.method(),
        uri: request.uri(),
        version: request.version(),
        headers: request.headers(),
        is_upgrade: hyper_tungstenite::is_upgrade_request(request),
    }
}

/// The answer to an upgrade, in the spelling of RFC 6455.
///
/// Names of headers have no case, but clients of some ESP32 toolkits look for
/// "Sec-WebSocket-Accept" and find nothing in the lower case that the HTTP library writes.
fn switching_protocols(agreed: &Agreed) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        agreed.accept.to_str().unwrap_or_default(),
        agreed.request.subprotocol().as_str(),
    )
}

fn refusal_response(refusal: WsRefusal, options: &WsOptions) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let text = format!(
        "{status}: {refusal}\n\n\
         This is an MQTT listener. Connect an MQTT client over WebSocket {paths},\n\
         with the subprotocol \"mqtt\" (or \"mqttv3.1\"), for example with MQTT.js:\n\n    \
         mqtt.connect(\"ws://HOST:PORT{example}\")\n",
        paths = options.paths.hint(),
        example = options.paths.example(),
    );
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    // One request a connection: what follows is frames, or nothing.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static(Method::GET.as_str()));
        }
        // RFC 9110 section 15.5.22 and RFC 6455 section 4.4.
        StatusCode::UPGRADE_REQUIRED => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        _ => {}
    }
    response
}

/// The memory of the HTTP library for a connection with a complete head.
const HTTP_CONNECTION: usize = 16 * 1024;
/// hyper's smallest.
const MIN_HEADER_BYTES: usize = 8 * 1024;
/// Twice what hyper and most web servers take: gateways before the proxy add their own.
const MAX_HEADERS: usize = 200;
