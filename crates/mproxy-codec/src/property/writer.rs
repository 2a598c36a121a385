//! Writes property blocks.

use super::id::PropertyId;
use super::value::{Property, Value, check_written};
use crate::build;
use crate::error::EncodeError;
use crate::varint;

/// Writes properties into a buffer, for the packets that the proxy itself sends.
#[derive(Clone, Debug, Default)]
pub struct PropertyWriter {
    pub(super) bytes: Vec<u8>,
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
        self.bytes.extend_from_slice(&build::field_len(field)?);
        self.bytes.extend_from_slice(field);
        Ok(())
    }

    /// The block, without its length.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
