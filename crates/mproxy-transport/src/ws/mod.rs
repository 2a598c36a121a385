//! MQTT over WebSocket, [MQTT-6.0.0-1] to [MQTT-6.0.0-4]; of MQTT itself only the subprotocol
//! names are known here.
//!
//! ```text
//! Stream --hyper http1--> request --negotiate--> refused: 4xx, linger, close
//!                                       |
//!                                       +------> 101 --> the same Stream, taken back from hyper
//!                                                        with the bytes read past the request
//!                                                        --> WsStream
//! ```
//!
//! The head of the request is gathered, then read by hyper, which also writes refusals. The socket is then taken back as what
//! it was, so that no boxed HTTP connection stays under the WebSocket for its life.
//!
//! Below `WsStream`, [`deframe`] reads (frame headers are tungstenite's) and [`outbox`] holds what
//! the socket did not take. Nothing is gathered into messages, so nothing is allocated because a
//! length field said so, and an idle connection owns no buffer.

mod accept;
mod client;
mod deframe;
mod error;
mod idle;
mod mask;
mod negotiate;
mod observed;
mod options;
mod outbox;
mod paths;
mod request;
mod stream;
mod subprotocol;
mod timeout;
mod violation;

pub use self::{
    accept::{accept_websocket, accept_websocket_counted},
    client::HandshakeError,
    error::{WsCause, WsError, WsRefusal},
    options::WsOptions,
    request::WsRequest,
    stream::WsStream,
    subprotocol::Subprotocol,
    timeout::WsWriteTimeout,
    violation::WsViolation,
};
pub(crate) use self::{client::connect_websocket, options::WRITE_TIMEOUT};
