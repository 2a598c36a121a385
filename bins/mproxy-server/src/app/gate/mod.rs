//! Who may come in: limits that are judged when a connection is accepted, before anything is read.
//!
//! A limit must never become the weapon. So the limits of the client's own address come first, and
//! those that all clients share come last, and nothing is taken before all have agreed: a client that
//! is over a limit of its own costs the others nothing, however often it tries.
//!
//! ```text
//! own address    max_connections_per_ip, connection_rate_per_ip, max_pending_per_ip
//! all clients    max_pending, max_connections, server.max_connections   (a pending one makes room)
//! the last one   connection_rate
//! ```
//!
//! A connection is pending until its CONNECT was read. Silent sockets cost an attacker nothing, so
//! they must not keep clients out: where a limit that all share is reached, the oldest one of the client
//! that has most of them is closed, if it had its time.

mod client;
mod limit;
mod listener;
mod pass;
mod places;
mod rate;
mod state;

pub(crate) use self::limit::{Limited, Refused};
pub(crate) use self::listener::Rules;
pub(crate) use self::pass::{Admitted, Evicted, Gate, Gates, Pass};
