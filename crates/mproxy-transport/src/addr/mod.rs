//! Address newtypes, one per role, so that a listener's address cannot be dialled by mistake.
//!
//! All of them parse from and print to the text an operator writes in the configuration, and
//! their errors say what to write instead. Nothing here resolves names or opens sockets.

mod client;
mod endpoint;
mod error;
mod listen;
mod upstream;

pub(crate) use self::endpoint::Endpoint;
pub(crate) use self::listen::Place;
pub(crate) use self::upstream::Carrier;
pub use self::{client::ClientAddr, error::AddrError, listen::ListenAddr, upstream::UpstreamAddr};
