//! The generator: loads that run against an address and say how fast it was.
//!
//! One thread. A load opens its connections, warms up, tells a [`Meter`] to start, runs for its
//! time, waits until the far end has seen everything, and tells the meter to stop. So what the
//! meter sees (the CPU time of a proxy, say) belongs to exactly the messages that are counted.

mod batched;
mod client;
mod closed;
mod connect;
mod handshakes;
mod idle;
mod kind;
mod latency;
mod link;
mod message;
mod mix;
mod paced;
mod pool;
mod single;
mod steady;
mod storm;
mod to_client;

use std::time::Duration;

use crate::error::Error;
use crate::net::{Endpoint, Tls};
use crate::stop::Stop;

use crate::wire::Version;
use pool::Pool;

pub use kind::{Load, Unit};
pub use latency::Percentiles;

/// What a load talks to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// The path of the upgrade if MQTT is to be carried over WebSocket.
    pub websocket: Option<String>,
    /// Whom to trust if all that is to be carried over TLS.
    pub tls: Option<Tls>,
}

/// How long and how many.
#[derive(Debug, Clone)]
pub struct Options {
    /// The measured time of a load that runs for a time.
    pub duration: Duration,
    /// Connections of the idle load. In the load `handshakes` three quarters of them come at once,
    /// in the storm two and a half times as many.
    pub idle: usize,
    /// Ends the load early.
    pub stop: Stop,
}

impl Options {
    /// The part of a load before the measured one.
    fn warm_up(&self) -> Duration {
        self.duration / 5
    }
}

/// Looks at something before and after the measured part of a load.
pub trait Meter {
    /// The measured part begins.
    ///
    /// # Errors
    /// Whatever stops the meter from measuring; it ends the load.
    fn start(&mut self) -> Result<(), Error>;

    /// The measured part is over and everything has arrived.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    fn stop(&mut self) -> Result<(), Error>;
}

/// Measures nothing.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)] // a unit value is all that it is
pub struct NoMeter;

impl Meter for NoMeter {
    fn start(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// What a load did in its measured part.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Messages, cycles or connections, as the load's [`Unit`] says.
    pub count: u64,
    /// From the start to the arrival of the last one.
    pub elapsed: Duration,
    /// Of the loads that wait for answers.
    pub latency: Option<Percentiles>,
}

/// Opens the idle connections of `options`; they close with the drop of what is returned.
pub(crate) fn hold(target: &Target, options: &Options) -> Result<impl Sized + use<>, Error> {
    Pool::connected(target, Version::V3, options, options.idle)
}

/// Makes one connection, waits for its CONNACK, and closes it.
pub(crate) fn probe(target: &Target, stop: &Stop) -> Result<(), Error> {
    let options = Options {
        duration: Duration::ZERO,
        idle: 0,
        stop: stop.clone(),
    };
    let mut pool = Pool::connected(target, Version::V3, &options, 1)?;
    pool.disconnect(0)
}
