//! QoS 0 as fast as it goes, many packets a write.

use std::time::{Duration, Instant};

use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;

/// Sizes of a flood from the clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batched {
    clients: usize,
    /// Packets handed to the socket in one write.
    batch: usize,
}

impl Batched {
    /// About 32 KiB a write: a proxy's read buffer is the limit, not the generator's patience.
    pub(super) const SMALL: Self = Self {
        clients: 8,
        batch: 384,
    };
    /// Four packets of 16 KiB a write.
    pub(super) const LARGE: Self = Self {
        clients: 8,
        batch: 4,
    };

    pub(super) fn run(
        self,
        shape: Shape,
        target: &Target,
        options: &Options,
        meter: &mut dyn Meter,
    ) -> Result<Outcome, Error> {
        let mut pool = Pool::connected(target, shape.version, options, self.clients)?;
        let writes: Vec<Vec<u8>> = (0..self.clients)
            .map(|client| pool.prepare(&shape.publish(client, 0, 0).repeat(self.batch)))
            .collect();
        measure_flood(&mut pool, &writes, self.batch, options, meter)
    }
}

/// Warm-up, measured flood, and the check that everything arrived.
pub(super) fn measure_flood(
    pool: &mut Pool,
    writes: &[Vec<u8>],
    packets_a_write: usize,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let before = flood(pool, writes, options.warm_up())? * packets_a_write as u64;
    pool.settle(before)?;
    meter.start()?;
    let start = Instant::now();
    let count = flood(pool, writes, options.duration)? * packets_a_write as u64;
    pool.settle(before + count)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: None,
    })
}

/// Sends each connection's bytes over and over; returns how often in all.
fn flood(pool: &mut Pool, writes: &[Vec<u8>], duration: Duration) -> Result<u64, Error> {
    let end = Instant::now() + duration;
    let mut count = 0;
    let mut ready = Vec::new();
    // Connections whose socket takes more; the others come back when they are writable.
    let mut open: Vec<usize> = (0..writes.len()).collect();
    open.retain(|&client| pool.is_flushed(client));
    while Instant::now() < end {
        let mut at = 0;
        while let Some(&client) = open.get(at) {
            count += 1;
            if pool.send(client, &writes[client])? {
                at += 1;
            } else {
                open.swap_remove(at);
            }
        }
        if open.len() == writes.len() {
            continue;
        }
        let timeout = if open.is_empty() {
            end - Instant::now().min(end)
        } else {
            Duration::ZERO
        };
        pool.wait(timeout, &mut ready)?;
        for event in &ready {
            if event.writable {
                open.push(event.token);
            }
            if event.readable {
                pool.read(event.token, |_| ())?;
            }
        }
    }
    Ok(count)
}
