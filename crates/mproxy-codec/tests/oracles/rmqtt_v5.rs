//! rmqtt-codec 0.3 for MQTT 5.0. It keeps neither the order of properties nor those that have
//! their default value, so both sides are compared without.

use bytes::{Bytes, BytesMut};
use mproxy_codec::{Direction, Kind, Version, View};
use proptest::prelude::*;
use rmqtt_codec::v5::{
    Codec, Connect as SeenConnect, ConnectAck, LastWill, Packet as V5, PublishProperties,
    SubscriptionOptions,
};
use tokio_util::codec::Decoder as _;

use super::rmqtt::{decode, publish};
use crate::support::model::{Body, Connect, Packet, Props, Value, Will};
use crate::support::{from_view, strategies};

/// Collects properties from the fields of a struct.
#[derive(Default)]
struct Collected(Props);

impl Collected {
    fn text(&mut self, id: u8, value: Option<&impl ToString>) -> &mut Self {
        self.0
            .extend(value.map(|text| (id, Value::Str(text.to_string()))));
        self
    }

    fn data(&mut self, id: u8, value: Option<&Bytes>) -> &mut Self {
        self.0
            .extend(value.map(|data| (id, Value::Binary(data.to_vec()))));
        self
    }

    fn byte(&mut self, id: u8, value: bool) -> &mut Self {
        self.0.push((id, Value::Byte(value.into())));
        self
    }

    fn short(&mut self, id: u8, value: Option<u16>) -> &mut Self {
        self.0.extend(value.map(|value| (id, Value::U16(value))));
        self
    }

    fn long(&mut self, id: u8, value: Option<u32>) -> &mut Self {
        self.0.extend(value.map(|value| (id, Value::U32(value))));
        self
    }

    fn user(&mut self, pairs: &[(impl ToString, impl ToString)]) -> Props {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (0x26, Value::Pair(name.to_string(), value.to_string())));
        self.0.extend(pairs);
        std::mem::take(&mut self.0)
    }
}

fn connect(packet: &SeenConnect) -> Connect {
    let props = Collected::default()
        .long(0x11, Some(packet.session_expiry_interval_secs))
        .text(0x15, packet.auth_method.as_ref())
        .data(0x16, packet.auth_data.as_ref())
        .byte(0x17, packet.request_problem_info)
        .byte(0x19, packet.request_response_info)
        .short(0x21, packet.receive_max.map(Into::into))
        .short(0x22, Some(packet.topic_alias_max))
        .long(0x27, packet.max_packet_size.map(Into::into))
        .user(&packet.user_properties);
    Connect {
        clean: packet.clean_start,
        keep_alive: packet.keep_alive,
        props,
        client_id: packet.client_id.to_string(),
        will: packet.last_will.as_ref().map(will),
        user_name: packet.username.as_ref().map(ToString::to_string),
        password: packet.password.as_ref().map(|password| password.to_vec()),
    }
}

fn will(will: &LastWill) -> Will {
    let props = Collected::default()
        .byte(0x01, will.is_utf8_payload.unwrap_or_default())
        .long(0x02, will.message_expiry_interval.map(Into::into))
        .text(0x03, will.content_type.as_ref())
        .text(0x08, will.response_topic.as_ref())
        .data(0x09, will.correlation_data.as_ref())
        .long(0x18, will.will_delay_interval_sec)
        .user(&will.user_properties);
    Will {
        qos: will.qos.value(),
        retain: will.retain,
        props,
        topic: will.topic.to_string(),
        payload: will.message.to_vec(),
    }
}

