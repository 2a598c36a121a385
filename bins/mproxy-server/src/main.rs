//! `mproxy-server`: the MQTT proxy, configured by TOML.

mod app;
mod cli;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod diagnostics;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::dispatch(cli::Cli::parse())
}
