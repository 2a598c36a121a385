//! TLS as peers see it: tokio-rustls at the other end, and bytes that no library would send.

mod certificates;
mod chains;
mod dial;
mod handshake;
#[cfg(feature = "ocsp")]
mod ocsp;
mod pinned;
mod records;
mod revocation;
mod sizes;
mod support;
mod tickets;
mod trust;
