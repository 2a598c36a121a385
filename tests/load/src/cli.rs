//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mproxy_load::load::Load;
use mproxy_load::net::Endpoint;
use mproxy_load::peer::Peer;

/// Load generator, sink broker and benchmark of mproxy.
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
    /// Run one load against an address and print the outcome.
    Run(RunArgs),
    /// Run the loads direct and through HAProxy, nginx and mproxy, and compare.
    Bench(BenchArgs),
    /// Compare the latencies of clients without and with reloads.
    Reloads(ReloadsArgs),
    /// Become a program that ends when its parent does.
    #[command(hide = true)]
    Exec(ExecArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SinkArgs {
    /// IP:PORT or unix:PATH; the address is printed when the sink is ready.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: Endpoint,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Which load.
    pub(crate) load: Load,
    /// IP:PORT or unix:PATH; what answers there must have the sink behind it.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Endpoint,
    /// Carry MQTT over WebSocket, with this path.
    #[arg(long, value_name = "PATH")]
    pub(crate) websocket: Option<String>,
    /// Speak TLS, and trust the certificates of this PEM file.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Process id of what is between, to measure its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Measured time, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Connections of the idle load.
    #[arg(long, value_name = "COUNT", default_value_t = IDLE)]
    pub(crate) idle: usize,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Rounds; 5, or 2 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Measured time of a load, in seconds; 1, or 0.3 with --quick.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Connections of the idle load; 2000, or 500 with --quick.
    #[arg(long, value_name = "COUNT")]
    idle: Option<usize>,
    /// Fewer rounds, less time: to see that all works, not to compare.
    #[arg(long)]
    quick: bool,
    /// Only these loads.
    #[arg(long, value_delimiter = ',', default_values_t = Load::ALL)]
    pub(crate) loads: Vec<Load>,
    /// Only these peers.
    #[arg(long, value_delimiter = ',', default_values_t = Peer::ALL)]
    pub(crate) peers: Vec<Peer>,
    /// The proxy; by default the one that was built beside this tool.
    #[arg(long, value_name = "PATH")]
    pub(crate) mproxy: Option<PathBuf>,
    /// Write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Fail unless every bar is met.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReloadsArgs {
    /// How often it is measured without and with reloads.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Reloads of a round.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: u32,
    /// Measured time of a round without reloads, and again with them, in seconds.
    #[arg(long, default_value = "4", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Sessions that are idle meanwhile.
    #[arg(long, value_name = "COUNT", default_value_t = IDLE)]
    pub(crate) idle: usize,
    /// The proxy; by default the one that was built beside this tool.
    #[arg(long, value_name = "PATH")]
    pub(crate) mproxy: Option<PathBuf>,
    /// Fail unless the bar is met.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Connections of the idle load.
const IDLE: usize = 2000;

impl BenchArgs {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds
            .map_or(if self.quick { 2 } else { 5 }, usize::from)
    }

    pub(crate) fn duration(&self) -> Duration {
        let quick = Duration::from_millis(300);
        self.seconds.unwrap_or(if self.quick {
            quick
        } else {
            Duration::from_secs(1)
        })
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle
            .unwrap_or(if self.quick { IDLE / 4 } else { IDLE })
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Who must still be the parent.
    #[arg(long)]
    pub(crate) parent: u32,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.01..=60.0).contains(&seconds) {
        return Err("must be from 0.01 to 60".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn bench(args: &[&str]) -> BenchArgs {
        let args = ["mproxy-load", "bench"].iter().chain(args);
        match Cli::parse_from(args).command {
            Command::Bench(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn quick_changes_only_what_was_not_said() {
        let args = bench(&[]);
        assert_eq!((args.rounds(), args.idle()), (5, 2000));
        assert_eq!(args.loads, Load::ALL);
        let args = bench(&["--quick", "--rounds", "3", "--loads", "closed,paced"]);
        assert_eq!((args.rounds(), args.idle()), (3, 500));
        assert_eq!(args.duration(), Duration::from_millis(300));
        assert_eq!(args.loads, [Load::Closed, Load::Paced]);
    }
}
