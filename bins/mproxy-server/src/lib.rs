//! `mproxy-server`: the MQTT proxy, configured by TOML.
//!
//! ```text
//! cli -----> app ------> telemetry
//!   commands   the proxy   the log
//! ```
//! Exit codes are below all of them. The configuration is [`mproxy_config`], the demo's broker and
//! devices are `mproxy_demo`.

// The macros panic if the stream cannot be written (a full disk, a closed pipe): use
// cli::streams instead.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod cli;
mod exit;
mod telemetry;

pub use cli::dispatch;
