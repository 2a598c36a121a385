//! An independent copy of table 2-4 of MQTT 5.0, in its words.

use mproxy_codec::{Direction, Kind, Place};

/// The data types of section 1.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Byte,
    U16,
    U32,
    Varint,
    Str,
    Binary,
    Pair,
}

/// A property: its identifier, name, type, and where it may stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: u8,
    pub(crate) name: &'static str,
    pub(crate) ty: Type,
    places: &'static str,
}

const fn row(id: u8, name: &'static str, ty: Type, places: &'static str) -> Row {
    Row {
        id,
        name,
        ty,
        places,
    }
}

const ACKS: &str =
    "connack puback pubrec pubrel pubcomp suback unsuback disconnect disconnect-down auth";
const EVERYWHERE: &str = "connect connack publish publish-down will puback pubrec pubrel pubcomp \
     subscribe suback unsubscribe unsuback disconnect disconnect-down auth";

/// Table 2-4. `-down` marks what only the server sends where both sides send the packet;
/// `disconnect` and `publish` stand for what the client sends.
#[rustfmt::skip]
pub(crate) const TABLE: [Row; 27] = [
    row(0x01, "Payload Format Indicator", Type::Byte, "publish publish-down will"),
    row(0x02, "Message Expiry Interval", Type::U32, "publish publish-down will"),
    row(0x03, "Content Type", Type::Str, "publish publish-down will"),
    row(0x08, "Response Topic", Type::Str, "publish publish-down will"),
    row(0x09, "Correlation Data", Type::Binary, "publish publish-down will"),
    row(0x0b, "Subscription Identifier", Type::Varint, "publish-down subscribe"),
    row(0x11, "Session Expiry Interval", Type::U32, "connect connack disconnect"),
    row(0x12, "Assigned Client Identifier", Type::Str, "connack"),
    row(0x13, "Server Keep Alive", Type::U16, "connack"),
    row(0x15, "Authentication Method", Type::Str, "connect connack auth"),
    row(0x16, "Authentication Data", Type::Binary, "connect connack auth"),
    row(0x17, "Request Problem Information", Type::Byte, "connect"),
    row(0x18, "Will Delay Interval", Type::U32, "will"),
    row(0x19, "Request Response Information", Type::Byte, "connect"),
    row(0x1a, "Response Information", Type::Str, "connack"),
    row(0x1c, "Server Reference", Type::Str, "connack disconnect-down"),
    row(0x1f, "Reason String", Type::Str, ACKS),
    row(0x21, "Receive Maximum", Type::U16, "connect connack"),
    row(0x22, "Topic Alias Maximum", Type::U16, "connect connack"),
    row(0x23, "Topic Alias", Type::U16, "publish publish-down"),
    row(0x24, "Maximum QoS", Type::Byte, "connack"),
    row(0x25, "Retain Available", Type::Byte, "connack"),
    row(0x26, "User Property", Type::Pair, EVERYWHERE),
    row(0x27, "Maximum Packet Size", Type::U32, "connect connack"),
    row(0x28, "Wildcard Subscription Available", Type::Byte, "connack"),
    row(0x29, "Subscription Identifier Available", Type::Byte, "connack"),
    row(0x2a, "Shared Subscription Available", Type::Byte, "connack"),
];

impl Row {
    /// True when table 2-4 lists `place` for the property.
    pub(crate) fn stands_in(&self, place: Place) -> bool {
        self.places
            .split_whitespace()
            .any(|spot| spot == name(place))
    }

    /// True when `place` may hold the property more than once.
    pub(crate) fn repeats_in(&self, place: Place) -> bool {
        match self.id {
            0x26 => true,
            0x0b => name(place) == "publish-down",
            _ => false,
        }
    }
}

/// The word that stands for a place in the table.
pub(crate) const fn name(place: Place) -> &'static str {
    match place {
        Place::Will => "will",
        Place::Packet(Kind::Publish, Direction::ToClient) => "publish-down",
        Place::Packet(Kind::Disconnect, Direction::ToClient) => "disconnect-down",
        Place::Packet(kind, _) => kind.as_str(),
    }
}

/// Every place that holds properties.
pub(crate) fn places() -> Vec<Place> {
    use Direction::{ToClient, ToServer};
    let mut places = vec![Place::Will];
    for kind in Kind::ALL {
        let directions: &[Direction] = match kind {
            Kind::Pingreq | Kind::Pingresp => &[],
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe => &[ToServer],
            Kind::Connack | Kind::Suback | Kind::Unsuback => &[ToClient],
            Kind::Publish
            | Kind::Puback
            | Kind::Pubrec
            | Kind::Pubrel
            | Kind::Pubcomp
            | Kind::Disconnect
            | Kind::Auth => &[ToServer, ToClient],
        };
        places.extend(
            directions
                .iter()
                .map(|&direction| Place::Packet(kind, direction)),
        );
    }
    places
}
