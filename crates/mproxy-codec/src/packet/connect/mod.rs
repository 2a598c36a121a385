//! CONNECT (MQTT 5.0 section 3.1): parsed once, kept whole, rewritten field by field.

use core::fmt;
use core::ops::Range;

use bytes::Bytes;

use super::publish::body;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::qos::QoS;
use crate::topic;
use crate::varint;
use crate::version::Version;

const FLAG_RESERVED: u8 = 0x01;
pub(super) const FLAG_CLEAN: u8 = 0x02;
pub(crate) const FLAG_WILL: u8 = 0x04;
pub(super) const WILL_QOS_SHIFT: u8 = 3;
const FLAG_WILL_QOS: u8 = 0x18;
pub(super) const FLAG_WILL_RETAIN: u8 = 0x20;
pub(super) const FLAG_PASSWORD: u8 = 0x40;
pub(super) const FLAG_USER_NAME: u8 = 0x80;

/// The flags that describe a will.
pub(crate) const WILL_FLAGS: u8 = FLAG_WILL_QOS | FLAG_WILL_RETAIN;

/// A mosquitto bridge sets this bit in its protocol level.
const LEVEL_BRIDGE: u8 = 0x80;

/// A CONNECT: its bytes, validated, and where the fields are.
///
/// Setters replace one field and leave all other bytes as they were. The result is validated like a
/// packet from the network, and a setter cannot add control characters to names and topics that had
/// none. `Debug` shows neither password nor will payload.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectPacket {
    frame: Bytes,
    layout: Layout,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Spans of contents, without the lengths in front of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    version: Version,
    is_bridge: bool,
    flags: u8,
    keep_alive: u16,
    properties: Span,
    client_id: Span,
    will: Option<WillLayout>,
    user_name: Option<Span>,
    password: Option<Span>,
    has_control: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct WillLayout {
    properties: Span,
    topic: Span,
    payload: Span,
}

impl Layout {
    pub(super) const fn is_v5(&self) -> bool {
        self.version.is_v5()
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

/// The will of a CONNECT: a PUBLISH in advance.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Will<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The quality of service.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The will properties; empty before MQTT 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Will<'a> {
    /// A will of QoS 0 that is not retained and has no properties, for a
    /// [`ConnectBuilder`](crate::ConnectBuilder).
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::validated(&[]),
        }
    }

    /// Sets the quality of service.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets the RETAIN flag.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the will properties: a block that [`Properties::parse`] has read for [`Place::Will`].
    #[must_use]
    pub const fn properties(mut self, properties: Properties<'a>) -> Self {
        self.properties = properties;
        self
    }
}

impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

/// The fields of a CONNECT as slices, from which a new one is joined.
pub(super) struct Fields<'a> {
    pub(super) flags: u8,
    pub(super) keep_alive: u16,
    pub(super) properties: &'a [u8],
    pub(super) client_id: &'a [u8],
    pub(super) will: Option<WillFields<'a>>,
    pub(super) user_name: Option<&'a [u8]>,
    pub(super) password: Option<&'a [u8]>,
}

