//! Very many connections at once: the moment after a failure of the network.

use std::time::Instant;

use super::idle::WARM_UP;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::Version;

pub(super) fn run(
    connections: usize,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    Pool::connected(target, Version::V3, options, WARM_UP)?.settle(0)?;
    let mut pool = Pool::new(target, Version::V3, options)?;
    meter.start()?;
    let start = Instant::now();
    pool.grow_at_once(connections)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count: connections as u64,
        elapsed,
        latency: None,
    })
}
