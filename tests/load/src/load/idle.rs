//! Connections that stand still, and no connection at all: loads whose meter looks at memory.

use std::time::{Duration, Instant};

use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::Version;

/// Connections made and closed before the first look, so that what a program sets up with its
/// first clients is not counted as theirs.
const WARM_UP: usize = 64;

pub(super) fn run(
    connections: usize,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    drop(Pool::connected(target, Version::V3, options, WARM_UP)?);
    meter.start()?;
    let start = Instant::now();
    // Held until the meter has looked again.
    let mut pool = Pool::connected(target, Version::V3, options, connections)?;
    // Every connection has seen traffic both ways beyond its CONNACK, as a device's would have.
    pool.settle(0)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count: pool.len() as u64,
        elapsed,
        latency: None,
    })
}

/// The process as it stands.
pub(super) fn base(meter: &mut dyn Meter) -> Result<Outcome, Error> {
    // a start is over when nothing moves any more; the same time for each proxy
    std::thread::sleep(Duration::from_secs(2));
    meter.start()?;
    meter.stop()?;
    Ok(Outcome {
        count: 1,
        elapsed: Duration::ZERO,
        latency: None,
    })
}
