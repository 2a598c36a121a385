//! The little MQTT and WebSocket that a generator and a sink need.
//!
//! Written apart from the proxy's own codec on purpose: a benchmark that shares code with what it
//! measures shares its mistakes. Good input only; nothing here belongs before an open network.

mod encode;
mod scan;
mod ws;

pub(crate) use encode::{Publish, ack, connack, connect, publish, suback, subscribe, unsuback};
pub(crate) use scan::{Frame, ScanError, Scanner, split_string};
pub(crate) use ws::{Deframer, Handshake, WsError, client_frame, upgrade_request};

/// Version of the protocol that a load speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub(crate) enum Version {
    /// MQTT 3.1.1 (the sink answers 3.1 alike).
    #[default]
    V3,
    /// MQTT 5.0.
    V5,
}

/// First bytes of packets with fixed flags.
pub(crate) mod first {
    pub(crate) const CONNECT: u8 = 0x10;
    pub(crate) const CONNACK: u8 = 0x20;
    pub(crate) const PUBLISH: u8 = 0x30;
    pub(crate) const PUBACK: u8 = 0x40;
    pub(crate) const PUBREC: u8 = 0x50;
    pub(crate) const PUBREL: u8 = 0x62;
    pub(crate) const PUBCOMP: u8 = 0x70;
    pub(crate) const SUBSCRIBE: u8 = 0x82;
    pub(crate) const SUBACK: u8 = 0x90;
    pub(crate) const UNSUBSCRIBE: u8 = 0xa2;
    pub(crate) const UNSUBACK: u8 = 0xb0;
    pub(crate) const PINGREQ: u8 = 0xc0;
    pub(crate) const PINGRESP: u8 = 0xd0;
    pub(crate) const DISCONNECT: u8 = 0xe0;
}

/// `PINGRESP`, whole.
pub(crate) const PINGRESP: [u8; 2] = [first::PINGRESP, 0];
/// `DISCONNECT` without a reason, whole, in every version.
pub(crate) const DISCONNECT: [u8; 2] = [first::DISCONNECT, 0];
