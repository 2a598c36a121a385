//! What the end to end tests are made of: the real proxy, real brokers and clients, and peers that
//! send and record bytes.
//!
//! ```text
//! clients: mosquitto_pub, paho, MQTT.js --> the real binary --> mosquitto, a WebSocket bridge
//! [`Link`]: bytes in, bytes out         -->  [`Mproxy`]     --> [`FakeBroker`]: the same as a broker
//! ```
//!
//! Everything waits for events, with one deadline that no sound run comes near
//! ([`within`]); nothing sleeps, and nothing has a port of its own choice. The packets that tests
//! send are put together in [`wire`], which shares no code with the proxy: a mistake in the codec
//! must not cancel itself out.
//!
//! What is missing (a program, a package) fails the test that needs it and names the command that
//! installs it.

pub mod clients;
pub mod durable;
pub mod http;
pub mod memory;
pub mod peers;
pub mod pki;
pub mod raw;
#[path = "../../crates/mproxy-session/tests/support/recording.rs"]
pub mod recording;
pub mod tls;
pub mod tools;
pub mod wire;

#[cfg(doctest)]
pub mod readme;

mod broker;
mod chance;
mod deadline;
mod forwarder;
mod fragile;
mod gate;
mod haproxy;
mod link;
mod mosquitto;
mod mproxy;
mod port;
mod process;
mod source;

pub use self::broker::FakeBroker;
pub use self::chance::Chance;
pub use self::deadline::{PATIENCE, until, within};
pub use self::forwarder::{Fault, Forwarder};
pub use self::fragile::{Fragile, Seen};
pub use self::gate::Gate;
pub use self::haproxy::Haproxy;
pub use self::link::{Link, Rest, drain};
pub use self::mosquitto::{Mosquitto, PASSWORD, Stopped, USER, WsBridge};
pub use self::mproxy::{Metrics, Mproxy, Setup, server_binary};
pub use self::port::Port;
pub use self::process::Process;
pub use self::source::connect_from;
