//! Reaching the broker.
//!
//! Resolve, connect, upgrade, all under one timeout. A TLS handshake would stand between the last
//! two, where the socket is a [`Stream`](crate::Stream) already.

mod dialer;
mod error;
mod resolver;

pub use self::{
    dialer::{DialOptions, Dialer},
    error::{DialCause, DialError},
    resolver::Resolver,
};
