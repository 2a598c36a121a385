//! Properties of MQTT 5.0 packets (section 2.2.2).

use core::iter;

use crate::error::{DecodeError, EncodeError};
use crate::kind::{Direction, Kind};
use crate::reader::{Reader, check_text, check_topic_name};
use crate::varint;

/// Where a property block stands: in a packet of one direction, or in a will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // complete: section 2.2.2.2 knows packets and the will
pub enum Place {
    /// The property block of a packet.
    Packet(Kind, Direction),
    /// The will properties of CONNECT.
    Will,
}

impl Place {
    const fn bit(self) -> u16 {
        match self {
            Self::Packet(kind, _) => 1 << kind as u16,
            Self::Will => WILL,
        }
    }
}

const WILL: u16 = 1; // bit 0: no packet type has the number 0
const CONNECT: u16 = 1 << Kind::Connect as u16;
const CONNACK: u16 = 1 << Kind::Connack as u16;
const PUBLISH: u16 = 1 << Kind::Publish as u16;
const SUBSCRIBE: u16 = 1 << Kind::Subscribe as u16;
const DISCONNECT: u16 = 1 << Kind::Disconnect as u16;
const AUTH: u16 = 1 << Kind::Auth as u16;
/// Every packet that has properties, except those that only a client sends as requests.
const ANSWERS: u16 = CONNACK
    | 1 << Kind::Puback as u16
    | 1 << Kind::Pubrec as u16
    | 1 << Kind::Pubrel as u16
    | 1 << Kind::Pubcomp as u16
    | 1 << Kind::Suback as u16
    | 1 << Kind::Unsuback as u16
    | DISCONNECT
    | AUTH;
const ALL: u16 = ANSWERS | WILL | CONNECT | PUBLISH | SUBSCRIBE | 1 << Kind::Unsubscribe as u16;

/// The types of values; see [`Value`].
#[derive(Clone, Copy)]
enum Shape {
    Byte,
    U16,
    U32,
    Varint,
    Binary,
    Str,
    Pair,
}

/// A property identifier (MQTT 5.0 table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // complete: table 2-4
#[allow(missing_docs)] // the names are the standard's
#[repr(u8)]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0b,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2a,
}

impl PropertyId {
    /// The identifier with this value, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0b => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1a => Self::ResponseInformation,
            0x1c => Self::ServerReference,
            0x1f => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQos,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifierAvailable,
            0x2a => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// The type of the value.
    const fn shape(self) -> Shape {
        match self {
            Self::PayloadFormatIndicator
            | Self::RequestProblemInformation
            | Self::RequestResponseInformation
            | Self::MaximumQos
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifierAvailable
            | Self::SharedSubscriptionAvailable => Shape::Byte,
            Self::ServerKeepAlive
            | Self::ReceiveMaximum
            | Self::TopicAliasMaximum
            | Self::TopicAlias => Shape::U16,
            Self::MessageExpiryInterval
            | Self::SessionExpiryInterval
            | Self::WillDelayInterval
            | Self::MaximumPacketSize => Shape::U32,
            Self::SubscriptionIdentifier => Shape::Varint,
            Self::CorrelationData | Self::AuthenticationData => Shape::Binary,
            Self::ContentType
            | Self::ResponseTopic
            | Self::AssignedClientIdentifier
            | Self::AuthenticationMethod
            | Self::ResponseInformation
            | Self::ServerReference
            | Self::ReasonString => Shape::Str,
            Self::UserProperty => Shape::Pair,
        }
    }

    /// The places that may carry the property, a bit per packet type and bit 0 for the will.
    const fn places(self) -> u16 {
        match self {
            Self::PayloadFormatIndicator
            | Self::MessageExpiryInterval
            | Self::ContentType
            | Self::ResponseTopic
            | Self::CorrelationData => PUBLISH | WILL,
            Self::SubscriptionIdentifier => PUBLISH | SUBSCRIBE,
            Self::SessionExpiryInterval => CONNECT | CONNACK | DISCONNECT,
            Self::AuthenticationMethod | Self::AuthenticationData => CONNECT | CONNACK | AUTH,
            Self::RequestProblemInformation | Self::RequestResponseInformation => CONNECT,
            Self::WillDelayInterval => WILL,
            Self::ServerReference => CONNACK | DISCONNECT,
            Self::ReasonString => ANSWERS,
            Self::ReceiveMaximum | Self::TopicAliasMaximum | Self::MaximumPacketSize => {
                CONNECT | CONNACK
            }
            Self::TopicAlias => PUBLISH,
            Self::UserProperty => ALL,
            Self::AssignedClientIdentifier
            | Self::ServerKeepAlive
            | Self::ResponseInformation
            | Self::MaximumQos
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifierAvailable
            | Self::SharedSubscriptionAvailable => CONNACK,
        }
    }

