//! Packets for scripts.

use mproxy_codec::{
    Head, Kind, PropertyId, PropertyWriter, QoS, ReasonCode, SubscriptionOptions, Value, Version,
    encode_ack, encode_suback, encode_subscribe, encode_unsuback, encode_unsubscribe,
};

/// Bytes from hex; blanks are for the reader.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

/// A fixed header in front of a body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let byte = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        packet.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A string with its length.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Properties as CONNECT and others carry them, without their length.
pub fn properties(list: &[(PropertyId, Value<'_>)]) -> Vec<u8> {
    let mut writer = PropertyWriter::new();
    for (id, value) in list {
        writer.push(*id, *value).expect("a valid property");
    }
    writer.as_bytes().to_vec()
}

/// Builds packets of one version.
#[derive(Clone, Copy, Debug)]
pub struct Frames(pub Version);

/// The parts of a CONNECT that tests vary.
#[derive(Clone, Debug, Default)]
pub struct ConnectParts<'a> {
    pub client_id: &'a str,
    pub keep_alive: u16,
    pub keep_session: bool,
    pub properties: &'a [u8],
    pub will: Option<(&'a str, &'a [u8])>,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

impl Frames {
    fn with_properties(self, body: &mut Vec<u8>, properties: &[u8]) {
        if self.0.is_v5() {
            let mut len = properties.len();
            while len > 127 {
                body.push(u8::try_from(len % 128).expect("below 128") | 128);
                len /= 128;
            }
            body.push(u8::try_from(len).expect("below 128"));
            body.extend_from_slice(properties);
        }
    }

    /// CONNECT with a clean session and keep alive 60.
    pub fn connect(self, client_id: &str) -> Vec<u8> {
        self.connect_with(&ConnectParts {
            client_id,
            keep_alive: 60,
            ..ConnectParts::default()
        })
    }

    pub fn connect_with(self, parts: &ConnectParts<'_>) -> Vec<u8> {
        let mut body = string(if self.0 == Version::V31 {
            "MQIsdp"
        } else {
            "MQTT"
        });
        body.push(self.0.level());
        let mut flags = if parts.keep_session { 0 } else { 2 };
        flags |= if parts.will.is_some() { 4 } else { 0 };
        flags |= if parts.user_name.is_some() { 0x80 } else { 0 };
        flags |= if parts.password.is_some() { 0x40 } else { 0 };
        body.push(flags);
        body.extend_from_slice(&parts.keep_alive.to_be_bytes());
        self.with_properties(&mut body, parts.properties);
        body.extend(string(parts.client_id));
        if let Some((topic, payload)) = parts.will {
            self.with_properties(&mut body, &[]);
            body.extend(string(topic));
            body.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
            body.extend_from_slice(payload);
        }
        if let Some(user_name) = parts.user_name {
            body.extend(string(user_name));
        }
        if let Some(password) = parts.password {
            body.extend(u16::try_from(password.len()).expect("short").to_be_bytes());
            body.extend_from_slice(password);
        }
        packet(0x10, &body)
    }

    /// CONNACK of success, as a broker sends it. That of MQTT 5.0 names a Maximum Packet Size: 512 KiB.
    pub fn connack(self) -> Vec<u8> {
        self.connack_with(
            0,
            &properties(&[(PropertyId::MaximumPacketSize, Value::U32(0x8_0000))]),
        )
    }

    pub fn connack_with(self, code: u8, properties: &[u8]) -> Vec<u8> {
        let mut body = vec![0, code];
        self.with_properties(&mut body, properties);
        packet(0x20, &body)
    }

    pub fn publish(self, topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
        self.publish_with(topic, qos, id, &[], payload)
    }

    pub fn publish_with(
        self,
        topic: &str,
        qos: u8,
        id: u16,
        properties: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut body = string(topic);
        if qos > 0 {
            body.extend(id.to_be_bytes());
        }
        self.with_properties(&mut body, properties);
        body.extend_from_slice(payload);
        packet(0x30 | qos << 1, &body)
    }

    /// A PUBLISH of QoS 0 with a topic alias.
    pub fn aliased(self, topic: &str, alias: u16, payload: &[u8]) -> Vec<u8> {
        let properties = properties(&[(PropertyId::TopicAlias, Value::U16(alias))]);
        self.publish_with(topic, 0, 0, &properties, payload)
    }

    pub fn ack(self, kind: Kind, id: u16, reason: u8) -> Vec<u8> {
        encode_ack(self.0, kind, id, ReasonCode::new(reason), &[])
            .expect("valid")
            .to_vec()
    }

    pub fn puback(self, id: u16) -> Vec<u8> {
        self.ack(Kind::Puback, id, 0)
    }

    pub fn pubrec(self, id: u16) -> Vec<u8> {
        self.ack(Kind::Pubrec, id, 0)
    }

    pub fn pubrel(self, id: u16) -> Vec<u8> {
        self.ack(Kind::Pubrel, id, 0)
    }

    pub fn pubcomp(self, id: u16) -> Vec<u8> {
        self.ack(Kind::Pubcomp, id, 0)
    }

    pub fn subscribe(self, id: u16, filters: &[&str]) -> Vec<u8> {
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        encode_subscribe(
            self.0,
            id,
            &[],
            filters.iter().map(|filter| (*filter, options)),
        )
        .expect("valid")
        .to_vec()
    }

    pub fn suback(self, id: u16, codes: &[u8]) -> Vec<u8> {
        encode_suback(self.0, id, &[], codes)
            .expect("valid")
            .to_vec()
    }

    pub fn unsubscribe(self, id: u16, filters: &[&str]) -> Vec<u8> {
        encode_unsubscribe(self.0, id, &[], filters.iter().copied())
            .expect("valid")
            .to_vec()
    }

    pub fn unsuback(self, id: u16, codes: &[u8]) -> Vec<u8> {
        encode_unsuback(self.0, id, &[], codes)
            .expect("valid")
            .to_vec()
    }

    pub fn pingreq(self) -> Vec<u8> {
        vec![0xc0, 0]
    }

    pub fn pingresp(self) -> Vec<u8> {
        vec![0xd0, 0]
    }

    pub fn disconnect(self) -> Vec<u8> {
        vec![0xe0, 0]
    }

    /// The DISCONNECT of a server with this reason, which only MQTT 5.0 knows.
    pub fn farewell(self, reason: u8) -> Vec<u8> {
        if self.0.is_v5() {
            vec![0xe0, 1, reason]
        } else {
            Vec::new()
        }
    }

    /// The same PUBLISH again, with the DUP flag.
    pub fn again(mut publish: Vec<u8>) -> Vec<u8> {
        publish[0] |= 0x08;
        publish
    }
}

/// A stream of whole packets to a client, in which CONNACK, DISCONNECT and acknowledgements that
/// carry nothing but a Reason String are written without it.
pub fn without_texts(mut stream: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some(head) = Head::parse(stream).expect("a fixed header") {
        let (whole, rest) = stream.split_at(head.total_len());
        stream = rest;
        // the reason code stands in front of the property length, which stands in front of 0x1f
        let code_at = match head.kind() {
            Kind::Disconnect => 2,
            Kind::Connack | Kind::Puback | Kind::Pubrec => {
                3 + usize::from(head.kind() != Kind::Connack)
            }
            _ => usize::MAX,
        };
        match whole.get(code_at..) {
            Some([code, length, 0x1f, text @ ..])
                if usize::from(*length) == text.len() + 1 && whole.len() < 128 =>
            {
                let mut body = whole[2..code_at].to_vec();
                body.push(*code);
                if head.kind() == Kind::Connack {
                    body.push(0);
                }
                plain.extend(packet(whole[0], &body));
            }
            _ => plain.extend_from_slice(whole),
        }
    }
    assert!(stream.is_empty(), "not a whole packet: {stream:02x?}");
    plain
}
