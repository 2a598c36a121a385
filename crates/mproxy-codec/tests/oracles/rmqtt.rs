//! rmqtt-codec 0.3 for MQTT 3.1 and 3.1.1.

use std::fmt::Debug;

use bytes::BytesMut;
use mproxy_codec::{Kind, Version};
use proptest::prelude::*;
use rmqtt_codec::types::Publish as Seen;
use rmqtt_codec::v3::{Codec, Connect as SeenConnect, Packet as V3, SubscribeReturnCode};
use tokio_util::codec::Decoder;

use crate::support::model::{Body, Connect, Packet, Publish, Will};
use crate::support::strategies;

/// A PUBLISH without its properties.
pub(crate) fn publish(packet: &Seen) -> Publish {
    Publish {
        dup: packet.dup,
        qos: packet.qos.value(),
        retain: packet.retain,
        topic: packet.topic.to_string(),
        id: packet.packet_id.map_or(0, Into::into),
        props: Vec::new(),
        payload: packet.payload.to_vec(),
    }
}

fn connect(packet: SeenConnect) -> Connect {
    Connect {
        clean: packet.clean_session,
        keep_alive: packet.keep_alive,
        props: Vec::new(),
        client_id: packet.client_id.to_string(),
        will: packet.last_will.map(|will| Will {
            qos: will.qos.value(),
            retain: will.retain,
            props: Vec::new(),
            topic: will.topic.to_string(),
            payload: will.message.to_vec(),
        }),
        user_name: packet.username.map(|name| name.to_string()),
        password: packet.password.map(|password| password.to_vec()),
    }
}

/// Reads one packet, and nothing is left over.
pub(crate) fn decode<C>(mut codec: C, bytes: &[u8]) -> Result<C::Item, String>
where
    C: Decoder<Error: Debug>,
{
    let mut buffer = BytesMut::from(bytes);
    let packet = codec.decode(&mut buffer);
    let packet = packet
        .map_err(|error| format!("{error:?}"))?
        .ok_or("not whole")?;
    if buffer.is_empty() {
        Ok(packet)
    } else {
        Err("left over".to_owned())
    }
}

pub(crate) fn read(version: Version, bytes: &[u8]) -> Result<Body, String> {
    let (packet, _) = decode(Codec::default(), bytes)?;
    let ack = |kind, id: std::num::NonZeroU16| Body::Ack {
        kind,
        id: id.into(),
        reason: 0,
        props: Vec::new(),
    };
    Ok(match packet {
        V3::Connect(packet) => {
            if packet.protocol.level() != version.level() {
                return Err("another version".to_owned());
            }
            Body::Connect(connect(*packet))
        }
        V3::ConnectAck(packet) => Body::Connack {
            session_present: packet.session_present,
            code: packet.return_code.into(),
            props: Vec::new(),
        },
        V3::Publish(packet) => Body::Publish(publish(&packet)),
        V3::PublishAck { packet_id } => ack(Kind::Puback, packet_id),
        V3::PublishReceived { packet_id } => ack(Kind::Pubrec, packet_id),
        V3::PublishRelease { packet_id } => ack(Kind::Pubrel, packet_id),
        V3::PublishComplete { packet_id } => ack(Kind::Pubcomp, packet_id),
        V3::Subscribe {
            packet_id,
            topic_filters,
        } => Body::Subscribe {
            id: packet_id.into(),
            props: Vec::new(),
            entries: topic_filters
                .iter()
                .map(|(filter, qos)| (filter.to_string(), qos.value()))
                .collect(),
        },
        V3::SubscribeAck { packet_id, status } => Body::Codes {
            kind: Kind::Suback,
            id: packet_id.into(),
            props: Vec::new(),
            codes: status
                .iter()
                .map(|status| match status {
                    SubscribeReturnCode::Success(qos) => qos.value(),
                    SubscribeReturnCode::Failure => 0x80,
                })
                .collect(),
        },
        V3::Unsubscribe {
            packet_id,
            topic_filters,
        } => Body::Unsubscribe {
            id: packet_id.into(),
            props: Vec::new(),
            filters: topic_filters.iter().map(ToString::to_string).collect(),
        },
        V3::UnsubscribeAck { packet_id } => Body::Codes {
            kind: Kind::Unsuback,
            id: packet_id.into(),
            props: Vec::new(),
            codes: Vec::new(),
        },
        V3::PingRequest => Body::Pingreq,
        V3::PingResponse => Body::Pingresp,
        V3::Disconnect => Body::Reason {
            kind: Kind::Disconnect,
            reason: 0,
            props: Vec::new(),
        },
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let version = prop_oneof![Just(Version::V31), Just(Version::V311)];
    (version, strategies::direction())
        .prop_flat_map(|(version, direction)| strategies::packet_of(version, direction))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn agrees(packet in packet()) {
        prop_assert_eq!(read(packet.version, &packet.bytes()), Ok(packet.body));
    }
}
