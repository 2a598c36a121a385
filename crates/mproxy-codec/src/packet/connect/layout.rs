//! Where the fields of a CONNECT are.

use core::ops::Range;

use super::flags::{
    FLAG_CLEAN, FLAG_PASSWORD, FLAG_USER_NAME, FLAG_WILL, LEVEL_BRIDGE, check_flags,
};
use crate::error::DecodeError;
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::packet::body;
use crate::property::{Place, Properties};
use crate::topic;
use crate::version::Version;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Spans of contents, without the lengths in front of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: Version,
    pub(super) is_bridge: bool,
    pub(super) flags: u8,
    pub(super) keep_alive: u16,
    pub(super) properties: Span,
    pub(super) client_id: Span,
    pub(super) will: Option<WillLayout>,
    pub(super) user_name: Option<Span>,
    pub(super) password: Option<Span>,
    pub(super) has_control: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct WillLayout {
    pub(super) properties: Span,
    pub(super) topic: Span,
    pub(super) payload: Span,
}

impl Layout {
    /// Validates; `field` follows, so that it names the field at which an error was found.
    pub(super) fn parse(
        head: Head,
        frame: &[u8],
        field: &mut &'static str,
    ) -> Result<Self, DecodeError> {
        *field = "protocol name";
        let mut reader = body(head, frame)?;
        let name = reader.binary()?;
        *field = "protocol level";
        let level = reader.u8()?;
        let version = match (name, level & !LEVEL_BRIDGE) {
            (b"MQIsdp", 3) => Version::V31,
            (b"MQTT", 4) => Version::V311,
            (b"MQTT", 5) if level == 5 => Version::V5,
            (b"MQTT", 3) | (b"MQIsdp", 4) => return Err(DecodeError::ProtocolMismatch),
            (b"MQIsdp", 5) if level == 5 => return Err(DecodeError::ProtocolMismatch),
            (b"MQIsdp" | b"MQTT", _) => return Err(DecodeError::ProtocolLevel),
            _ => {
                *field = "protocol name";
                return Err(DecodeError::ProtocolName);
            }
        };
        let v5 = version.is_v5();
        *field = "connect flags";
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        *field = "keep alive";
        let keep_alive = reader.u16()?;
        // the reader stands behind a field of this length when the closure is called
        let span = |end: usize, len: usize| Span {
            start: (end - len) as u32,
            end: end as u32,
        };
        let empty = Span { start: 0, end: 0 };
        let properties = if v5 {
            *field = "properties";
            let block = reader.properties(Place::Packet(Kind::Connect, Direction::ToServer))?;
            span(reader.position(), block.as_bytes().len())
        } else {
            empty
        };
        *field = "client identifier";
        let id = reader.name()?;
        // section 3.1.3.1: MQTT 3.1 wants an identifier, [MQTT-3.1.3-7] of 3.1.1 a clean session
        // without one, MQTT 5.0 assigns one
        let must_have_id =
            version == Version::V31 || version == Version::V311 && flags & FLAG_CLEAN == 0;
        if id.is_empty() && must_have_id {
            return Err(DecodeError::EmptyClientId);
        }
        let client_id = span(reader.position(), id.len());
        let will = if flags & FLAG_WILL == 0 {
            None
        } else {
            let properties = if v5 {
                *field = "will properties";
                let block = reader.properties(Place::Will)?;
                span(reader.position(), block.as_bytes().len())
            } else {
                empty
            };
            *field = "will topic";
            let topic = reader.topic_name().map_err(of_will)?.len();
            let topic = span(reader.position(), topic);
            *field = "will payload";
            let payload = reader.binary()?.len();
            Some(WillLayout {
                properties,
                topic,
                payload: span(reader.position(), payload),
            })
        };
        let user_name = if flags & FLAG_USER_NAME == 0 {
            None
        } else {
            *field = "user name";
            let len = reader.name()?.len();
            Some(span(reader.position(), len))
        };
        let password = if flags & FLAG_PASSWORD == 0 {
            None
        } else {
            *field = "password";
            let len = reader.binary()?.len();
            Some(span(reader.position(), len))
        };
        *field = "end of the packet";
        reader.finish()?;
        Ok(Self {
            version,
            is_bridge: level & LEVEL_BRIDGE != 0,
            flags,
            keep_alive,
            properties,
            client_id,
            will,
            user_name,
            password,
            has_control: reader.has_control(),
        })
    }

    /// The field that holds the first control character, in the standard's words.
    pub(super) fn control_field(&self, frame: &[u8]) -> Option<&'static str> {
        if !self.has_control {
            return None;
        }
        let bytes = |span: Span| frame.get(span.range()).unwrap_or_default();
        let in_name = |span: Span| str::from_utf8(bytes(span)).is_ok_and(topic::has_control);
        let in_properties = |span: Span| {
            Properties::judge(bytes(span), Place::Will).is_ok_and(|(_, found)| found.has_control)
        };
        if in_name(self.client_id) {
            return Some("client identifier");
        }
        if self.will.is_some_and(|will| in_properties(will.properties)) {
            return Some("will properties");
        }
        if self.will.is_some_and(|will| in_name(will.topic)) {
            return Some("will topic");
        }
        Some("user name")
    }
}

/// Turns the error of a topic name into that of a will topic.
const fn of_will(error: DecodeError) -> DecodeError {
    match error {
        DecodeError::WildcardInTopicName => DecodeError::WildcardInWillTopic,
        error => error,
    }
}
