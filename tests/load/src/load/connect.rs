//! Connections made and ended: connect, CONNECT, CONNACK, DISCONNECT, close.

use std::time::{Duration, Instant};

use super::latency::Latencies;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::{Version, first};

/// Under way at a time: enough to keep a proxy busy, too few to fill an accept queue.
const SLOTS: usize = 16;

pub(super) fn run(
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, Version::V3, options, SLOTS)?;
    let mut latencies = Latencies::default();
    cycles(&mut pool, options.warm_up(), &mut latencies)?;
    latencies.clear();
    meter.start()?;
    let start = Instant::now();
    let count = cycles(&mut pool, options.duration, &mut latencies)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: latencies.percentiles(),
    })
}

/// Returns the number of CONNACKs. The connections stand at the start and at the end, so there
/// are as many ends as beginnings in between.
fn cycles(pool: &mut Pool, duration: Duration, latencies: &mut Latencies) -> Result<u64, Error> {
    let start = Instant::now();
    let end = start + duration;
    let mut opened_at = vec![start; pool.len()];
    for (client, opened_at) in opened_at.iter_mut().enumerate() {
        pool.disconnect(client)?;
        *opened_at = Instant::now();
        pool.open(client)?;
    }
    let mut running = opened_at.len();
    let mut count = 0;
    let mut ready = Vec::new();
    while running > 0 {
        pool.wait(Duration::MAX, &mut ready)?;
        for event in ready.iter().filter(|event| event.readable) {
            let client = event.token;
            let mut accepted = false;
            pool.read(client, |frame| accepted |= frame.first == first::CONNACK)?;
            if !accepted {
                continue;
            }
            let now = Instant::now();
            latencies.record(now - opened_at[client]);
            count += 1;
            if now < end {
                pool.disconnect(client)?;
                opened_at[client] = Instant::now();
                pool.open(client)?;
            } else {
                running -= 1;
            }
        }
    }
    Ok(count)
}
