//! The outcome of a benchmark, for machines; the markdown is made from it.

use std::fmt;

use serde::Serialize;

use super::bar::Bar;
use super::stats::{median, median_ratio};
use super::{Bench, takes_part};
use crate::error::Error;
use crate::load::{Load, Percentiles, Unit};
use crate::peer::{Peer, Variant};

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Processes that wanted to run in the minute before the start, on average: more than a few
    /// tenths mean that somebody else was measured as well.
    pub load_average: Option<f64>,
    /// Rounds that were run.
    pub rounds: usize,
    /// Measured seconds of a load that runs for a time.
    pub seconds: f64,
    /// Connections of the idle load.
    pub idle_connections: usize,
    /// Peers that could not take part.
    pub skipped: Vec<Skipped>,
    /// In the order in which they ran.
    pub loads: Vec<LoadReport>,
}

/// A peer that could not take part.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// Its name.
    pub peer: &'static str,
    /// Why, and how to get it.
    pub why: String,
}

/// One load through all peers.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// Its name on the command line.
    pub load: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What the values are: microseconds a message, KiB a connection, ...
    pub unit: &'static str,
    /// In the order of the report.
    pub peers: Vec<PeerReport>,
    #[serde(skip)]
    kind: Load,
}

/// One load through one peer.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PeerReport {
    /// The peer's name.
    pub peer: &'static str,
    /// Median of the values.
    pub value: Option<f64>,
    /// Median over the rounds of the ratio to HAProxy in the same round, both with TLS or both without.
    pub times_haproxy: Option<f64>,
    /// The same, to mproxy without hooks over TCP.
    pub times_mproxy: Option<f64>,
    /// What must be reached.
    pub bar: Option<Bar>,
    /// Whether it was; absent without a bar or without what the bar speaks of.
    pub passed: Option<bool>,
    /// One for each round that succeeded.
    pub samples: Vec<Sample>,
    /// One for each round that failed.
    pub errors: Vec<String>,
    #[serde(skip)]
    kind: Peer,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// Counted from 0.
    pub round: usize,
    /// In the load's unit; none without a proxy.
    pub value: Option<f64>,
    /// Messages or cycles a second.
    pub rate: Option<f64>,
    /// Of the loads that wait for answers.
    pub latency: Option<Percentiles>,
    /// CPU time of the sink, in microseconds a message.
    pub sink_us: Option<f64>,
    /// CPU time of the generator, in microseconds a message.
    pub generator_us: Option<f64>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value, self.rate) {
            (Some(value), Some(rate)) => write!(f, "{value:.3}, {rate:.0}/s"),
            (Some(value), None) => write!(f, "{value:.3}"),
            (None, Some(rate)) => write!(f, "{rate:.0}/s"),
            (None, None) => f.write_str("nothing measured"),
        }
    }
}

impl Report {
    pub(super) fn new(bench: &Bench) -> Self {
        let peers = |load| {
            let peers = bench
                .peers
                .iter()
                .filter(move |&&peer| takes_part(load, peer));
            peers.map(|&peer| PeerReport::new(load, peer)).collect()
        };
        let loads = bench.loads.iter().map(|&load| LoadReport {
            load: load.name(),
            title: load.title(),
            unit: match load.unit() {
                Unit::Message => "CPU us a message",
                Unit::Cycle => "CPU us a cycle",
                Unit::Connection => "KiB a connection",
                Unit::Process => "MiB",
                Unit::Latency => "p99 us",
                Unit::Time => "s",
            },
            peers: peers(load),
            kind: load,
        });
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: load_average(),
            rounds: bench.rounds,
            seconds: bench.options.duration.as_secs_f64(),
            idle_connections: bench.options.idle,
            skipped: Vec::new(),
            loads: loads.collect(),
        }
    }

    pub(super) fn skip(&mut self, peer: Peer, why: String) {
        self.skipped.push(Skipped {
            peer: peer.name(),
            why,
        });
        for load in &mut self.loads {
            load.peers.retain(|report| report.kind != peer);
        }
    }

    pub(super) fn add(
        &mut self,
        load: Load,
        peer: Peer,
        round: usize,
        result: Result<Sample, Error>,
    ) {
        let report = self
            .loads
            .iter_mut()
            .find(|report| report.kind == load)
            .and_then(|report| report.peers.iter_mut().find(|report| report.kind == peer));
        let Some(report) = report else { return };
        match result {
            Ok(sample) => report.samples.push(Sample { round, ..sample }),
            Err(error) => report.errors.push(error.chain()),
        }
    }

    /// Computes the medians and compares them with the bars.
    pub(super) fn finish(&mut self) {
        for load in &mut self.loads {
            let of = |peer| {
                let report = load.peers.iter().find(|report| report.kind == peer);
                report.map(PeerReport::values).unwrap_or_default()
            };
            let haproxy = [Peer::Haproxy, Peer::HaproxyTls].map(of);
            let mproxy = of(Peer::Mproxy(Variant::Plain));
            for report in &mut load.peers {
                let haproxy = &haproxy[usize::from(report.kind.speaks_tls())];
                report.finish(haproxy, &mproxy);
            }
        }
    }

    /// Bars that were met and bars that there are, among the pairs that were run.
    pub fn bars(&self) -> (usize, usize) {
        let bars = || {
            self.loads
                .iter()
                .flat_map(|load| &load.peers)
                .filter(|p| p.bar.is_some())
        };
        (
            bars().filter(|peer| peer.passed == Some(true)).count(),
            bars().count(),
        )
    }

    /// Whether no load failed through any peer.
    pub fn is_complete(&self) -> bool {
        self.loads
            .iter()
            .flat_map(|load| &load.peers)
            .all(|peer| peer.errors.is_empty())
    }
}

impl PeerReport {
    fn new(load: Load, peer: Peer) -> Self {
        Self {
            peer: peer.name(),
            value: None,
            times_haproxy: None,
            times_mproxy: None,
            bar: Bar::of(load, peer),
            passed: None,
            samples: Vec::new(),
            errors: Vec::new(),
            kind: peer,
        }
    }

    /// Values by round.
    fn values(&self) -> Vec<(usize, f64)> {
        let values = self
            .samples
            .iter()
            .map(|sample| Some((sample.round, sample.value?)));
        values.flatten().collect()
    }

    fn finish(&mut self, haproxy: &[(usize, f64)], mproxy: &[(usize, f64)]) {
        let values = self.values();
        self.value = median(values.iter().map(|value| value.1));
        if self.kind != self.kind.haproxy() {
            self.times_haproxy = median_ratio(&values, haproxy);
        }
        if matches!(self.kind, Peer::Mproxy(variant) if variant != Variant::Plain) {
            self.times_mproxy = median_ratio(&values, mproxy);
        }
        self.passed = self
            .bar
            .and_then(|bar| bar.is_met(self.value, self.times_haproxy, self.times_mproxy));
        if self.bar.is_some() && !self.errors.is_empty() {
            self.passed = Some(false);
        }
    }

    /// Smallest and largest value.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let values = || self.samples.iter().filter_map(|sample| sample.value);
        Some((values().reduce(f64::min)?, values().reduce(f64::max)?))
    }

    /// Median over the rounds of anything that a sample has.
    pub(super) fn median_of(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples.iter().filter_map(of))
    }
}

fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
