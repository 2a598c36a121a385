//! Attacks on mproxy, each with its parameters, and the client that must not notice them.
//!
//! ```text
//! attackers (threads and addresses of their own) --+
//!                                                  +--> mproxy, one worker thread --> mosquitto
//! GoodClient: QoS 1 and fresh CONNECTs, timed -----+
//! ```
//!
//! The tests assert what no clock decides: memory, who was cut, who got in, what the log says. The
//! program prints a table with times besides; they mean something on a quiet machine and a release
//! build only.

pub mod attack;

mod good;
mod rig;
mod socket;
mod target;
mod watch;

pub use self::{
    good::{GoodClient, Latencies, Report},
    rig::{Attackers, Outcome, Rig},
    socket::{connect, raise_descriptor_limit, upgrade},
    target::{Secure, Target, Wire},
    watch::Watch,
};
