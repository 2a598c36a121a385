//! What a view says, as a model.

use mproxy_codec::{ConnectPacket, Direction, Kind, Properties, Value as Seen, Version, View};

use super::model::{Body, Connect, Packet, Props, Publish, Value, Will};

/// Reads every field that a view offers.
pub(crate) fn packet(version: Version, direction: Direction, view: &View<'_>) -> Packet {
    let body = match view {
        View::Connect(packet) => {
            return Packet {
                version: packet.version(),
                direction,
                body: Body::Connect(connect(packet)),
            };
        }
        View::Connack(connack) => Body::Connack {
            session_present: connack.session_present,
            code: connack.code,
            props: props(&connack.properties),
        },
        View::Publish(publish) => {
            let layout = publish.layout();
            Body::Publish(Publish {
                dup: layout.dup(),
                qos: layout.qos().as_u8(),
                retain: layout.retain(),
                topic: publish.topic().to_owned(),
                id: layout.packet_id().unwrap_or_default(),
                props: props(&publish.properties()),
                payload: publish.payload().expect("a whole packet").to_vec(),
            })
        }
        View::Ack(ack) => Body::Ack {
            kind: ack.kind,
            id: ack.packet_id,
            reason: ack.reason.as_u8(),
            props: props(&ack.properties),
        },
        View::Subscribe(subscribe) => Body::Subscribe {
            id: subscribe.packet_id(),
            props: props(&subscribe.properties()),
            entries: subscribe
                .subscriptions()
                .map(|entry| (entry.filter.to_string(), entry.options.as_u8()))
                .collect(),
        },
        View::Suback(suback) | View::Unsuback(suback) => Body::Codes {
            kind: view.kind(),
            id: suback.packet_id,
            props: props(&suback.properties),
            codes: suback.codes.to_vec(),
        },
        View::Unsubscribe(unsubscribe) => Body::Unsubscribe {
            id: unsubscribe.packet_id(),
            props: props(&unsubscribe.properties()),
            filters: unsubscribe
                .filters()
                .map(|filter| filter.to_string())
                .collect(),
        },
        View::Pingreq => Body::Pingreq,
        View::Pingresp => Body::Pingresp,
        View::Disconnect(disconnect) => Body::Reason {
            kind: Kind::Disconnect,
            reason: disconnect.reason.as_u8(),
            props: props(&disconnect.properties),
        },
        View::Auth(auth) => Body::Reason {
            kind: Kind::Auth,
            reason: auth.reason.as_u8(),
            props: props(&auth.properties),
        },
    };
    Packet {
        version,
        direction,
        body,
    }
}

/// The fields of a CONNECT.
pub(crate) fn connect(packet: &ConnectPacket) -> Connect {
    Connect {
        clean: packet.clean_start(),
        keep_alive: packet.keep_alive(),
        props: props(&packet.properties()),
        client_id: packet.client_id().to_owned(),
        will: packet.will().map(|will| Will {
            qos: will.qos.as_u8(),
            retain: will.retain,
            props: props(&will.properties),
            topic: will.topic.to_owned(),
            payload: will.payload.to_vec(),
        }),
        user_name: packet.user_name().map(|filter| filter.to_string()),
        password: packet.password().map(<[u8]>::to_vec),
    }
}

fn props(properties: &Properties<'_>) -> Props {
    properties
        .iter()
        .map(|property| {
            let value = match property.value {
                Seen::Byte(value) => Value::Byte(value),
                Seen::U16(value) => Value::U16(value),
                Seen::U32(value) => Value::U32(value),
                Seen::Varint(value) => Value::Varint(value),
                Seen::Str(text) => Value::Str(text.to_owned()),
                Seen::Binary(data) => Value::Binary(data.to_vec()),
                Seen::Pair(name, value) => Value::Pair(name.to_owned(), value.to_owned()),
            };
            (property.id as u8, value)
        })
        .collect()
}
