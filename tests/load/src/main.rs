//! The command line of the load tool.

mod cli;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use mproxy_load::bench::Bench;
use mproxy_load::load::{Meter, NoMeter, Options, Target};
use mproxy_load::measure::ProcessMeter;
use mproxy_load::net::{Tls, raise_file_limit};
use mproxy_load::peer::{DeathPact, Rig};
use mproxy_load::reloads::Reloads;
use mproxy_load::sink::Sink;
use mproxy_load::{Error, Stop};
use tokio::signal::unix::{SignalKind, signal};

use cli::{BenchArgs, Cli, Command, ReloadsArgs, RunArgs, SinkArgs};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if let Command::Exec(args) = command {
        // Before any thread exists: the pact is made by the thread that becomes the program.
        return finish(
            DeathPact {
                parent: args.parent,
                command: args.command,
            }
            .exec()
            .map(|()| true),
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run_until_signal(command)),
        Err(source) => Err(Error::Io {
            action: "start the runtime".into(),
            source,
        }),
    };
    finish(result)
}

fn finish(result: Result<bool, Error>) -> ExitCode {
    match result {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => eprintln!("error: {}", error.chain()),
    }
    ExitCode::FAILURE
}

/// Runs the command on a thread of its own; the first SIGINT or SIGTERM asks it to end, so that
/// every guard is dropped and nothing is left behind.
async fn run_until_signal(command: Command) -> Result<bool, Error> {
    let stop = Stop::new();
    let io = |source| Error::Io {
        action: "listen for signals".into(),
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let mut work = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || run(command, &stop)
    });
    let result = tokio::select! {
        result = &mut work => result,
        _ = interrupt.recv() => {
            stop.set();
            work.await
        }
        _ = terminate.recv() => {
            stop.set();
            work.await
        }
    };
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// `false` is a failure that was already told.
fn run(command: Command, stop: &Stop) -> Result<bool, Error> {
    match command {
        Command::Sink(args) => sink(&args, stop).map(|()| true),
        Command::Run(args) => load(args, stop).map(|()| true),
        Command::Bench(args) => bench(&args, stop),
        Command::Reloads(args) => reloads(&args, stop),
        Command::Exec(_) => Ok(true),
    }
}

fn sink(args: &SinkArgs, stop: &Stop) -> Result<(), Error> {
    raise_file_limit()?;
    let sink = Sink::bind(&args.listen)?;
    print(&format!("listening on {}\n", sink.endpoint()))?;
    sink.run(stop)
}

fn load(args: RunArgs, stop: &Stop) -> Result<(), Error> {
    raise_file_limit()?;
    let target = Target {
        endpoint: args.to,
        websocket: args.websocket,
        tls: args.ca.as_deref().map(Tls::trusting).transpose()?,
    };
    let options = Options {
        duration: args.seconds,
        idle: args.idle,
        stop: stop.clone(),
    };
    let mut process = args.pid.map(ProcessMeter::new);
    let mut none = NoMeter;
    let meter: &mut dyn Meter = match &mut process {
        Some(meter) => meter,
        None => &mut none,
    };
    let outcome = args.load.run(&target, &options, meter)?;
    let rate = outcome.count as f64 / outcome.elapsed.as_secs_f64();
    let mut text = format!(
        "{}: {} in {:?}, {rate:.0}/s\n",
        args.load, outcome.count, outcome.elapsed
    );
    if let Some(latency) = outcome.latency {
        text += &format!(
            "latency: p50 {} us, p99 {} us, p999 {} us\n",
            latency.p50_us, latency.p99_us, latency.p999_us
        );
    }
    if let Some(usage) = process.and_then(|meter| meter.usage()) {
        let micros = usage.cpu.as_secs_f64() * 1e6 / outcome.count as f64;
        text += &format!(
            "CPU: {micros:.3} us each; Pss: {} KiB before, {} KiB after\n",
            usage.pss_before_kib, usage.pss_after_kib
        );
    }
    print(&text)
}

fn bench(args: &BenchArgs, stop: &Stop) -> Result<bool, Error> {
    let io = |action: &str| {
        let action = action.to_owned();
        move |source| Error::Io { action, source }
    };
    let options = Options {
        duration: args.duration(),
        idle: args.idle(),
        stop: stop.clone(),
    };
    let bench = Bench {
        rounds: args.rounds(),
        loads: args.loads.clone(),
        peers: args.peers.clone(),
        options,
    };
    let rig = rig(args.mproxy.as_deref(), bench.connections(), stop)?;
    eprintln!("sink at {}", rig.sink_endpoint());
    let report = bench.run(&rig, |line| eprintln!("{line}"))?;
    print(&report.to_string())?;
    if let Some(path) = &args.json {
        let file = File::create(path).map_err(io("create the JSON file"))?;
        serde_json::to_writer_pretty(file, &report)?;
    }
    let (met, all) = report.bars();
    Ok(report.is_complete() && (met == all || !args.check))
}

fn reloads(args: &ReloadsArgs, stop: &Stop) -> Result<bool, Error> {
    let reloads = Reloads {
        rounds: args.rounds,
        count: args.count,
        options: Options {
            duration: args.seconds,
            idle: args.idle,
            stop: stop.clone(),
        },
    };
    let report = reloads.run(&rig(args.mproxy.as_deref(), args.idle, stop)?)?;
    print(&report.to_string())?;
    Ok(report.is_met() || !args.check)
}

/// The peers, with the proxy that was built beside this tool unless another one is named.
fn rig(mproxy: Option<&Path>, connections: usize, stop: &Stop) -> Result<Rig, Error> {
    let own = std::env::current_exe().map_err(|source| Error::Io {
        action: "find the own executable".into(),
        source,
    })?;
    let beside = own.with_file_name("mproxy-server");
    Rig::start(&own, mproxy.unwrap_or(&beside), connections, stop)
}

/// Prints, and tells a closed pipe instead of panicking about it.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| Error::Io {
            action: "print".into(),
            source,
        })
}