fn connack(packet: &ConnectAck) -> Body {
    let max_qos = packet.max_qos.value();
    let mut props = Collected::default();
    if max_qos < 2 {
        props.byte(0x24, max_qos == 1);
    }
    let props = props
        .long(0x11, packet.session_expiry_interval_secs)
        .text(0x12, packet.assigned_client_id.as_ref())
        .short(0x13, packet.server_keepalive_sec)
        .text(0x15, packet.auth_method.as_ref())
        .data(0x16, packet.auth_data.as_ref())
        .text(0x1a, packet.response_info.as_ref())
        .text(0x1c, packet.server_reference.as_ref())
        .text(0x1f, packet.reason_string.as_ref())
        .short(0x21, Some(packet.receive_max.into()))
        .short(0x22, Some(packet.topic_alias_max))
        .byte(0x25, packet.retain_available)
        .long(0x27, packet.max_packet_size)
        .byte(0x28, packet.wildcard_subscription_available)
        .byte(0x29, packet.subscription_identifiers_available)
        .byte(0x2a, packet.shared_subscription_available)
        .user(&packet.user_properties);
    Body::Connack {
        session_present: packet.session_present,
        code: packet.reason_code.into(),
        props,
    }
}

fn publish_props(seen: &PublishProperties) -> Props {
    let mut props = Collected::default()
        .byte(0x01, seen.is_utf8_payload)
        .long(0x02, seen.message_expiry_interval.map(Into::into))
        .text(0x03, seen.content_type.as_ref())
        .text(0x08, seen.response_topic.as_ref())
        .data(0x09, seen.correlation_data.as_ref())
        .short(0x23, seen.topic_alias.map(Into::into))
        .user(&seen.user_properties);
    let ids = seen.subscription_ids.iter();
    props.extend(ids.map(|id| (0x0b, Value::Varint((*id).into()))));
    props
}

fn options(options: SubscriptionOptions) -> u8 {
    options.qos.value()
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | u8::from(options.retain_handling) << 4
}

pub(crate) fn read(bytes: &[u8]) -> Result<Body, String> {
    let (packet, _) = decode(Codec::default(), bytes)?;
    macro_rules! ack {
        ($kind:ident, $ack:ident) => {
            Body::Ack {
                kind: Kind::$kind,
                id: $ack.packet_id.into(),
                reason: $ack.reason_code.into(),
                props: Collected::default()
                    .text(0x1f, $ack.reason_string.as_ref())
                    .user(&$ack.properties),
            }
        };
    }
    macro_rules! codes {
        ($kind:ident, $ack:ident) => {
            Body::Codes {
                kind: Kind::$kind,
                id: $ack.packet_id.into(),
                props: Collected::default()
                    .text(0x1f, $ack.reason_string.as_ref())
                    .user(&$ack.properties),
                codes: $ack.status.iter().map(|code| (*code).into()).collect(),
            }
        };
    }
    Ok(match packet {
        V5::Connect(packet) => Body::Connect(connect(&packet)),
        V5::ConnectAck(packet) => connack(&packet),
        V5::Publish(packet) => {
            let mut seen = publish(&packet);
            seen.props = packet
                .properties
                .as_ref()
                .map(publish_props)
                .unwrap_or_default();
            Body::Publish(seen)
        }
        V5::PublishAck(ack) => ack!(Puback, ack),
        V5::PublishReceived(ack) => ack!(Pubrec, ack),
        V5::PublishRelease(ack) => ack!(Pubrel, ack),
        V5::PublishComplete(ack) => ack!(Pubcomp, ack),
        V5::Subscribe(packet) => {
            let mut props = Collected::default().user(&packet.user_properties);
            props.extend(packet.id.map(|id| (0x0b, Value::Varint(id.into()))));
            Body::Subscribe {
                id: packet.packet_id.into(),
                props,
                entries: packet
                    .topic_filters
                    .iter()
                    .map(|(filter, seen)| (filter.to_string(), options(*seen)))
                    .collect(),
            }
        }
        V5::SubscribeAck(ack) => codes!(Suback, ack),
        V5::Unsubscribe(packet) => Body::Unsubscribe {
            id: packet.packet_id.into(),
            props: Collected::default().user(&packet.user_properties),
            filters: packet
                .topic_filters
                .iter()
                .map(ToString::to_string)
                .collect(),
        },
        V5::UnsubscribeAck(ack) => codes!(Unsuback, ack),
        V5::PingRequest => Body::Pingreq,
        V5::PingResponse => Body::Pingresp,
        V5::Disconnect(packet) => Body::Reason {
            kind: Kind::Disconnect,
            reason: packet.reason_code.into(),
            props: Collected::default()
                .long(0x11, packet.session_expiry_interval_secs)
                .text(0x1c, packet.server_reference.as_ref())
                .text(0x1f, packet.reason_string.as_ref())
                .user(&packet.user_properties),
        },
        V5::Auth(packet) => Body::Reason {
            kind: Kind::Auth,
            reason: packet.reason_code.into(),
            props: Collected::default()
                .text(0x15, packet.auth_method.as_ref())
                .data(0x16, packet.auth_data.as_ref())
                .text(0x1f, packet.reason_string.as_ref())
                .user(&packet.user_properties),
        },
    })
}

