//! QoS 1 closed loop: each client has one message under way and sends the next when it is
//! acknowledged.

use std::time::{Duration, Instant};

use super::latency::Latencies;
use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::first;

const CLIENTS: usize = 64;

pub(super) fn run(
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, shape.version, options, CLIENTS)?;
    let messages: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|client| pool.prepare(&shape.publish(client, 1, 1)))
        .collect();
    let mut latencies = Latencies::default();
    run_loop(&mut pool, &messages, options.warm_up(), &mut latencies)?;
    latencies.clear();
    meter.start()?;
    let start = Instant::now();
    let count = run_loop(&mut pool, &messages, options.duration, &mut latencies)?;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: latencies.percentiles(),
    })
}

/// Returns the messages acknowledged; none is under way at the end.
fn run_loop(
    pool: &mut Pool,
    messages: &[Vec<u8>],
    duration: Duration,
    latencies: &mut Latencies,
) -> Result<u64, Error> {
    let start = Instant::now();
    let end = start + duration;
    let mut sent_at = vec![start; messages.len()];
    for (client, message) in messages.iter().enumerate() {
        sent_at[client] = Instant::now();
        pool.send(client, message)?;
    }
    let mut running = messages.len();
    let mut count = 0;
    let mut ready = Vec::new();
    while running > 0 {
        pool.wait(Duration::MAX, &mut ready)?;
        for event in ready.iter().filter(|event| event.readable) {
            let client = event.token;
            let mut acknowledged = 0;
            pool.read(client, |frame| {
                acknowledged += u64::from(frame.first == first::PUBACK)
            })?;
            if acknowledged == 0 {
                continue;
            }
            let now = Instant::now();
            count += acknowledged;
            latencies.record(now - sent_at[client]);
            if now < end {
                sent_at[client] = now;
                pool.send(client, &messages[client])?;
            } else {
                running -= 1;
            }
        }
    }
    Ok(count)
}