    /// True when `place` may carry the property, the direction included.
    #[must_use]
    pub const fn is_allowed_in(self, place: Place) -> bool {
        if self.places() & place.bit() == 0 {
            return false;
        }
        match (self, place) {
            // [MQTT-3.3.4-6]: only the server says which subscription matched
            (Self::SubscriptionIdentifier, Place::Packet(Kind::Publish, direction)) => {
                matches!(direction, Direction::ToClient)
            }
            // [MQTT-3.14.2-2]
            (Self::SessionExpiryInterval, Place::Packet(Kind::Disconnect, direction)) => {
                matches!(direction, Direction::ToServer)
            }
            // section 3.14.2.2.5: sent by the server
            (Self::ServerReference, Place::Packet(Kind::Disconnect, direction)) => {
                matches!(direction, Direction::ToClient)
            }
            _ => true,
        }
    }

    /// True when the property may be given more than once.
    const fn may_repeat(self, place: Place) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => matches!(place, Place::Packet(Kind::Publish, _)),
            _ => false,
        }
    }
}

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // complete: section 1.5
pub enum Value<'a> {
    /// One byte.
    Byte(u8),
    /// A two-byte integer.
    U16(u16),
    /// A four-byte integer.
    U32(u32),
    /// A variable byte integer.
    Varint(u32),
    /// A UTF-8 string.
    Str(&'a str),
    /// Binary data.
    Binary(&'a [u8]),
    /// A pair of UTF-8 strings.
    Pair(&'a str, &'a str),
}

/// One property of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property<'a> {
    /// Which property it is.
    pub id: PropertyId,
    /// Its value.
    pub value: Value<'a>,
    /// The bytes it occupies in the packet, identifier included.
    pub bytes: &'a [u8],
}

/// A validated property block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

/// What there is in a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// A bit for each identifier: the largest is 0x2a.
    ids: u64,
    /// The Response Topic holds a control character.
    pub(crate) has_control: bool,
}

impl Found {
    #[inline]
    pub(crate) const fn has(self, id: PropertyId) -> bool {
        self.ids & 1 << id as u8 != 0
    }
}

/// Why a property may not stand where it does.
const fn not_allowed(id: PropertyId, place: Place) -> DecodeError {
    match (id, place) {
        (PropertyId::SubscriptionIdentifier, Place::Packet(Kind::Publish, Direction::ToServer)) => {
            DecodeError::SubscriptionIdFromClient
        }
        _ => DecodeError::PropertyNotAllowed,
    }
}

impl<'a> Properties<'a> {
    /// Validates a block (without its length) in one pass: each property is known, allowed here,
    /// of the right type, in range, and given once.
    ///
    /// # Errors
    /// Any of the property errors of [`DecodeError`], or those of its strings.
    pub fn parse(bytes: &'a [u8], place: Place) -> Result<Self, DecodeError> {
        Self::judge(bytes, place).map(|(properties, _)| properties)
    }

    /// The same; says also what there is.
    pub(crate) fn judge(bytes: &'a [u8], place: Place) -> Result<(Self, Found), DecodeError> {
        let mut reader = Reader::new(bytes, 0);
        let mut found = Found::default();
        while !reader.is_at_end() {
            let id = read_id(&mut reader)?;
            let raw = read_raw(id, &mut reader)?;
            raw.check_strings()?;
            if !id.is_allowed_in(place) {
                return Err(not_allowed(id, place));
            }
            if found.has(id) && !id.may_repeat(place) {
                return Err(DecodeError::DuplicateProperty);
            }
            found.ids |= 1 << id as u8;
            found.has_control |= check_value(id, raw)?;
        }
        if found.has(PropertyId::AuthenticationData) && !found.has(PropertyId::AuthenticationMethod)
        {
            return Err(DecodeError::AuthDataWithoutMethod);
        }
        Ok((Self { bytes }, found))
    }

