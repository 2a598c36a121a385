//! The PROXY protocol, versions 1 and 2: who the client is, said by what stands in front.
//!
//! ```text
//! balancer --[header][TLS or WebSocket or MQTT]--> read_proxy_header --> accept_tls, accept_websocket
//! dialer   --[header][TLS or WebSocket or MQTT]--> broker
//! ```
//!
//! A header can claim any address. Whose headers are read is the caller's decision.
//!
//! Source: <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

mod error;
mod header;
mod read;

pub use self::{
    error::{ProxyCause, ProxyError},
    header::{ProxyHeader, ProxyTls, SendProxy},
    read::{AcceptProxy, read_proxy_header},
};
