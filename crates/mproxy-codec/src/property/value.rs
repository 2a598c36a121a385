//! One property: its value, read and judged.

use super::id::{PropertyId, Shape};
use crate::error::DecodeError;
use crate::reader::{Reader, check_text, check_topic_name};

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

pub(super) fn read_id(reader: &mut Reader<'_>) -> Result<PropertyId, DecodeError> {
    // an identifier is a variable byte integer, but none is above 0x7f: a second byte is either
    // not minimal or unknown
    PropertyId::from_u8(reader.u8()?).ok_or(DecodeError::UnknownProperty)
}

pub(super) fn read_property<'a>(
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
pub(super) enum Raw<'a> {
    Number(u32),
    Binary,
    Text(&'a [u8]),
    Pair(&'a [u8], &'a [u8]),
}

impl Raw<'_> {
    pub(super) fn check_strings(self) -> Result<(), DecodeError> {
        match self {
            Self::Number(_) | Self::Binary => Ok(()),
            Self::Text(text) => check_text(text),
            Self::Pair(name, value) => check_text(name).and_then(|()| check_text(value)),
        }
    }
}

pub(super) fn read_raw<'a>(
    id: PropertyId,
    reader: &mut Reader<'a>,
) -> Result<Raw<'a>, DecodeError> {
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
pub(super) fn check_value(id: PropertyId, raw: Raw<'_>) -> Result<bool, DecodeError> {
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
pub(super) fn check_written(bytes: &[u8], value: Value<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes, 0);
    let property = read_property(&mut reader, bytes)?;
    if !reader.is_at_end() || property.value != value {
        return Err(DecodeError::PropertyValue);
    }
    let mut reader = Reader::new(bytes, 1);
    let raw = read_raw(property.id, &mut reader)?;
    check_value(property.id, raw).map(drop)
}
