//! What connected clients notice while many others come at once.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use rustix::process::nice;

use super::latency::Latencies;
use super::message::Shape;
use super::paced::{Pace, measured};
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::{During, Error};

const CLIENTS: usize = 50;

/// Between two messages of one client.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often the others come: how they meet the messages differs much from one time to the next.
const BURSTS: usize = 3;

/// Of the thread that makes the others: its work must not delay the messages of the clients.
const NICENESS: i32 = 10;

pub(super) fn run(
    others: usize,
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let come = || -> Result<(), Error> {
        nice(NICENESS).during("lower the priority of a thread")?;
        for _ in 0..BURSTS {
            Pool::new(target, shape.version, options)?.grow_at_once(others)?;
        }
        Ok(())
    };
    let run = |pace: &Pace, pool: &mut Pool, latencies: &mut Latencies| {
        thread::scope(|scope| {
            let others = scope.spawn(come);
            // At least one message of each client, however quick the others are.
            let more = |sent| sent < CLIENTS || !others.is_finished();
            let count = pace.run_while(more, pool, latencies);
            let others = others.join().unwrap_or_else(|panic| resume_unwind(panic));
            others.and(count)
        })
    };
    measured(CLIENTS, INTERVAL, shape, target, options, meter, run)
}
