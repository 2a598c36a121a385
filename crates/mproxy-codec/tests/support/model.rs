//! A packet as plain data, and the bytes that the standard prescribes for it.

use mproxy_codec::{Direction, Kind, Version};

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Byte(u8),
    U16(u16),
    U32(u32),
    Varint(u32),
    Str(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// Properties by identifier, in the order of the packet.
pub(crate) type Props = Vec<(u8, Value)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) version: Version,
    pub(crate) direction: Direction,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Connect(Connect),
    Connack {
        session_present: bool,
        code: u8,
        props: Props,
    },
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack {
        kind: Kind,
        id: u16,
        reason: u8,
        props: Props,
    },
    Subscribe {
        id: u16,
        props: Props,
        entries: Vec<(String, u8)>,
    },
    /// SUBACK and UNSUBACK.
    Codes {
        kind: Kind,
        id: u16,
        props: Props,
        codes: Vec<u8>,
    },
    Unsubscribe {
        id: u16,
        props: Props,
        filters: Vec<String>,
    },
    Pingreq,
    Pingresp,
    /// DISCONNECT and AUTH.
    Reason {
        kind: Kind,
        reason: u8,
        props: Props,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) props: Props,
    pub(crate) client_id: String,
    pub(crate) will: Option<Will>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) props: Props,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) id: u16,
    pub(crate) props: Props,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// The packet in its shortest valid form.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let v5 = self.version == Version::V5;
        let mut out = Vec::new();
        let first = match &self.body {
            Body::Connect(connect) => {
                connect.write(self.version, &mut out);
                0x10
            }
            Body::Connack {
                session_present,
                code,
                props,
            } => {
                out.extend([u8::from(*session_present), *code]);
                block(v5, props, &mut out);
                0x20
            }
            Body::Publish(publish) => {
                field(publish.topic.as_bytes(), &mut out);
                if publish.qos > 0 {
                    out.extend(publish.id.to_be_bytes());
                }
                block(v5, &publish.props, &mut out);
                out.extend(&publish.payload);
                0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain)
            }
            Body::Ack {
                kind,
                id,
                reason,
                props,
            } => {
                out.extend(id.to_be_bytes());
                optional_reason(v5, *reason, props, &mut out);
                kind.as_u8() << 4 | if *kind == Kind::Pubrel { 2 } else { 0 }
            }
            Body::Subscribe { id, props, entries } => {
                out.extend(id.to_be_bytes());
                block(v5, props, &mut out);
                for (filter, options) in entries {
                    field(filter.as_bytes(), &mut out);
                    out.push(*options);
                }
                0x82
            }
            Body::Codes {
                kind,
                id,
                props,
                codes,
            } => {
                out.extend(id.to_be_bytes());
                block(v5, props, &mut out);
                out.extend(codes);
                kind.as_u8() << 4
            }
            Body::Unsubscribe { id, props, filters } => {
                out.extend(id.to_be_bytes());
                block(v5, props, &mut out);
                for filter in filters {
                    field(filter.as_bytes(), &mut out);
                }
                0xa2
            }
            Body::Pingreq => 0xc0,
            Body::Pingresp => 0xd0,
            Body::Reason {
                kind,
                reason,
                props,
            } => {
                optional_reason(v5, *reason, props, &mut out);
                kind.as_u8() << 4
            }
        };
        let mut packet = vec![first];
        varint(out.len(), &mut packet);
        packet.append(&mut out);
        packet
    }

    /// The properties of the packet itself.
    pub(crate) const fn props(&self) -> &Props {
        const NONE: &Props = &Vec::new();
        match &self.body {
            Body::Connect(Connect { props, .. })
            | Body::Connack { props, .. }
            | Body::Publish(Publish { props, .. })
            | Body::Ack { props, .. }
            | Body::Subscribe { props, .. }
            | Body::Codes { props, .. }
            | Body::Unsubscribe { props, .. }
            | Body::Reason { props, .. } => props,
            Body::Pingreq | Body::Pingresp => NONE,
        }
    }
}

impl Connect {
    fn write(&self, version: Version, out: &mut Vec<u8>) {
        let v5 = version == Version::V5;
        field(
            if version == Version::V31 {
                b"MQIsdp"
            } else {
                b"MQTT"
            },
            out,
        );
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user_name.is_some()) << 7;
        out.extend([version.level(), flags]);
        out.extend(self.keep_alive.to_be_bytes());
        block(v5, &self.props, out);
        field(self.client_id.as_bytes(), out);
        if let Some(will) = &self.will {
            block(v5, &will.props, out);
            field(will.topic.as_bytes(), out);
            field(&will.payload, out);
        }
        if let Some(name) = &self.user_name {
            field(name.as_bytes(), out);
        }
        if let Some(password) = &self.password {
            field(password, out);
        }
    }
}

/// A variable byte integer, by the algorithm of section 1.5.5.
pub(crate) fn varint(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let mut byte = (value % 128) as u8;
        value /= 128;
        if value > 0 {
            byte |= 128;
        }
        out.push(byte);
        if value == 0 {
            return;
        }
    }
}

/// The bytes of properties, without the length in front of them.
pub(crate) fn properties(props: &Props) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, value) in props {
        out.push(*id);
        match value {
            Value::Byte(value) => out.push(*value),
            Value::U16(value) => out.extend(value.to_be_bytes()),
            Value::U32(value) => out.extend(value.to_be_bytes()),
            Value::Varint(value) => varint(*value as usize, &mut out),
            Value::Str(text) => field(text.as_bytes(), &mut out),
            Value::Binary(data) => field(data, &mut out),
            Value::Pair(name, value) => {
                field(name.as_bytes(), &mut out);
                field(value.as_bytes(), &mut out);
            }
        }
    }
    out
}

fn block(v5: bool, props: &Props, out: &mut Vec<u8>) {
    if v5 {
        let block = properties(props);
        varint(block.len(), out);
        out.extend(block);
    }
}

fn optional_reason(v5: bool, reason: u8, props: &Props, out: &mut Vec<u8>) {
    if v5 && (reason != 0 || !props.is_empty()) {
        out.push(reason);
        if !props.is_empty() {
            block(v5, props, out);
        }
    }
}

/// A string or binary field with its two-byte length.
pub(crate) fn field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}
