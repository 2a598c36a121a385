//! What clients notice of reloads: the paced load through mproxy, in turns without and with reloads of a
//! changed `acl`, beside sessions that are idle. Every reload has all sessions judged again.
//!
//! In turns, because the machine's mood drifts; the medians over the rounds count.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::median;
use crate::error::{During, Error};
use crate::load::{Load, NoMeter, Options, Percentiles, Target, hold};
use crate::peer::{Peer, Rig, Running, Variant};

/// The p99 with reloads may be so many times that without.
pub const BAR: f64 = 2.0;

/// What to run.
#[derive(Debug, Clone)]
pub struct Reloads {
    /// How often it is measured without and with reloads.
    pub rounds: u32,
    /// Reloads of a round, evenly spread over its time.
    pub count: u32,
    /// For each half of a round; `idle` sessions are open all the time.
    pub options: Options,
}

/// Latencies from when a PUBLISH was due to its PUBACK.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Of each round: without reloads, and with them.
    pub rounds: Vec<[Percentiles; 2]>,
    /// How many reloads were asked for, and how many mproxy has done.
    pub reloads: [u32; 2],
}

impl Reloads {
    /// Runs all rounds through one process.
    ///
    /// # Errors
    /// When a load fails, or the process ends.
    pub fn run(&self, rig: &Rig) -> Result<ReloadReport, Error> {
        let running = rig.put(Peer::Mproxy(Variant::Acl))?;
        let config = rig.mproxy_config();
        let text = std::fs::read_to_string(&config).during("read the configuration")?;
        let _idle = hold(&running.target, &self.options)?;
        let mut rounds = Vec::new();
        for round in 0..self.rounds {
            let without = self.paced(&running.target)?;
            let (over, ended) = channel::<()>();
            let with = std::thread::scope(|scope| {
                let reloads = scope.spawn({
                    let (running, config, text) = (&running, &config, &text);
                    let first = round * self.count;
                    move || self.reload(running, config, text, first, &ended)
                });
                let with = self.paced(&running.target);
                drop(over);
                let asked = reloads.join();
                asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                with
            })?;
            rounds.push([without, with]);
        }
        Ok(ReloadReport {
            rounds,
            reloads: [self.rounds * self.count, done(&text)?],
        })
    }

    fn paced(&self, target: &Target) -> Result<Percentiles, Error> {
        let outcome = Load::Paced.run(target, &self.options, &mut NoMeter)?;
        outcome.latency.ok_or(Error::Stopped)
    }

    /// Reloads another list each time.
    fn reload(
        &self,
        running: &Running,
        config: &Path,
        text: &str,
        first: u32,
        ended: &Receiver<()>,
    ) -> Result<(), Error> {
        let pid = running.pid.and_then(|pid| Pid::from_raw(pid as i32));
        let pid = pid.ok_or(Error::Stopped)?;
        let start = Instant::now();
        for number in 1..=self.count {
            let changed = text.replace("\"site-1/", &format!("\"site-1-{}/", first + number));
            let new = config.with_extension("new");
            std::fs::write(&new, changed).during("write the configuration")?;
            std::fs::rename(&new, config).during("rename the configuration")?;
            kill_process(pid, Signal::HUP).during("send SIGHUP")?;
            let due = start + self.options.duration * number / self.count;
            let pause = due.saturating_duration_since(Instant::now());
            if ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        Ok(())
    }
}

impl ReloadReport {
    /// The medians over the rounds, without reloads and with them, in microseconds.
    fn medians(&self, of: impl Fn(&Percentiles) -> f64) -> [f64; 2] {
        [0, 1].map(|half| {
            let values = self.rounds.iter().map(|round| of(&round[half]));
            median(values).unwrap_or(f64::NAN)
        })
    }

    /// The p99 with reloads over that without.
    pub fn ratio(&self) -> f64 {
        let [without, with] = self.medians(|it| it.p99_us);
        with / without
    }

    /// Whether every reload was done and the ratio is within [`BAR`].
    pub fn is_met(&self) -> bool {
        self.reloads[0] == self.reloads[1] && self.ratio() <= BAR
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | without reloads, us | with, us |\n|---|---|---|")?;
        let rows = [
            ("p50", self.medians(|it| it.p50_us)),
            ("p99", self.medians(|it| it.p99_us)),
            ("p999", self.medians(|it| it.p999_us)),
        ];
        for (name, [without, with]) in rows {
            writeln!(f, "| {name} | {without:.0} | {with:.0} |")?;
        }
        let [asked, done] = self.reloads;
        let met = if self.is_met() { "met" } else { "missed" };
        let ratio = self.ratio();
        writeln!(
            f,
            "\n{done} of {asked} reloads; p99 ratio {ratio:.2}, bar {BAR}: {met}"
        )
    }
}

/// How many reloads the process has done, by its metrics.
fn done(config: &str) -> Result<u32, Error> {
    // the admin port is the first that the configuration names
    let address = config.split("bind = \"").nth(1);
    let address = address.and_then(|it| it.split('"').next());
    let mut stream = TcpStream::connect(address.unwrap_or_default()).during("ask for metrics")?;
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request).during("ask for metrics")?;
    let timeout = Some(Duration::from_secs(10));
    stream
        .set_read_timeout(timeout)
        .during("read the metrics")?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    read.during("read the metrics")?;
    let name = "mproxy_config_reloads_total{result=\"success\"} ";
    let mut values = answer.lines().filter_map(|line| line.strip_prefix(name));
    Ok(values.next().and_then(|it| it.parse().ok()).unwrap_or(0))
}
