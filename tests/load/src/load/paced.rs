//! QoS 1 at a fixed rate: what a quiet fleet looks like. The proxy sleeps between messages, so
//! this measures wake-ups.
//!
//! Open loop: a message is sent when it is due, whether or not the last one was acknowledged, and
//! its latency counts from then. A proxy that stalls cannot hide it by slowing the generator.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::latency::Latencies;
use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::first;

const CLIENTS: usize = 200;

/// Between two messages of one client.
const INTERVAL: Duration = Duration::from_millis(100);

/// It lasts so many times as long as the other loads: the proxy sleeps most of the time, and what a wake-up costs
/// varies with all that the machine does meanwhile.
const LONGER: u32 = 3;

pub(super) fn run(
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let run = |pace: &Pace, pool: &mut Pool, latencies: &mut Latencies| {
        pace.run_for(options.duration * LONGER, pool, latencies)
    };
    measured(CLIENTS, INTERVAL, shape, target, options, meter, run)
}

/// Measures what `run` does with connected clients that send at a pace, after they have warmed up.
pub(super) fn measured(
    clients: usize,
    interval: Duration,
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
    run: impl FnOnce(&Pace, &mut Pool, &mut Latencies) -> Result<u64, Error>,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, shape.version, options, clients)?;
    let pace = Pace::new(interval, shape, &pool);
    let mut latencies = Latencies::default();
    pace.run_for(options.warm_up(), &mut pool, &mut latencies)?;
    latencies.clear();
    meter.start()?;
    let start = Instant::now();
    let count = run(&pace, &mut pool, &mut latencies)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: latencies.percentiles(),
    })
}

/// What each client sends, and when.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    messages: Vec<Vec<u8>>,
    phases: Vec<(usize, Duration)>,
}

impl Pace {
    /// One message at QoS 1 of each client of `pool` in each interval.
    pub(super) fn new(interval: Duration, shape: Shape, pool: &Pool) -> Self {
        let messages = (0..pool.len()).map(|client| pool.prepare(&shape.publish(client, 1, 1)));
        Self {
            interval,
            messages: messages.collect(),
            phases: phases(pool.len(), interval),
        }
    }

    /// Returns the messages sent; all are acknowledged at the end.
    pub(super) fn run_for(
        &self,
        duration: Duration,
        pool: &mut Pool,
        latencies: &mut Latencies,
    ) -> Result<u64, Error> {
        // At least one round, however short the time.
        let rounds = (duration.as_millis() / self.interval.as_millis()).max(1);
        let total = self.phases.len() * rounds as usize;
        self.run_while(|sent| sent < total, pool, latencies)
    }

    /// Sends while `more` says so, which is told how many were sent; otherwise as
    /// [`run_for`](Self::run_for).
    pub(super) fn run_while(
        &self,
        mut more: impl FnMut(usize) -> bool,
        pool: &mut Pool,
        latencies: &mut Latencies,
    ) -> Result<u64, Error> {
        let start = Instant::now();
        let due = |sent: usize| {
            let (client, phase) = self.phases[sent % self.phases.len()];
            let round = u32::try_from(sent / self.phases.len()).unwrap_or(u32::MAX);
            (client, start + self.interval * round + phase)
        };
        let mut under_way = vec![VecDeque::new(); self.messages.len()];
        let (mut sent, mut acknowledged) = (0, 0);
        let mut ready = Vec::new();
        loop {
            let mut timeout = Duration::MAX;
            while more(sent) {
                let (client, at) = due(sent);
                timeout = at.saturating_duration_since(Instant::now());
                if !timeout.is_zero() {
                    break;
                }
                pool.send(client, &self.messages[client])?;
                under_way[client].push_back(at);
                sent += 1;
            }
            if acknowledged == sent && timeout == Duration::MAX {
                return Ok(sent as u64);
            }
            pool.wait(timeout, &mut ready)?;
            for event in ready.iter().filter(|event| event.readable) {
                let mut got = 0;
                pool.read(event.token, |frame| {
                    got += usize::from(frame.first == first::PUBACK)
                })?;
                let now = Instant::now();
                let under_way = &mut under_way[event.token];
                for at in under_way.drain(..got.min(under_way.len())) {
                    latencies.record(now - at);
                    acknowledged += 1;
                }
            }
        }
    }
}

/// Clients in the order in which they send within an interval, and when: spread at random, but
/// alike in every run.
fn phases(clients: usize, interval: Duration) -> Vec<(usize, Duration)> {
    let mut random = fastrand::Rng::with_seed(1);
    let interval = interval.as_nanos() as u64;
    let mut phase = || Duration::from_nanos(random.u64(..interval));
    let mut phases: Vec<_> = (0..clients).map(|client| (client, phase())).collect();
    phases.sort_by_key(|&(_, phase)| phase);
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_one_place_in_the_interval() {
        let phases = phases(CLIENTS, INTERVAL);
        let mut clients: Vec<usize> = phases.iter().map(|&(client, _)| client).collect();
        clients.sort_unstable();
        assert!(clients.into_iter().eq(0..CLIENTS));
        assert!(phases.is_sorted_by_key(|&(_, phase)| phase));
        assert!(phases.iter().all(|&(_, phase)| phase < INTERVAL));
        // Neither in step nor in a clump.
        let early = phases
            .iter()
            .filter(|(_, phase)| *phase < INTERVAL / 2)
            .count();
        assert!(
            (70..=130).contains(&early),
            "{early} of {CLIENTS} in the first half"
        );
    }
}
