//! `mproxy-server`: the MQTT proxy, configured by TOML.
//!
//! ```text
//! cli -----> app ------> telemetry
//!   commands   the proxy   the log
//! ```
//! Exit codes are below all of them. The configuration is [`mproxy_config`], the demo's broker and
//! devices are `mproxy_demo`.

// The macros panic when the stream cannot be written, on a full disk or a closed pipe: cli::streams has
// what to use.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod cli;
mod exit;
mod telemetry;

pub use cli::dispatch;
