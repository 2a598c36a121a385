//! The benchmark: every load through every peer, in turns, several rounds.
//!
//! In turns, because the machine's mood drifts: what is compared ran within a few seconds of each
//! other, and the median over the rounds of the *ratio* within a round is what counts.

mod bar;
mod markdown;
mod report;
mod stats;

use std::time::Duration;

use crate::error::Error;
use crate::load::{Load, Meter, Options, Unit};
use crate::measure::{ProcessMeter, Usage};
use crate::peer::{Peer, Rig, Variant};

pub use bar::Bar;
pub use report::{LoadReport, PeerReport, Report, Sample, Skipped};
pub(crate) use stats::median;

/// What to run.
#[derive(Debug, Clone)]
pub struct Bench {
    /// How often each load goes through each peer.
    pub rounds: usize,
    /// Which loads.
    pub loads: Vec<Load>,
    /// Which peers; those that cannot take part are skipped.
    pub peers: Vec<Peer>,
    /// For every load.
    pub options: Options,
}

impl Bench {
    /// The connections that the largest load needs.
    pub fn connections(&self) -> usize {
        let loads = self.loads.iter();
        let connections = loads.map(|load| load.connections(self.options.idle));
        connections.max().unwrap_or_default()
    }

    /// Runs everything; `progress` gets a line for each measurement.
    ///
    /// A load that fails through one peer is noted in the report, and the rest goes on.
    ///
    /// # Errors
    /// Only [`Error::Stopped`].
    pub fn run(&self, rig: &Rig, mut progress: impl FnMut(&str)) -> Result<Report, Error> {
        let mut report = Report::new(self);
        let mut peers = Vec::new();
        for &peer in &self.peers {
            match rig.missing(peer) {
                Some(why) => {
                    progress(&format!("{peer} is skipped: {why}"));
                    report.skip(peer, why);
                }
                None => peers.push(peer),
            }
        }
        for round in 0..self.rounds {
            for &load in &self.loads {
                let mut peers: Vec<Peer> = peers
                    .iter()
                    .copied()
                    .filter(|&peer| takes_part(load, peer))
                    .collect();
                // Nobody is always the first, or always behind the same neighbour's heat.
                let turn = round % peers.len().max(1);
                peers.rotate_left(turn);
                for peer in peers {
                    let result = measure(load, peer, rig, &self.options);
                    let what = match &result {
                        Ok(sample) => sample.to_string(),
                        Err(Error::Stopped) => return Err(Error::Stopped),
                        Err(error) => error.chain(),
                    };
                    progress(&format!(
                        "{}/{} {load} {peer}: {what}",
                        round + 1,
                        self.rounds
                    ));
                    report.add(load, peer, round, result);
                }
            }
        }
        report.finish();
        Ok(report)
    }
}

/// Whether a load says something about a peer.
fn takes_part(load: Load, peer: Peer) -> bool {
    match peer {
        Peer::HaproxyTls | Peer::NginxTls | Peer::Mproxy(Variant::Tls) => {
            Bar::of(load, Peer::Mproxy(Variant::Tls)).is_some()
        }
        // About the handshake of TLS.
        _ if matches!(load, Load::Handshakes | Load::Storm) => false,
        // There is no process to measure.
        Peer::Direct => !matches!(load, Load::Idle | Load::Base),
        Peer::Haproxy | Peer::Nginx | Peer::Mproxy(Variant::Plain) => true,
        Peer::Mproxy(Variant::Acl) => load != Load::Base,
        Peer::Mproxy(Variant::TopicMap) => matches!(
            load,
            Load::Batched | Load::ToClient | Load::Closed | Load::V5Batched | Load::Mix
        ),
        Peer::Mproxy(Variant::WebSocket) => matches!(
            load,
            Load::Batched | Load::ToClient | Load::Closed | Load::Connect | Load::Idle
        ),
        // No other load writes more than a few lines.
        Peer::Mproxy(Variant::Log) => load == Load::Connect,
        Peer::Mproxy(Variant::Full) => load == Load::Base,
    }
}

/// The proxy's meter, and those that show that generator and sink are not in the way.
struct Meters {
    peer: Option<ProcessMeter>,
    sink: ProcessMeter,
    generator: ProcessMeter,
}

impl Meter for Meters {
    fn start(&mut self) -> Result<(), Error> {
        self.sink.start()?;
        self.generator.start()?;
        self.peer.as_mut().map_or(Ok(()), Meter::start)
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.peer.as_mut().map_or(Ok(()), Meter::stop)?;
        self.generator.stop()?;
        self.sink.stop()
    }
}

/// One load through one peer that was started for it.
fn measure(load: Load, peer: Peer, rig: &Rig, options: &Options) -> Result<Sample, Error> {
    let running = rig.put(peer)?;
    let mut meters = Meters {
        peer: running.pid.map(ProcessMeter::new),
        sink: ProcessMeter::new(rig.sink_pid()),
        generator: ProcessMeter::own(),
    };
    let outcome = load.run(&running.target, options, &mut meters)?;
    let count = outcome.count as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count;
    let unit = load.unit();
    let value = |usage: Usage| {
        Some(match unit {
            Unit::Message | Unit::Cycle => micros(usage.cpu),
            Unit::Connection => {
                usage.pss_after_kib.saturating_sub(usage.pss_before_kib) as f64 / count
            }
            Unit::Process => usage.pss_before_kib as f64 / 1024.0,
            Unit::Latency => outcome.latency?.p99_us,
            Unit::Time => outcome.elapsed.as_secs_f64(),
        })
    };
    let value = meters.peer.and_then(|meter| meter.usage()).and_then(value);
    let rate = (!matches!(unit, Unit::Connection | Unit::Process))
        .then(|| count / outcome.elapsed.as_secs_f64());
    Ok(Sample {
        round: 0,
        value,
        rate,
        latency: outcome.latency,
        sink_us: meters.sink.usage().map(|usage| micros(usage.cpu)),
        generator_us: meters.generator.usage().map(|usage| micros(usage.cpu)),
    })
}