/// Leaves out what has its default value, and sorts; user properties keep their order.
fn sort(props: &mut Props) {
    props.retain(|property| {
        !matches!(
            property,
            (0x01 | 0x19, Value::Byte(0))
                | (0x17 | 0x25 | 0x28 | 0x29 | 0x2a, Value::Byte(1))
                | (0x11, Value::U32(0))
                | (0x21, Value::U16(65_535))
                | (0x22, Value::U16(0))
        )
    });
    props.sort_by_key(|(id, _)| *id);
}

pub(crate) fn sorted(mut packet: Packet) -> Packet {
    match &mut packet.body {
        Body::Connect(connect) => {
            sort(&mut connect.props);
            if let Some(will) = &mut connect.will {
                sort(&mut will.props);
            }
        }
        Body::Publish(publish) => sort(&mut publish.props),
        Body::Connack { props, .. }
        | Body::Ack { props, .. }
        | Body::Subscribe { props, .. }
        | Body::Codes { props, .. }
        | Body::Unsubscribe { props, .. }
        | Body::Reason { props, .. } => sort(props),
        Body::Pingreq | Body::Pingresp => {}
    }
    packet
}

/// Known difference: Message Expiry Interval 0 is refused, though it is only a message that has
/// expired.
fn has_expiry_zero(packet: &Packet) -> bool {
    let zero = |props: &Props| props.contains(&(0x02, Value::U32(0)));
    zero(packet.props())
        || matches!(&packet.body, Body::Connect(Connect { will: Some(will), .. })
            if zero(&will.props))
}

/// Known difference: an empty client identifier without Clean Start is refused. That is the rule of
/// 3.1.1; in MQTT 5.0 the broker assigns an identifier, and the session has one to be resumed with.
fn has_no_id_and_no_clean_start(packet: &Packet) -> bool {
    matches!(&packet.body, Body::Connect(connect)
        if connect.client_id.is_empty() && !connect.clean)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn agrees(
        packet in strategies::direction()
            .prop_flat_map(|direction| strategies::packet_of(Version::V5, direction))
            .prop_filter("a difference", |packet| {
                !has_expiry_zero(packet) && !has_no_id_and_no_clean_start(packet)
            }),
    ) {
        let body = read(&packet.bytes()).expect("a valid packet");
        let seen = Packet { body, ..packet };
        prop_assert_eq!(sorted(seen), sorted(packet));
    }
}

#[test]
fn the_differences_are_there() {
    let expired = b"\x30\x09\0\x01t\x05\x02\0\0\0\0";
    let no_id = b"\x10\x0d\0\x04MQTT\x05\x00\0\x3c\0\0\0";
    for (bytes, is_known) in [
        (&expired[..], has_expiry_zero as fn(&Packet) -> bool),
        (no_id, has_no_id_and_no_clean_start),
    ] {
        let view = View::parse(Version::V5, Direction::ToServer, bytes).expect("valid");
        let view = view.expect("whole");
        assert!(is_known(&from_view::packet(
            Version::V5,
            Direction::ToServer,
            &view
        )));
        assert!(Codec::default().decode(&mut BytesMut::from(bytes)).is_err());
    }
}
