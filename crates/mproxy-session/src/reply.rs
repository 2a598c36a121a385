//! The only place that makes the packets that the proxy itself sends.
//!
//! It knows what the client accepts: the codes of its version, its Maximum Packet Size, and whether it
//! wants texts.

use bytes::Bytes;
use mproxy_codec::{
    ConnectPacket, EncodeError, Kind, PropertyId, PropertyWriter, ReasonCode, Value, Version,
    encode_ack, encode_disconnect, encode_refusal, encode_suback, encode_unsuback,
};

/// Makes packets for a client, according to its CONNECT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replies {
    pub(crate) version: Version,
    /// The client's Maximum Packet Size; larger packets must not be sent to it [MQTT-3.1.2-24].
    pub(crate) max_packet_size: u32,
    /// Request Problem Information [MQTT-3.1.2-29].
    pub(crate) problem_information: bool,
}

impl Replies {
    /// For a client of which only the version is known.
    pub(crate) const fn new(version: Version) -> Self {
        Self {
            version,
            max_packet_size: u32::MAX,
            problem_information: true,
        }
    }

    /// For a client whose CONNECT could be read.
    pub(crate) fn for_client(packet: &ConnectPacket) -> Self {
        let properties = packet.properties();
        Self {
            version: packet.version(),
            max_packet_size: properties
                .number(PropertyId::MaximumPacketSize)
                .unwrap_or(u32::MAX),
            problem_information: properties.number(PropertyId::RequestProblemInformation)
                != Some(0),
        }
    }

    /// A CONNACK that refuses.
    pub(crate) fn connack(self, reason: ReasonCode, text: Option<&str>) -> Option<Bytes> {
        let reason = connack_code(reason);
        // a Reason String is allowed in CONNACK whatever Request Problem Information says
        self.fit(text, |block| encode_refusal(self.version, reason, block))
    }

    /// A DISCONNECT, which only an MQTT 5.0 client may get.
    pub(crate) fn disconnect(self, reason: ReasonCode, text: Option<&str>) -> Option<Bytes> {
        if !self.version.is_v5() {
            return None;
        }
        let reason = disconnect_code(reason);
        self.fit(text, |block| encode_disconnect(self.version, reason, block))
    }

    /// A PUBACK, PUBREC or PUBCOMP.
    pub(crate) fn ack(
        self,
        kind: Kind,
        packet_id: u16,
        reason: ReasonCode,
        text: Option<&str>,
    ) -> Option<Bytes> {
        let reason = if reason.is_valid_in_puback() {
            reason
        } else {
            ReasonCode::NOT_AUTHORIZED
        };
        let text = text.filter(|_| self.problem_information);
        self.fit(text, |block| {
            encode_ack(self.version, kind, packet_id, reason, block)
        })
    }

    /// The answer to a SUBSCRIBE or UNSUBSCRIBE that is not forwarded.
    pub(crate) fn request(
        self,
        request: Kind,
        packet_id: u16,
        codes: &[u8],
        text: Option<&str>,
    ) -> Option<Bytes> {
        let text = text.filter(|_| self.problem_information);
        self.fit(text, |properties| {
            if request == Kind::Subscribe {
                encode_suback(self.version, packet_id, properties, codes)
            } else {
                encode_unsuback(self.version, packet_id, properties, codes)
            }
        })
    }

    /// Encodes with the text, or without it if the packet would be too large; a packet that is
    /// still too large is not sent.
    fn fit(
        self,
        text: Option<&str>,
        encode: impl Fn(&[u8]) -> Result<Bytes, EncodeError>,
    ) -> Option<Bytes> {
        let fits = |packet: &Bytes| packet.len() <= self.max_packet_size as usize;
        if let Some(text) = text.filter(|_| self.version.is_v5()) {
            let mut properties = PropertyWriter::new();
            if properties
                .push(PropertyId::ReasonString, Value::Str(text))
                .is_ok()
                && let Ok(packet) = encode(properties.as_bytes())
                && fits(&packet)
            {
                return Some(packet);
            }
        }
        encode(&[]).ok().filter(fits)
    }
}

/// A code that a refusing CONNACK may carry, which is also the one that is reported.
pub(crate) const fn connack_code(reason: ReasonCode) -> ReasonCode {
    match reason {
        // codes of DISCONNECT only
        ReasonCode::SERVER_SHUTTING_DOWN => ReasonCode::SERVER_UNAVAILABLE,
        ReasonCode::ADMINISTRATIVE_ACTION => ReasonCode::NOT_AUTHORIZED,
        _ if reason.is_valid_in_connack() && reason.is_error() => reason,
        _ => ReasonCode::UNSPECIFIED_ERROR,
    }
}

/// A code that a DISCONNECT to a client may carry.
pub(crate) const fn disconnect_code(reason: ReasonCode) -> ReasonCode {
    if reason.is_valid_in_server_disconnect() {
        reason
    } else {
        ReasonCode::UNSPECIFIED_ERROR
    }
}

/// A code that a SUBACK or UNSUBACK of this version may carry.
pub(crate) const fn request_code(request: Kind, reason: ReasonCode) -> u8 {
    let valid = match request {
        Kind::Subscribe => reason.is_valid_in_suback(),
        _ => reason.is_valid_in_unsuback(),
    };
    // not a refusal: the client unsubscribed from what it never had
    let is_none = matches!(reason, ReasonCode::NO_SUBSCRIPTION_EXISTED);
    if valid && (reason.is_error() || is_none) {
        reason.as_u8()
    } else {
        ReasonCode::NOT_AUTHORIZED.as_u8()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_left_out_before_the_limit_is_broken() {
        let mut replies = Replies::new(Version::V5);
        let with = replies
            .ack(Kind::Puback, 1, ReasonCode::NOT_AUTHORIZED, Some("no"))
            .unwrap();
        assert_eq!(&with[..], b"\x40\x09\x00\x01\x87\x05\x1f\x00\x02no");
        replies.max_packet_size = 10;
        let without = replies
            .ack(Kind::Puback, 1, ReasonCode::NOT_AUTHORIZED, Some("no"))
            .unwrap();
        assert_eq!(&without[..], b"\x40\x03\x00\x01\x87");
        replies.max_packet_size = 4;
        assert_eq!(
            replies.ack(Kind::Puback, 1, ReasonCode::NOT_AUTHORIZED, None),
            None
        );
    }

    #[test]
    fn a_client_that_wants_no_texts_gets_none_but_in_connack_and_disconnect() {
        let mut replies = Replies::new(Version::V5);
        replies.problem_information = false;
        let ack = replies
            .ack(Kind::Pubrec, 1, ReasonCode::NOT_AUTHORIZED, Some("no"))
            .unwrap();
        assert_eq!(&ack[..], b"\x50\x03\x00\x01\x87");
        let connack = replies.connack(ReasonCode::BANNED, Some("no")).unwrap();
        assert_eq!(&connack[..], b"\x20\x08\x00\x8a\x05\x1f\x00\x02no");
    }

    #[test]
    fn mqtt_3_has_few_words() {
        let replies = Replies::new(Version::V311);
        assert_eq!(
            &replies.connack(ReasonCode::BANNED, Some("no")).unwrap()[..],
            b"\x20\x02\x00\x05"
        );
        assert_eq!(replies.disconnect(ReasonCode::BANNED, None), None);
        let suback = replies
            .request(Kind::Subscribe, 9, &[0x87, 0x01], None)
            .unwrap();
        assert_eq!(&suback[..], b"\x90\x04\x00\x09\x80\x01");
    }
}