pub(super) struct WillFields<'a> {
    pub(super) properties: &'a [u8],
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl ConnectPacket {
    /// Validates one whole packet.
    ///
    /// MQTT 3.1 and 3.1.1 do not forbid an over-long remaining length, and MQTT 3.1 disregards
    /// connect flag 0 and uses no flags of the fixed header: such a packet is accepted and
    /// normalised, so that the broker reads the same fields from it as the proxy.
    ///
    /// # Errors
    /// Any [`DecodeError`] of a CONNECT. [`DecodeError::ProtocolName`] differs from
    /// [`DecodeError::ProtocolLevel`] and [`DecodeError::ProtocolMismatch`], because only these two
    /// can be answered.
    pub fn parse(frame: Bytes) -> Result<Self, DecodeError> {
        let head = Head::parse(&frame)?.ok_or(DecodeError::Truncated)?;
        if head.kind() != Kind::Connect {
            return Err(DecodeError::ReservedFlags);
        }
        if frame.len() != head.total_len() {
            return Err(DecodeError::TrailingBytes);
        }
        let layout = parse_layout(head, &frame, &mut "")?;
        let packet = Self { frame, layout };
        let has_flags = head.first_byte() != 0x10;
        if has_flags && layout.version != Version::V31 {
            return Err(DecodeError::ReservedFlags);
        }
        if head.is_minimal() && !has_flags && layout.flags & FLAG_RESERVED == 0 {
            return Ok(packet);
        }
        if layout.version.is_v5() {
            return Err(DecodeError::NotMinimal);
        }
        let mut fields = packet.fields();
        fields.flags &= !FLAG_RESERVED;
        fields
            .join(layout.version, layout.is_bridge)
            .map_err(|_| DecodeError::PacketTooLarge)
            .and_then(Self::parse)
    }

    /// The version in which to refuse this CONNECT, if the protocol name is one of MQTT's.
    ///
    /// A level above 5 is a later MQTT, whose clients understand MQTT 5.0; other unknown levels get
    /// MQTT 3.1.1 ([MQTT-3.1.2-2]).
    #[must_use]
    pub fn version_of(frame: &[u8]) -> Option<Version> {
        let head = Head::parse(frame).ok()??;
        let rest = frame.get(head.len()..)?;
        match rest {
            [0, 4, b'M', b'Q', b'T', b'T', 5..=0x7f, ..] => Some(Version::V5),
            [0, 4, b'M', b'Q', b'T', b'T', ..] => Some(Version::V311),
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Some(Version::V31),
            _ => None,
        }
    }

    /// The packet's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.frame
    }

    /// The protocol version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.layout.version
    }

    /// True for a mosquitto bridge: bit 7 of its protocol level is set (0x83, 0x84). The broker does
    /// not send its own messages back to it, and leaves RETAIN as it was. The bit is forwarded.
    #[must_use]
    pub const fn is_bridge(&self) -> bool {
        self.layout.is_bridge
    }

    /// The keep alive in seconds; 0 turns it off.
    #[must_use]
    pub const fn keep_alive(&self) -> u16 {
        self.layout.keep_alive
    }

    /// Clean Session of MQTT 3.x, Clean Start of MQTT 5.0.
    #[must_use]
    pub const fn clean_start(&self) -> bool {
        self.layout.flags & FLAG_CLEAN != 0
    }

    /// The client identifier; empty when the broker is to assign one.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.text(self.layout.client_id)
    }

    /// The user name.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        self.layout.user_name.map(|span| self.text(span))
    }

    /// The password, which is binary.
    #[must_use]
    pub fn password(&self) -> Option<&[u8]> {
        self.layout.password.map(|span| self.slice(span))
    }

    /// True when the client identifier, the user name, or the will's topic or Response Topic holds
    /// a [control character](crate::topic::has_control).
    #[must_use]
    pub const fn has_control(&self) -> bool {
        self.layout.has_control
    }

    /// The properties; empty before MQTT 5.0.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        Properties::validated(self.slice(self.layout.properties))
    }

    /// The will.
    #[must_use]
    pub fn will(&self) -> Option<Will<'_>> {
        let will = self.layout.will?;
        Some(Will {
            topic: self.text(will.topic),
            payload: self.slice(will.payload),
            qos: QoS::from_bits(self.layout.flags >> WILL_QOS_SHIFT).ok()?,
            retain: self.layout.flags & FLAG_WILL_RETAIN != 0,
            properties: Properties::validated(self.slice(will.properties)),
        })
    }

    /// Replaces the client identifier.
    ///
    /// # Errors
    /// [`EncodeError`] when it is too long or not a valid identifier.
    pub fn set_client_id(&mut self, client_id: &str) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.client_id = client_id.as_bytes())?;
        Ok(())
    }

    /// Replaces, adds or removes the user name.
    ///
    /// # Errors
    /// [`EncodeError`] when it is too long or not valid, or when a password would be left without
    /// a user name before MQTT 5.0.
    pub fn set_user_name(&mut self, user_name: Option<&str>) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.user_name = user_name.map(str::as_bytes))?;
        Ok(())
    }

    /// Replaces, adds or removes the password.
    ///
    /// # Errors
    /// [`EncodeError`] when it is too long, or without a user name before MQTT 5.0.
    pub fn set_password(&mut self, password: Option<&[u8]>) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.password = password)?;
        Ok(())
    }

    /// Replaces, adds or removes user name and password together.
    ///
    /// # Errors
    /// As [`set_user_name`](Self::set_user_name) and [`set_password`](Self::set_password).
    pub fn set_credentials(
        &mut self,
        user_name: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(), EncodeError> {
        *self = self.with(|fields| {
            fields.user_name = user_name.map(str::as_bytes);
            fields.password = password;
        })?;
        Ok(())
    }

    /// Replaces the property block ([`PropertyWriter::as_bytes`](crate::PropertyWriter::as_bytes)).
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] before MQTT 5.0; [`EncodeError`] when the block is not valid.
    pub fn set_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if !self.version().is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        *self = self.with(|fields| fields.properties = properties)?;
        Ok(())
    }

    /// Replaces the keep alive, in seconds; 0 turns it off.
    ///
    /// # Errors
    /// None in practice; [`EncodeError`] for symmetry with the other setters.
    pub fn set_keep_alive(&mut self, seconds: u16) -> Result<(), EncodeError> {
        *self = self.with(|fields| fields.keep_alive = seconds)?;
        Ok(())
    }

    /// Replaces the will's topic name.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will; [`EncodeError`] when the name is not valid.
    pub fn set_will_topic(&mut self, topic: &str) -> Result<(), EncodeError> {
        *self = self.with_will(|will| will.topic = topic.as_bytes())?;
        Ok(())
    }

    /// Replaces the will's payload.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will; [`EncodeError::FieldTooLong`].
    pub fn set_will_payload(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        *self = self.with_will(|will| will.payload = payload)?;
        Ok(())
    }

    /// Replaces the will's property block.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will or before MQTT 5.0; [`EncodeError`] when the
    /// block is not valid.
    pub fn set_will_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if !self.version().is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        *self = self.with_will(|will| will.properties = properties)?;
        Ok(())
    }

    /// Replaces the whole will. Its properties are those of a will
    /// ([`Place::Will`](crate::Place::Will)), and are left out before MQTT 5.0.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] without a will; [`EncodeError`] when a field is not valid.
    pub fn set_will(&mut self, will: &Will<'_>) -> Result<(), EncodeError> {
        if self.layout.will.is_none() {
            return Err(EncodeError::NoSuchField);
        }
        *self = self.with(|fields| {
            fields.will = Some(WillFields {
                properties: will.properties.as_bytes(),
                topic: will.topic.as_bytes(),
                payload: will.payload,
            });
            fields.flags &= !(FLAG_WILL_QOS | FLAG_WILL_RETAIN);
            fields.flags |= will.qos.as_u8() << FLAG_WILL_QOS.trailing_zeros();
            if will.retain {
                fields.flags |= FLAG_WILL_RETAIN;
            }
        })?;
        Ok(())
    }

    /// Removes the will, if there is one.
    ///
    /// # Errors
    /// None in practice; [`EncodeError`] for symmetry with the other setters.
    pub fn remove_will(&mut self) -> Result<(), EncodeError> {
        *self = self.with(|fields| {
            fields.will = None;
            fields.flags &= !(FLAG_WILL | FLAG_WILL_QOS | FLAG_WILL_RETAIN);
        })?;
        Ok(())
    }

    fn with_will<'a>(
        &'a self,
        edit: impl FnOnce(&mut WillFields<'a>),
    ) -> Result<Self, EncodeError> {
        if self.layout.will.is_none() {
            return Err(EncodeError::NoSuchField);
        }
        self.with(|fields| {
            if let Some(will) = &mut fields.will {
                edit(will);
            }
        })
    }

    fn with<'a, 'b>(&'a self, edit: impl FnOnce(&mut Fields<'b>)) -> Result<Self, EncodeError>
    where
        'a: 'b,
    {
        let mut fields = self.fields();
        edit(&mut fields);
        let made = Self::parse(fields.join(self.layout.version, self.layout.is_bridge)?)?;
        if made.has_control() && !self.has_control() {
            return Err(EncodeError::Invalid(DecodeError::ControlCharacter));
        }
        Ok(made)
    }

    fn fields(&self) -> Fields<'_> {
        let layout = &self.layout;
        Fields {
            flags: layout.flags,
            keep_alive: layout.keep_alive,
            properties: self.slice(layout.properties),
            client_id: self.slice(layout.client_id),
            will: layout.will.map(|will| WillFields {
                properties: self.slice(will.properties),
                topic: self.slice(will.topic),
                payload: self.slice(will.payload),
            }),
            user_name: layout.user_name.map(|span| self.slice(span)),
            password: layout.password.map(|span| self.slice(span)),
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.frame.get(span.range()).unwrap_or_default()
    }

    fn text(&self, span: Span) -> &str {
        core::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

impl fmt::Debug for ConnectPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectPacket")
            .field("version", &self.version())
            .field("client_id", &self.client_id())
            .field("user_name", &self.user_name())
            .field("password", &self.password().map(|_| "***"))
            .field("clean_start", &self.clean_start())
            .field("keep_alive", &self.keep_alive())
            .field("will", &self.will())
            .finish_non_exhaustive()
    }
}

