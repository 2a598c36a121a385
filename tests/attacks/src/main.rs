//! Runs attacks and prints what they did as a table.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use mproxy_attacks::attack::{ALL, Attack, Memory};
use mproxy_attacks::{Latencies, Outcome, Rig, raise_descriptor_limit};
use serde_json::Value;

/// Attacks mproxy before a real mosquitto and prints a table: what each attack cost, and what a client
/// that means well noticed.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Attacks to run, by name; all without any.
    attacks: Vec<String>,
    /// The program to attack; what cargo builds if there is none.
    #[arg(long)]
    mproxy: Option<PathBuf>,
    /// What clients connect over; attacks on TLS itself are always over TLS.
    #[arg(long, value_enum, default_value_t = Over::Both)]
    over: Over,
    /// Seconds that an attack lasts.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Seconds from the end of an attack to the last look at the memory.
    #[arg(long, default_value_t = 3)]
    rest: u64,
    /// Names the attacks.
    #[arg(long)]
    list: bool,
}

/// What clients connect over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Over {
    Plain,
    Tls,
    Both,
}

impl Over {
    /// Whether to run an attack without TLS, and with it.
    fn ways(self, attack: &Attack) -> impl Iterator<Item = bool> {
        let plain = self != Self::Tls && !attack.kind.is_for_tls();
        let tls = self != Self::Plain;
        [(plain, false), (tls, true)]
            .into_iter()
            .filter_map(|(runs, secure)| runs.then_some(secure))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        for attack in ALL {
            println!("{:24} {}", attack.name, attack.what);
        }
        return ExitCode::SUCCESS;
    }
    let mut chosen: Vec<&Attack> = Vec::new();
    for name in &cli.attacks {
        let Some(attack) = ALL.iter().find(|attack| attack.name == name) else {
            eprintln!("there is no attack {name}: --list names them");
            return ExitCode::FAILURE;
        };
        chosen.push(attack);
    }
    if chosen.is_empty() {
        chosen.extend(ALL);
    }
    if let Err(error) = raise_descriptor_limit() {
        eprintln!("the limit of open files cannot be raised: {error}");
    }
    println!("{HEAD}");
    let runs = chosen.into_iter();
    let runs = runs.flat_map(|attack| cli.over.ways(attack).map(move |secure| (attack, secure)));
    for (attack, secure) in runs {
        let rig = Rig::start(attack, secure, cli.mproxy.as_deref()).await;
        let contained = !matches!(attack.memory, Memory::Container(_)) || rig.is_contained();
        let length = Duration::from_secs(cli.seconds);
        let outcome = rig.run(attack, length, Duration::from_secs(cli.rest)).await;
        println!("{}", row(attack, secure, &outcome));
        if !contained {
            eprintln!(
                "{}: no control group could be made: run as root",
                attack.name
            );
        }
    }
    ExitCode::SUCCESS
}

const HEAD: &str = "| attack | Pss before / peak / after, MiB | CPU % | good PUBLISH p50 / p99, ms (failed of all) \
| good CONNECT p50 / p99, ms (failed of all) | attackers' connections opened / cut | log lines | the last warning |\n\
|---|---|---|---|---|---|---|---|";

fn row(attack: &Attack, secure: bool, outcome: &Outcome) -> String {
    let mib = |kib: Option<u64>| match kib {
        Some(kib) => format!("{:.1}", kib as f64 / 1024.0),
        None => "**gone**".to_owned(),
    };
    let cpu = outcome
        .cpu
        .map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
    format!(
        "| {}{}: {} | {} / {} / {} | {cpu} | {} | {} | {} / {} | {} | {} |",
        attack.name,
        if secure { ", TLS" } else { "" },
        attack.what,
        mib(outcome.before),
        mib(Some(outcome.peak)),
        mib(outcome.after),
        served(&outcome.good.publishes),
        served(&outcome.good.connects),
        outcome.opened,
        outcome.cut,
        outcome.lines.len(),
        last_warning(&outcome.lines),
    )
}

fn served(latencies: &Latencies) -> String {
    let ms = |share| match latencies.percentile(share) {
        Some(time) => format!("{:.1}", time.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    };
    let all = latencies.failures + latencies.served();
    format!("{} / {} ({} of {all})", ms(50), ms(99), latencies.failures)
}

/// The last line above INFO, by the fields that tell most.
fn last_warning(lines: &[Value]) -> String {
    let is_loud = |line: &&Value| line["level"] == "WARN" || line["level"] == "ERROR";
    let Some(line) = lines.iter().rev().find(is_loud) else {
        return String::new();
    };
    let fields = ["message", "reason", "limit", "peer", "suppressed", "detail"];
    let told = fields.iter().filter_map(|field| match &line[field] {
        Value::Null => None,
        Value::String(text) => Some(format!("{field}={text}")),
        other => Some(format!("{field}={other}")),
    });
    let text: String = told.collect::<Vec<_>>().join(" ").replace('|', "/");
    text.chars().take(SHOWN).collect()
}

/// Characters of a log line in the table.
const SHOWN: usize = 160;
