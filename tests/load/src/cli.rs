//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mproxy_load::load::Load;
use mproxy_load::net::Endpoint;

#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer MQTT clients as fast as possible and keep nothing.
    Sink(SinkArgs),
    /// Run one load against an address and print the outcome as JSON.
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SinkArgs {
    /// IP:PORT or unix:PATH; the address is printed when the sink is ready.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Which load.
    pub(crate) load: Load,
    /// IP:PORT or unix:PATH; whatever answers must have the sink behind it.
    #[arg(long)]
    pub(crate) to: Endpoint,
    /// Carry MQTT over WebSocket, with this path.
    #[arg(long, value_name = "PATH")]
    pub(crate) websocket: Option<String>,
    /// Measured time of a load, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Connections of the idle load.
    #[arg(long, default_value_t = 2000)]
    pub(crate) idle: usize,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.01..=60.0).contains(&seconds) {
        return Err("must be from 0.01 to 60".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