    /// A block that was validated before.
    pub(crate) const fn validated(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes of the block, without its length.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// True if there are no properties.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The properties in the order of the packet.
    #[must_use]
    pub const fn iter(&self) -> PropertyIter<'a> {
        PropertyIter {
            reader: Reader::new(self.bytes, 0),
            bytes: self.bytes,
        }
    }

    /// The first property with this identifier.
    #[must_use]
    pub fn get(&self, id: PropertyId) -> Option<Value<'a>> {
        let (_, bytes) = self.raw().find(|(other, _)| *other == id)?;
        let property = read_property(&mut Reader::new(bytes, 0), bytes);
        property.ok().map(|property| property.value)
    }

    /// The properties as bytes, inspected only as far as needed to find the next.
    fn raw(&self) -> impl Iterator<Item = (PropertyId, &'a [u8])> {
        let bytes = self.bytes;
        let mut reader = Reader::new(bytes, 0);
        iter::from_fn(move || {
            let start = reader.position();
            let id = PropertyId::from_u8(reader.u8().ok()?)?;
            read_raw(id, &mut reader).ok()?;
            Some((id, bytes.get(start..reader.position())?))
        })
    }

    /// The value of a string property.
    #[must_use]
    pub fn str(&self, id: PropertyId) -> Option<&'a str> {
        match self.get(id)? {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a byte or integer property.
    #[must_use]
    pub fn number(&self, id: PropertyId) -> Option<u32> {
        match self.get(id)? {
            Value::Byte(value) => Some(value.into()),
            Value::U16(value) => Some(value.into()),
            Value::U32(value) | Value::Varint(value) => Some(value),
            Value::Str(_) | Value::Binary(_) | Value::Pair(..) => None,
        }
    }

    /// A copy of the block without the properties that have one of these identifiers.
    ///
    /// ```
    /// use mproxy_codec::{Direction, Kind, Place, Properties, PropertyId};
    /// let place = Place::Packet(Kind::Publish, Direction::ToServer);
    /// let block = Properties::parse(b"\x01\x01\x23\x00\x07", place)?;
    /// assert_eq!(block.without(&[PropertyId::TopicAlias]).as_bytes(), b"\x01\x01");
    /// # Ok::<(), mproxy_codec::DecodeError>(())
    /// ```
    #[must_use]
    pub fn without(&self, ids: &[PropertyId]) -> PropertyWriter {
        let mut writer = PropertyWriter::new();
        for (_, bytes) in self.raw().filter(|(id, _)| !ids.contains(id)) {
            writer.bytes.extend_from_slice(bytes);
        }
        writer
    }

    /// The user properties, in order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|property| match property.value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl<'a> IntoIterator for &Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterates over a validated block; see [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct PropertyIter<'a> {
    reader: Reader<'a>,
    bytes: &'a [u8],
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // the block was validated, so an error cannot happen; it would end the iteration
        if self.reader.is_at_end() {
            None
        } else {
            read_property(&mut self.reader, self.bytes).ok()
        }
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<PropertyId, DecodeError> {
    // an identifier is a variable byte integer, but none is above 0x7f: a second byte is either
    // not minimal or unknown
    PropertyId::from_u8(reader.u8()?).ok_or(DecodeError::UnknownProperty)
}

fn read_property<'a>(
    reader: &mut Reader<'a>,
    bytes: &'a [u8],
) -> Result<Property<'a>, DecodeError> {
    let start = reader.position();
    let id = read_id(reader)?;
    let value = match id.shape() {
        Shape::Byte => Value::Byte(reader.u8()?),
        Shape::U16 => Value::U16(reader.u16()?),
        Shape::U32 => Value::U32(reader.u32()?),
        Shape::Varint => Value::Varint(reader.varint()?),
        Shape::Binary => Value::Binary(reader.binary()?),
        Shape::Str => Value::Str(reader.string()?),
        Shape::Pair => Value::Pair(reader.string()?, reader.string()?),
    };
    Ok(Property {
        id,
        value,
        bytes: &bytes[start..reader.position()],
    })
}

/// A value of the right type, of which no string has been looked at.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Number(u32),
    Binary,
    Text(&'a [u8]),
    Pair(&'a [u8], &'a [u8]),
}

impl Raw<'_> {
    fn check_strings(self) -> Result<(), DecodeError> {
        match self {
            Self::Number(_) | Self::Binary => Ok(()),
            Self::Text(text) => check_text(text),
            Self::Pair(name, value) => check_text(name).and_then(|()| check_text(value)),
        }
    }
}

