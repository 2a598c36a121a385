//! A property block: judged as a whole, read property by property.

use core::iter;

use super::id::{Place, PropertyId};
use super::value::{Property, Value, check_value, read_id, read_property, read_raw};
use super::writer::PropertyWriter;
use crate::error::DecodeError;
use crate::kind::{Direction, Kind};
use crate::reader::Reader;

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
