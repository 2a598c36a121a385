//! QoS 0 from the server as fast as it goes: each connection asks the sink for a flood, and for
//! the next one when it has it.

use std::time::{Duration, Instant};

use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;

const CLIENTS: usize = 8;

/// Messages of one flood: so many that the SUBSCRIBE does not count.
const FLOOD: u64 = 20_000;

pub(super) fn run(
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, shape.version, options, CLIENTS)?;
    let filter = format!("load/flood/{FLOOD}/{}", shape.payload);
    floods(&mut pool, &filter, options.warm_up())?;
    meter.start()?;
    let start = Instant::now();
    let count = floods(&mut pool, &filter, options.duration)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: None,
    })
}

/// Returns the messages received; every flood that was asked for has arrived.
fn floods(pool: &mut Pool, filter: &str, duration: Duration) -> Result<u64, Error> {
    let end = Instant::now() + duration;
    let subscribe = pool.subscribe_packet(filter);
    let mut left = vec![FLOOD; pool.len()];
    let mut running = left.len();
    for client in 0..running {
        pool.send(client, &subscribe)?;
    }
    let mut count = 0;
    let mut ready = Vec::new();
    while running > 0 {
        pool.wait(Duration::MAX, &mut ready)?;
        for event in ready.iter().filter(|event| event.readable) {
            let mut got = 0;
            pool.read(event.token, |frame| got += u64::from(frame.is_publish()))?;
            count += got;
            let left = &mut left[event.token];
            *left = left.checked_sub(got).ok_or(Error::Lost {
                sent: FLOOD,
                seen: FLOOD + got,
            })?;
            if *left > 0 || got == 0 {
                continue;
            }
            if Instant::now() < end {
                *left = FLOOD;
                pool.send(event.token, &subscribe)?;
            } else {
                running -= 1;
            }
        }
    }
    Ok(count)
}
