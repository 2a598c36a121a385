//! The command line of the load tool.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use mproxy_load::load::{NoMeter, Options, Target};
use mproxy_load::net::raise_file_limit;
use mproxy_load::sink::Sink;
use mproxy_load::{Error, Stop};

use cli::{Cli, Command, RunArgs, SinkArgs};

fn main() -> ExitCode {
    let stop = Stop::new();
    let result = match Cli::parse().command {
        Command::Sink(args) => sink(&args, &stop),
        Command::Run(args) => run(args, &stop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error} {:?}", error);
            ExitCode::FAILURE
        }
    }
}

fn sink(args: &SinkArgs, stop: &Stop) -> Result<(), Error> {
    raise_file_limit()?;
    let sink = Sink::bind(&args.listen)?;
    println!("listening on {}", sink.endpoint());
    sink.run(stop)
}

fn run(args: RunArgs, stop: &Stop) -> Result<(), Error> {
    raise_file_limit()?;
    let target = Target {
        endpoint: args.to,
        websocket: args.websocket,
    };
    let options = Options {
        duration: args.seconds,
        idle: args.idle,
        stop: stop.clone(),
    };
    let outcome = args.load.run(&target, &options, &mut NoMeter)?;
    println!(
        "{outcome:?} {}/s",
        outcome.count as f64 / outcome.elapsed.as_secs_f64()
    );
    Ok(())
}