impl Fields<'_> {
    /// Writes a packet. The flags of the credentials follow from the fields.
    pub(super) fn join(&self, version: Version, is_bridge: bool) -> Result<Bytes, EncodeError> {
        let v5 = version.is_v5();
        let name: &[u8] = match version {
            Version::V31 => b"\0\x06MQIsdp",
            Version::V311 | Version::V5 => b"\0\x04MQTT",
        };
        let bridge = if is_bridge { LEVEL_BRIDGE } else { 0 };
        let mut flags = self.flags & !(FLAG_USER_NAME | FLAG_PASSWORD);
        if self.user_name.is_some() {
            flags |= FLAG_USER_NAME;
        }
        if self.password.is_some() {
            flags |= FLAG_PASSWORD;
        }
        let mut packet = Vec::with_capacity(64);
        packet.extend_from_slice(name);
        packet.push(version.level() | bridge);
        packet.push(flags);
        packet.extend_from_slice(&self.keep_alive.to_be_bytes());
        let push_block = |packet: &mut Vec<u8>, block: &[u8]| -> Result<(), EncodeError> {
            packet.extend_from_slice(varint::encode(block.len())?.as_slice());
            packet.extend_from_slice(block);
            Ok(())
        };
        let push_field = |packet: &mut Vec<u8>, field: &[u8]| -> Result<(), EncodeError> {
            packet.extend_from_slice(&build::field_len(field)?);
            packet.extend_from_slice(field);
            Ok(())
        };
        if v5 {
            push_block(&mut packet, self.properties)?;
        }
        push_field(&mut packet, self.client_id)?;
        if let Some(will) = &self.will {
            if v5 {
                push_block(&mut packet, will.properties)?;
            }
            push_field(&mut packet, will.topic)?;
            push_field(&mut packet, will.payload)?;
        }
        for field in [self.user_name, self.password].into_iter().flatten() {
            push_field(&mut packet, field)?;
        }
        build::join(0x10, &[&packet], 0)
    }
}

