//! A little of everything: each client sends a turn of packets in one write and starts the next
//! turn when all answers are there.

use std::time::{Duration, Instant};

use super::latency::Latencies;
use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;
use crate::wire::{ack, first};

const CLIENTS: usize = 64;

/// Three at QoS 0, one that the sink sends back, one at QoS 1, one at QoS 2; and the echo.
const MESSAGES_A_TURN: u64 = 7;

const QOS1_ID: u16 = 1;
const QOS2_ID: u16 = 2;

/// Where one client is in its turn.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    acknowledged: bool,
    completed: bool,
    echoed: bool,
    /// PUBREC has come, PUBREL is to be sent.
    release: bool,
}

impl Turn {
    fn is_over(self) -> bool {
        self.acknowledged && self.completed && self.echoed
    }
}

pub(super) fn run(
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, shape.version, options, CLIENTS)?;
    pool.subscribe_all("load/echo")?;
    let turns: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|client| {
            let mut packets = shape.publish(client, 0, 0).repeat(3);
            packets.extend(shape.publish_to("load/echo", 0, 0));
            packets.extend(shape.publish(client, 1, QOS1_ID));
            packets.extend(shape.publish(client, 2, QOS2_ID));
            pool.prepare(&packets)
        })
        .collect();
    let mut latencies = Latencies::default();
    run_turns(&mut pool, &turns, options.warm_up(), &mut latencies)?;
    latencies.clear();
    meter.start()?;
    let start = Instant::now();
    let count = run_turns(&mut pool, &turns, options.duration, &mut latencies)? * MESSAGES_A_TURN;
    let elapsed = start.elapsed();
    meter.stop()?;
    Ok(Outcome {
        count,
        elapsed,
        latency: latencies.percentiles(),
    })
}

/// Returns the number of turns; none is under way at the end.
fn run_turns(
    pool: &mut Pool,
    packets: &[Vec<u8>],
    duration: Duration,
    latencies: &mut Latencies,
) -> Result<u64, Error> {
    let mut pubrel = Vec::new();
    ack(&mut pubrel, first::PUBREL, QOS2_ID);
    let pubrel = pool.prepare(&pubrel);
    let start = Instant::now();
    let end = start + duration;
    let mut turns = vec![(Turn::default(), start); packets.len()];
    for (client, packets) in packets.iter().enumerate() {
        turns[client].1 = Instant::now();
        pool.send(client, packets)?;
    }
    let mut running = turns.len();
    let mut count = 0;
    let mut ready = Vec::new();
    while running > 0 {
        pool.wait(Duration::MAX, &mut ready)?;
        for event in ready.iter().filter(|event| event.readable) {
            let (turn, started) = &mut turns[event.token];
            pool.read(event.token, |frame| match frame.first {
                first::PUBACK => turn.acknowledged = true,
                first::PUBREC => turn.release = true,
                first::PUBCOMP => turn.completed = true,
                _ if frame.is_publish() => turn.echoed = true,
                _ => {}
            })?;
            if std::mem::take(&mut turn.release) {
                pool.send(event.token, &pubrel)?;
            }
            if !turn.is_over() {
                continue;
            }
            let now = Instant::now();
            latencies.record(now - *started);
            count += 1;
            *turn = Turn::default();
            if now < end {
                *started = now;
                pool.send(event.token, &packets[event.token])?;
            } else {
                running -= 1;
            }
        }
    }
    Ok(count)
}
