//! MQTT over WebSocket, [MQTT-6.0.0-1] to [MQTT-6.0.0-4]; of MQTT itself only the subprotocol
//! names are known here.
//!
//! ```text
//! Stream --hyper http1--> request --negotiate--> refused: 4xx, linger, close
//!                                       |
//!                                       +------> 101 --> the same Stream, taken back from hyper
//!                                                        with the bytes read past the request
//!                                                        --> WsStream (tungstenite frames)
//! ```
//!
//! The handshake is hyper's and hyper-tungstenite's. The socket is then taken back as what it
//! was, so that no boxed HTTP connection stays under the WebSocket for its life.

mod accept;
mod client;
mod config;
mod error;
mod negotiate;
mod options;
mod request;
mod stream;
mod subprotocol;

pub(crate) use self::client::connect_websocket;
pub use self::{
    accept::accept_websocket,
    error::{WsError, WsViolation},
    options::WsOptions,
    request::WsRequest,
    stream::WsStream,
    subprotocol::Subprotocol,
};