/// Where the connect flags of a CONNECT of MQTT 3.1 are, and what they are.
pub(crate) fn v31_flags(frame: &[u8]) -> Option<(usize, u8)> {
    let head = Head::parse(frame).ok()??;
    let rest = frame.get(head.len()..)?;
    match *rest.strip_prefix(b"\0\x06MQIsdp")? {
        [0x03 | 0x83, flags, ..] => Some((head.len() + 9, flags)),
        _ => None,
    }
}

/// Validates; `field` follows, so that it names the field at which an error was found.
pub(super) fn parse_layout(
    head: Head,
    frame: &[u8],
    field: &mut &'static str,
) -> Result<Layout, DecodeError> {
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
    Ok(Layout {
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

/// Turns the error of a topic name into that of a will topic.
const fn of_will(error: DecodeError) -> DecodeError {
    match error {
        DecodeError::WildcardInTopicName => DecodeError::WildcardInWillTopic,
        error => error,
    }
}

const fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    // MQTT 3.1 section 3.1 disregards the bit
    if flags & FLAG_RESERVED != 0 && !matches!(version, Version::V31) {
        return Err(DecodeError::ConnectFlagReserved);
    }
    if flags & FLAG_WILL == 0 {
        if flags & FLAG_WILL_QOS != 0 {
            return Err(DecodeError::WillQosWithoutWill);
        }
        if flags & FLAG_WILL_RETAIN != 0 {
            return Err(DecodeError::WillRetainWithoutWill);
        }
    } else if flags & FLAG_WILL_QOS == FLAG_WILL_QOS {
        return Err(DecodeError::WillQosThree);
    }
    if flags & FLAG_PASSWORD != 0 && flags & FLAG_USER_NAME == 0 && !version.is_v5() {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}
