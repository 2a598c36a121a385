//! QoS 0, one packet a write, at a rate that everyone keeps up with.
//!
//! The companion of the `single` load. There, a slow proxy finds more packets in each read, and
//! the slower it is the less a message seems to cost; at a fixed rate each packet is read alone,
//! and figures repeat much better.

use std::time::{Duration, Instant};

use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;

const CLIENTS: usize = 64;

/// Between two packets of one client.
const INTERVAL: Duration = Duration::from_millis(1);

/// Clients that send at the same moment; the groups follow each other within the interval.
const GROUP: usize = 8;

pub(super) fn run(
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, shape.version, options, CLIENTS)?;
    let packets: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|client| pool.prepare(&shape.publish(client, 0, 0)))
        .collect();
    let before = send_all(&mut pool, &packets, options.warm_up())?;
    pool.settle(before)?;
    meter.start()?;
    let start = Instant::now();
    let count = send_all(&mut pool, &packets, options.duration)?;
    pool.settle(before + count)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: None,
    })
}

/// Returns the packets sent.
fn send_all(pool: &mut Pool, packets: &[Vec<u8>], duration: Duration) -> Result<u64, Error> {
    let step = INTERVAL * GROUP as u32 / CLIENTS as u32;
    let mut due = Instant::now();
    let end = due + duration;
    let mut ready = Vec::new();
    let mut count = 0;
    let mut client = 0;
    while due < end {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            pool.wait(wait, &mut ready)?;
            continue;
        }
        for _ in 0..GROUP {
            pool.send(client, &packets[client])?;
            client = (client + 1) % packets.len();
            count += 1;
        }
        due += step;
    }
    Ok(count)
}