fn read_raw<'a>(id: PropertyId, reader: &mut Reader<'a>) -> Result<Raw<'a>, DecodeError> {
    Ok(match id.shape() {
        Shape::Byte => Raw::Number(reader.u8()?.into()),
        Shape::U16 => Raw::Number(reader.u16()?.into()),
        Shape::U32 => Raw::Number(reader.u32()?),
        Shape::Varint => Raw::Number(reader.varint()?),
        Shape::Binary => reader.binary().map(|_| Raw::Binary)?,
        Shape::Str => Raw::Text(reader.binary()?),
        Shape::Pair => Raw::Pair(reader.binary()?, reader.binary()?),
    })
}

/// Judges a value. Returns whether it is a topic name that holds a control character.
fn check_value(id: PropertyId, raw: Raw<'_>) -> Result<bool, DecodeError> {
    match (id, raw) {
        (PropertyId::TopicAlias, Raw::Number(0)) => Err(DecodeError::TopicAliasZero),
        (
            PropertyId::ReceiveMaximum
            | PropertyId::MaximumPacketSize
            | PropertyId::SubscriptionIdentifier,
            Raw::Number(0),
        ) => Err(DecodeError::PropertyValue),
        (_, Raw::Number(2..)) if matches!(id.shape(), Shape::Byte) => {
            Err(DecodeError::PropertyValue)
        }
        // [MQTT-3.3.2-14]; reason code 0x90 would mean the packet's own topic name
        (PropertyId::ResponseTopic, Raw::Text(topic)) => {
            check_topic_name(topic).map_err(|error| match error {
                DecodeError::WildcardInTopicName => DecodeError::PropertyValue,
                error => error,
            })
        }
        _ => Ok(false),
    }
}

/// Reads a property back that was written as `value`.
fn check_written(bytes: &[u8], value: Value<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes, 0);
    let property = read_property(&mut reader, bytes)?;
    if !reader.is_at_end() || property.value != value {
        return Err(DecodeError::PropertyValue);
    }
    let mut reader = Reader::new(bytes, 1);
    let raw = read_raw(property.id, &mut reader)?;
    check_value(property.id, raw).map(drop)
}

/// Writes properties into a buffer, for the packets that the proxy itself sends.
#[derive(Clone, Debug, Default)]
pub struct PropertyWriter {
    bytes: Vec<u8>,
}

impl PropertyWriter {
    /// An empty block.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a property as it stood in another packet.
    pub fn copy(&mut self, property: &Property<'_>) -> &mut Self {
        self.bytes.extend_from_slice(property.bytes);
        self
    }

    /// Appends all properties of another block.
    pub fn append(&mut self, other: &Self) -> &mut Self {
        self.bytes.extend_from_slice(&other.bytes);
        self
    }

    /// Appends a property. The block stays readable: a value that does not fit the identifier, or
    /// that no packet may carry, is refused and nothing is written.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`] for a string of more than 65,535 bytes,
    /// [`EncodeError::PacketTooLarge`] for a number that no variable byte integer holds,
    /// [`EncodeError::Invalid`] for a value that the property cannot have.
    pub fn push(&mut self, id: PropertyId, value: Value<'_>) -> Result<&mut Self, EncodeError> {
        let start = self.bytes.len();
        self.bytes.push(id as u8);
        let outcome = match value {
            Value::Byte(byte) => {
                self.bytes.push(byte);
                Ok(())
            }
            Value::U16(number) => {
                self.bytes.extend_from_slice(&number.to_be_bytes());
                Ok(())
            }
            Value::U32(number) => {
                self.bytes.extend_from_slice(&number.to_be_bytes());
                Ok(())
            }
            Value::Varint(number) => varint::encode(number as usize)
                .map(|encoded| self.bytes.extend_from_slice(encoded.as_slice())),
            Value::Str(text) => self.push_field(text.as_bytes()),
            Value::Binary(data) => self.push_field(data),
            Value::Pair(name, value) => self
                .push_field(name.as_bytes())
                .and_then(|()| self.push_field(value.as_bytes())),
        };
        match outcome.and_then(|()| Ok(check_written(&self.bytes[start..], value)?)) {
            Ok(()) => Ok(self),
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    fn push_field(&mut self, field: &[u8]) -> Result<(), EncodeError> {
        let len = u16::try_from(field.len()).map_err(|_| EncodeError::FieldTooLong)?;
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(field);
        Ok(())
    }

    /// The block, without its length.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
