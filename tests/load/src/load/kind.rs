//! The list of loads: names, sizes, and which code runs each.

use std::fmt;
use std::str::FromStr;

use super::batched::Batched;
use super::message::Shape;
use super::{Meter, Options, Outcome, Target};
use super::{closed, connect, handshakes, idle, mix, paced, single, steady, storm, to_client};
use crate::error::Error;
use crate::wire::Version;

/// A load. The README says what each is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Load {
    /// 64 B at QoS 0, many packets a write, from the clients.
    Batched,
    /// 64 B at QoS 0, many packets a write, to the clients.
    ToClient,
    /// 64 B at QoS 0, one packet a write, as fast as it goes.
    Single,
    /// 64 B at QoS 0, one packet a write, at a fixed rate.
    Steady,
    /// QoS 1, each of 64 clients waits for its answer.
    Closed,
    /// QoS 1, 200 clients, ten messages a second each.
    Paced,
    /// Connect, CONNACK, DISCONNECT.
    Connect,
    /// Connections that do nothing.
    Idle,
    /// Nothing at all: the process just after its start.
    Base,
    /// 16 KiB at QoS 0.
    Large,
    /// [`Load::Batched`] in MQTT 5 with properties.
    V5Batched,
    /// [`Load::Closed`] in MQTT 5 with properties.
    V5Closed,
    /// QoS 0, 1 and 2, both ways.
    Mix,
    /// What clients notice of others that come.
    Handshakes,
    /// Very many connections at once.
    Storm,
}

/// Name and title of each load, in the order of the enum and of the report.
const LOADS: [(Load, &str, &str); 15] = [
    (
        Load::Batched,
        "batched",
        "64 B QoS 0, batched, to the server",
    ),
    (
        Load::ToClient,
        "to-client",
        "64 B QoS 0, batched, to the client",
    ),
    (Load::Single, "single", "64 B QoS 0, one packet a write"),
    (
        Load::Steady,
        "steady",
        "64 B QoS 0, one packet a write, 64,000 a second",
    ),
    (Load::Closed, "closed", "QoS 1 closed loop, 64 clients"),
    (Load::Paced, "paced", "QoS 1, 200 clients, 10 a second each"),
    (Load::Connect, "connect", "connect, CONNACK, disconnect"),
    (Load::Idle, "idle", "idle connections"),
    (Load::Base, "base", "base memory"),
    (Load::Large, "large", "16 KiB QoS 0, to the server"),
    (
        Load::V5Batched,
        "v5-batched",
        "MQTT 5, 64 B QoS 0, batched, to the server",
    ),
    (
        Load::V5Closed,
        "v5-closed",
        "MQTT 5, QoS 1 closed loop, 64 clients",
    ),
    (
        Load::Mix,
        "mix",
        "mix of QoS 0, 1 and 2, both ways, 64 clients",
    ),
    (
        Load::Handshakes,
        "handshakes",
        "QoS 1, 50 clients, 50 a second each, while others come at once",
    ),
    (
        Load::Storm,
        "storm",
        "time until all are in that come at once",
    ),
];

/// What a load counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// CPU time a message.
    Message,
    /// CPU time a connection made and ended.
    Cycle,
    /// Memory a connection held.
    Connection,
    /// Memory of the process.
    Process,
    /// Latency of a message.
    Latency,
    /// Time until all is done.
    Time,
}

impl Load {
    /// Every load, in the order of the report.
    pub const ALL: [Self; LOADS.len()] = {
        let mut all = [Self::Batched; LOADS.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = LOADS[at].0;
            at += 1;
        }
        all
    };

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        LOADS[self as usize].1
    }

    /// One line for people.
    pub fn title(self) -> &'static str {
        LOADS[self as usize].2
    }

    /// The connections that it needs at most, if `idle` are those of [`Load::Idle`].
    pub(crate) fn connections(self, idle: usize) -> usize {
        match self {
            Self::Storm => idle * 5 / 2,
            Self::Handshakes => idle * 3 / 4,
            _ => idle,
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Self::Connect => Unit::Cycle,
            Self::Idle => Unit::Connection,
            Self::Base => Unit::Process,
            Self::Handshakes => Unit::Latency,
            Self::Storm => Unit::Time,
            _ => Unit::Message,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the target refuses, misbehaves, stalls or loses a message, or when the meter fails.
    pub fn run(
        self,
        target: &Target,
        options: &Options,
        meter: &mut dyn Meter,
    ) -> Result<Outcome, Error> {
        let connections = self.connections(options.idle);
        let small = Shape {
            payload: 64,
            version: Version::V3,
        };
        let v5 = Shape {
            version: Version::V5,
            ..small
        };
        match self {
            Self::Batched => Batched::SMALL.run(small, target, options, meter),
            Self::Large => {
                let large = Shape {
                    payload: 16 * 1024,
                    ..small
                };
                Batched::LARGE.run(large, target, options, meter)
            }
            Self::V5Batched => Batched::SMALL.run(v5, target, options, meter),
            Self::ToClient => to_client::run(small, target, options, meter),
            Self::Single => single::run(small, target, options, meter),
            Self::Steady => steady::run(small, target, options, meter),
            Self::Closed => closed::run(small, target, options, meter),
            Self::V5Closed => closed::run(v5, target, options, meter),
            Self::Paced => paced::run(small, target, options, meter),
            Self::Connect => connect::run(target, options, meter),
            Self::Idle => idle::run(connections, target, options, meter),
            Self::Base => idle::base(meter),
            Self::Mix => mix::run(small, target, options, meter),
            Self::Handshakes => handshakes::run(connections, small, target, options, meter),
            Self::Storm => storm::run(connections, target, options, meter),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Load {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|load| load.name() == name)
            .ok_or_else(|| Error::Unknown {
                kind: "load",
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood() {
        for load in Load::ALL {
            // The table is in the order of the enum.
            assert_eq!(load.name().parse::<Load>().unwrap(), load);
        }
        assert!(matches!("none".parse::<Load>(), Err(Error::Unknown { .. })));
    }
}
