//! One connection, from its socket to its last log line.
//!
//! ```text
//! accepted --open--> stream --serve--> Session::run(chain, dial) --report--> the last line
//!                                          `--> recorder: metrics, log
//! ```

#[cfg(feature = "ocsp")]
mod cleared;
mod counted;
mod handshake;
mod offended;
mod open;
mod proxied;
mod recorder;
mod remedy;
mod report;
mod serve;
mod tls;
mod unused;
