//! Connections that stand still, and no connection at all: loads whose meter looks at memory.

use std::time::{Duration, Instant};

use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::Version;

/// Connections made and closed before the first look, so that what a program sets up with its
/// first clients is not counted as theirs.
pub(super) const WARM_UP: usize = 64;

/// Gives a proxy the time to finish its start, and to return memory that it needed for a moment. Every
/// proxy gets the same time.
#[expect(
    clippy::disallowed_methods,
    reason = "the generator has a thread of its own"
)]
fn come_to_rest() {
    std::thread::sleep(Duration::from_secs(2));
}

pub(super) fn run(
    connections: usize,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    come_to_rest();
    Pool::connected(target, Version::V3, options, WARM_UP)?.settle(0)?;
    meter.start()?;
    let start = Instant::now();
    // Held until the meter has looked again.
    let mut pool = Pool::connected(target, Version::V3, options, connections)?;
    // Every connection has seen traffic both ways beyond its CONNACK, as a device's would have.
    pool.settle(0)?;
    come_to_rest();
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
    come_to_rest();
    meter.start()?;
    meter.stop()?;
    Ok(Outcome {
        count: 1,
        elapsed: Duration::ZERO,
        latency: None,
    })
}
