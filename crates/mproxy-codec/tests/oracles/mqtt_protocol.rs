//! mqtt-protocol 0.12, for MQTT 3.1 and 3.1.1: one frame at a time, nothing left over, and written
//! back as it came.

use std::io::Cursor;

use mproxy_codec::{Direction, Version};
use mqtt::control::variable_header::ProtocolLevel;
use mqtt::packet::suback::SubscribeReturnCode;
use mqtt::packet::{ConnectPacket, PublishPacket, QoSWithPacketIdentifier, VariablePacket};
use mqtt::{Decodable, Encodable, QualityOfService};
use proptest::prelude::*;

use crate::support::model::{Body, Connect, Packet, Publish, Will};
use crate::support::strategies;

const fn qos(qos: QualityOfService) -> u8 {
    match qos {
        QualityOfService::Level0 => 0,
        QualityOfService::Level1 => 1,
        QualityOfService::Level2 => 2,
    }
}

fn connect(packet: &ConnectPacket) -> Connect {
    Connect {
        clean: packet.clean_session(),
        keep_alive: packet.keep_alive(),
        props: Vec::new(),
        client_id: packet.client_identifier().to_owned(),
        will: packet.will().map(|(topic, payload)| Will {
            qos: packet.will_qos(),
            retain: packet.will_retain(),
            props: Vec::new(),
            topic: topic.to_owned(),
            payload: payload.to_vec(),
        }),
        user_name: packet.user_name().map(str::to_owned),
        password: packet.password().map(|text| text.as_bytes().to_vec()),
    }
}

fn publish(packet: &PublishPacket, first: u8) -> Publish {
    let (qos, id) = match packet.qos() {
        QoSWithPacketIdentifier::Level0 => (0, 0),
        QoSWithPacketIdentifier::Level1(id) => (1, id),
        QoSWithPacketIdentifier::Level2(id) => (2, id),
    };
    Publish {
        // its `dup()` tests a bit that is not there and is always false
        dup: first & 8 != 0,
        qos,
        retain: packet.retain(),
        topic: packet.topic_name().to_owned(),
        id,
        props: Vec::new(),
        payload: packet.payload().to_vec(),
    }
}

/// What mqtt-protocol reads.
pub(crate) fn read(version: Version, bytes: &[u8]) -> Result<Body, String> {
    let mut reader = Cursor::new(bytes);
    let packet = VariablePacket::decode(&mut reader).map_err(|error| error.to_string())?;
    if reader.position() != bytes.len() as u64 {
        return Err("left over".to_owned());
    }
    let ack = |id| Body::Ack {
        kind: mproxy_codec::Kind::from_first_byte(bytes[0]).expect("a type"),
        id,
        reason: 0,
        props: Vec::new(),
    };
    let codes = |id, codes| Body::Codes {
        kind: mproxy_codec::Kind::from_first_byte(bytes[0]).expect("a type"),
        id,
        props: Vec::new(),
        codes,
    };
    Ok(match packet {
        VariablePacket::ConnectPacket(packet) => {
            let protocol = (packet.protocol_name(), packet.protocol_level());
            let expected = match version {
                Version::V31 => ("MQIsdp", ProtocolLevel::Version310),
                _ => ("MQTT", ProtocolLevel::Version311),
            };
            if protocol != expected {
                return Err("another version".to_owned());
            }
            Body::Connect(connect(&packet))
        }
        VariablePacket::ConnackPacket(packet) => Body::Connack {
            session_present: packet.connack_flags().session_present,
            code: packet.connect_return_code().to_u8(),
            props: Vec::new(),
        },
        VariablePacket::PublishPacket(packet) => Body::Publish(publish(&packet, bytes[0])),
        VariablePacket::PubackPacket(packet) => ack(packet.packet_identifier()),
        VariablePacket::PubrecPacket(packet) => ack(packet.packet_identifier()),
        VariablePacket::PubrelPacket(packet) => ack(packet.packet_identifier()),
        VariablePacket::PubcompPacket(packet) => ack(packet.packet_identifier()),
        VariablePacket::SubscribePacket(packet) => Body::Subscribe {
            id: packet.packet_identifier(),
            props: Vec::new(),
            entries: packet
                .subscribes()
                .iter()
                .map(|(filter, level)| (filter.to_string(), qos(*level)))
                .collect(),
        },
        VariablePacket::SubackPacket(packet) => codes(
            packet.packet_identifier(),
            packet
                .subscribes()
                .iter()
                .map(|code| match code {
                    SubscribeReturnCode::MaximumQoSLevel0 => 0,
                    SubscribeReturnCode::MaximumQoSLevel1 => 1,
                    SubscribeReturnCode::MaximumQoSLevel2 => 2,
                    SubscribeReturnCode::Failure => 0x80,
                })
                .collect(),
        ),
        VariablePacket::UnsubscribePacket(packet) => Body::Unsubscribe {
            id: packet.packet_identifier(),
            props: Vec::new(),
            filters: packet
                .subscribes()
                .iter()
                .map(|filter| filter.to_string())
                .collect(),
        },
        VariablePacket::UnsubackPacket(packet) => codes(packet.packet_identifier(), Vec::new()),
        VariablePacket::PingreqPacket(_) => Body::Pingreq,
        VariablePacket::PingrespPacket(_) => Body::Pingresp,
        VariablePacket::DisconnectPacket(_) => Body::Reason {
            kind: mproxy_codec::Kind::Disconnect,
            reason: 0,
            props: Vec::new(),
        },
    })
}

/// Known difference: a password is a string there, so that a binary one is refused.
fn has_binary_password(packet: &Packet) -> bool {
    matches!(&packet.body, Body::Connect(connect)
        if connect.password.as_ref().is_some_and(|password| str::from_utf8(password).is_err()))
}

fn packet() -> impl Strategy<Value = Packet> {
    let version = prop_oneof![Just(Version::V31), Just(Version::V311)];
    (version, strategies::direction())
        .prop_flat_map(|(version, direction)| strategies::packet_of(version, direction))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn agrees(packet in packet().prop_filter("a difference", |packet| !has_binary_password(packet))) {
        let bytes = packet.bytes();
        prop_assert_eq!(read(packet.version, &bytes), Ok(packet.body));
        let mut written = Vec::new();
        let read = VariablePacket::decode(&mut Cursor::new(&bytes)).expect("read before");
        read.encode(&mut written).expect("written to memory");
        prop_assert_eq!(written, bytes);
    }
}

#[test]
fn refuses_a_binary_password() {
    let packet = Packet {
        version: Version::V311,
        direction: Direction::ToServer,
        body: Body::Connect(Connect {
            clean: true,
            keep_alive: 0,
            props: Vec::new(),
            client_id: "c".to_owned(),
            will: None,
            user_name: Some("u".to_owned()),
            password: Some(vec![0xff]),
        }),
    };
    assert!(has_binary_password(&packet));
    assert!(VariablePacket::decode(&mut Cursor::new(packet.bytes())).is_err());
}
