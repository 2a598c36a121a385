//! Reaching the broker.
//!
//! ```text
//! dial ---> a round over all addresses, until one answers ---> a stream
//!           `-- none did: again after a pause, if asked for
//! ```
//! What one client finds out about an address counts for the next ones.

mod dialer;
mod error;
mod outages;
mod resolver;
mod round;

pub use self::{
    dialer::{DialOptions, Dialer, Dialled},
    error::{DialCause, DialError},
    resolver::Resolver,
};
