//! Accepting connections.
//!
//! ```text
//! Listener::bind --try_clone--> Listener --into_acceptor--> Acceptor --accept--> Accepted
//!  (no runtime)                 (one a worker)  (in a runtime)          (no runtime: may move)
//!                                                                          |
//!                                                              into_stream v
//!                                                                        Stream (in a runtime)
//! ```
//!
//! The socket and the runtime are kept apart on purpose: workers with a runtime each accept from
//! one socket, and a connection may be served by another worker than the one that accepted it,
//! without having been registered twice. What a PROXY header or a TLS handshake needs happens
//! after `into_stream`, on the worker that serves the connection.

mod accepted;
mod acceptor;
mod backoff;
mod listener;
mod passed;
mod socket_file;

pub use self::{
    accepted::Accepted,
    acceptor::Acceptor,
    listener::{ListenOptions, Listener},
    passed::PassedSockets,
};
