#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod addr;
mod connect;
mod listen;
mod stream;
mod tcp;
mod ws;

pub use self::{
    addr::{AddrError, ClientAddr, ListenAddr, UpstreamAddr},
    connect::{DialCause, DialError, DialOptions, Dialer, Resolver},
    listen::{Accepted, Acceptor, ListenOptions, Listener},
    stream::Stream,
    tcp::TcpOptions,
    ws::{
        HandshakeError, Subprotocol, WsCause, WsError, WsOptions, WsRefusal, WsRequest, WsStream,
        WsViolation, WsWriteTimeout, accept_websocket, accept_websocket_counted,
    },
};
