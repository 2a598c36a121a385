//! What both sides have negotiated: packet sizes and keep alive.

use std::num::NonZeroU16;

use mproxy_codec::{ConnectPacket, Direction, Kind, PropertyId, Value};

use super::Rules;
use crate::cause::{Cause, End, Fault};
use crate::error::Limit;
use crate::limits::{LARGEST_PACKET, Limits};

/// What CONNECT asked for and CONNACK answered.
#[derive(Debug)]
pub(crate) struct Negotiated {
    /// The keep alive in effect in seconds; 0 = off.
    pub(crate) keep_alive: u16,
    /// The keep alive that the client must be told, because it asked for a longer one.
    pub(super) told_keep_alive: Option<NonZeroU16>,
    /// The broker has a session from an earlier connection.
    pub(super) is_resumed: bool,
    /// CONNECT asked for a session that ends with the connection.
    pub(super) session_ends: bool,
    /// The broker's Maximum Packet Size.
    pub(super) broker_max_packet: u32,
    /// The largest packet accepted from the client: the proxy's own limit, or what the client
    /// was told if that is less than the broker said.
    pub(super) client_max_packet: u32,
}

impl Negotiated {
    /// `asked` is the keep alive that the client asked for, before it was lowered.
    pub(super) fn new(packet: &ConnectPacket, asked: u16, limits: &Limits) -> Self {
        let expiry = packet
            .properties()
            .number(PropertyId::SessionExpiryInterval);
        Self {
            keep_alive: limited_keep_alive(packet.keep_alive(), limits),
            told_keep_alive: NonZeroU16::new(packet.keep_alive())
                .filter(|told| told.get() != asked),
            is_resumed: false,
            session_ends: expiry.unwrap_or(0) == 0,
            broker_max_packet: u32::MAX,
            client_max_packet: own_max_packet(limits),
        }
    }
}

impl Rules {
    /// The largest packet that the receiver in this direction accepts.
    pub(crate) const fn receiver_max_packet(&self, direction: Direction) -> usize {
        match direction {
            Direction::ToServer => self.negotiated.broker_max_packet as usize,
            Direction::ToClient => self.replies.max_packet_size as usize,
        }
    }

    /// The largest unchanged PUBLISH that is forwarded to the receiver. Both sides know each
    /// other's limits, and enforce them as they would without a proxy. Only strict conformance enforces
    /// the receiver's maximum here. mosquitto 2.0 does not count the first byte, so it may send
    /// one byte too many, which is left to its client.
    #[inline]
    pub(crate) fn untouched_max_packet(&self, direction: Direction) -> usize {
        match direction {
            _ if !self.is_strict() => usize::MAX,
            Direction::ToServer => self.receiver_max_packet(direction),
            Direction::ToClient => self.receiver_max_packet(direction).saturating_add(1),
        }
    }

    /// The largest PUBLISH that the sender in this direction may send. Those of the broker are not
    /// held, and have no limit.
    #[inline]
    pub(crate) const fn sender_max_packet(&self, direction: Direction) -> usize {
        match direction {
            Direction::ToServer => self.negotiated.client_max_packet as usize,
            Direction::ToClient => usize::MAX,
        }
    }

    /// Refuses a packet that is larger than its sender may send: a client must keep the proxy's own
    /// limit, and the one in CONNACK [MQTT-3.2.2-15]; packets held as a whole have one more.
    ///
    /// # Errors
    /// It is larger.
    #[inline]
    pub(crate) fn check_size(
        &self,
        direction: Direction,
        kind: Kind,
        size: usize,
    ) -> Result<(), End> {
        let is_held = kind != Kind::Publish && size > self.limits.max_held_packet;
        if size <= self.sender_max_packet(direction) && !is_held {
            return Ok(());
        }
        let limit = if is_held {
            (Limit::MaxHeldPacket, self.limits.max_held_packet)
        } else if size > self.limits.max_packet_size {
            (Limit::MaxPacketSize, self.limits.max_packet_size)
        } else {
            (Limit::Announced, self.negotiated.client_max_packet as usize)
        };
        let what = kind.as_str();
        Err(Cause::fault(
            direction,
            kind,
            Fault::TooLarge { what, size, limit },
        ))
    }
}

/// The largest packet that the proxy accepts from a client.
pub(super) fn own_max_packet(limits: &Limits) -> u32 {
    u32::try_from(limits.max_packet_size).map_or(LARGEST_PACKET, |size| size.min(LARGEST_PACKET))
}

/// The keep alive that is enforced for a client that asked for this one.
const fn limited_keep_alive(asked: u16, limits: &Limits) -> u16 {
    match (asked, limits.max_keep_alive) {
        (asked, 0) => asked,
        (0, maximum) => maximum,
        (asked, maximum) if asked > maximum => maximum,
        (asked, _) => asked,
    }
}

/// Lowers the keep alive in an MQTT 5.0 CONNECT to what is allowed: CONNACK will tell the client.
/// Earlier versions cannot tell it, so the broker gets the client's own value.
pub(crate) fn lower_keep_alive(packet: &mut ConnectPacket, limits: &Limits) {
    let seconds = limited_keep_alive(packet.keep_alive(), limits);
    if packet.version().is_v5() && seconds != packet.keep_alive() {
        // a packet stays valid with other values in these two bytes
        let _ = packet.set_keep_alive(seconds);
    }
}

/// Lowers the Topic Alias Maximum that a CONNECT announces to what a tapped direction remembers.
pub(crate) fn lower_aliases(packet: &mut ConnectPacket, limits: &Limits) {
    let announced = packet
        .properties()
        .number(PropertyId::TopicAliasMaximum)
        .unwrap_or(0);
    if announced <= u32::from(limits.max_topic_aliases) {
        return;
    }
    let mut writer = packet
        .properties()
        .without(&[PropertyId::TopicAliasMaximum]);
    let lowered = match limits.max_topic_aliases {
        0 => Ok(&mut writer),
        maximum => writer.push(PropertyId::TopicAliasMaximum, Value::U16(maximum)),
    };
    if let Ok(writer) = lowered {
        // a block of valid properties is valid
        let _ = packet.set_properties(writer.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keep_alive_is_lowered_and_none_is_too_long() {
        for (asked, maximum, wanted) in [
            (60, 0, 60),
            (0, 0, 0),
            (0, 30, 30),
            (60, 30, 30),
            (20, 30, 20),
        ] {
            let limits = Limits::default().max_keep_alive(maximum);
            assert_eq!(limited_keep_alive(asked, &limits), wanted);
        }
    }

    #[test]
    fn the_own_maximum_is_one_that_mqtt_can_express() {
        for (limit, wanted) in [(1000, 1000), (usize::MAX, LARGEST_PACKET)] {
            let limits = Limits::default().max_packet_size(limit);
            assert_eq!(own_max_packet(&limits), wanted);
        }
    }
}
