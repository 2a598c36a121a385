//! The limits on connections, judged when a connection is accepted, before anything is read.
//!
//! An attacker must not use a limit against others. So the limits of the client's own address come first, and
//! those that all clients share come last, and nothing is taken before all limits agree: a client that
//! is over its own limit costs the others nothing, however often it tries.
//!
//! ```text
//! own address    max_connections_per_ip, connection_rate_per_ip, max_pending_per_ip
//! all clients    max_pending, max_connections, server.max_connections   (a pending one makes room)
//! the last one   connection_rate
//! ```
//! The TLS handshake of one that got in is judged again, when its ClientHello has come: by
//! handshake_rate_per_ip and max_handshakes_per_ip, then by max_handshakes and handshake_rate.
//!
//! A load balancer that says who the client is has no limits of its own: its connections come in without an
//! address, and the limits of the client's are judged when it is known.
//!
//! A connection is pending until its CONNECT was read. Silent sockets cost an attacker nothing, so
//! they must not keep clients out: when a shared limit is reached, the gate closes the oldest pending
//! connection of the client with most of them, if it had its time. Until then a client with many of them leaves
//! the last places to others.

mod client;
mod counts;
mod handshakes;
mod limit;
mod listener;
mod pass;
mod places;
mod rate;
mod state;

pub(crate) use self::client::Client;
pub(crate) use self::handshakes::HandshakeRules;
pub(crate) use self::limit::{Limited, Refused};
pub(crate) use self::listener::Rules;
pub(crate) use self::pass::{Admitted, Gate, Gates, Pass};
pub(crate) use self::state::Evicted;
