//! Quality of service.

use crate::error::DecodeError;

/// The delivery guarantee of a PUBLISH or a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // complete: [MQTT-3.3.1-4] forbids the fourth value
pub enum QoS {
    /// Not acknowledged.
    AtMostOnce = 0,
    /// Acknowledged by PUBACK.
    AtLeastOnce = 1,
    /// Acknowledged by the four-way hand-shake PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The number on the wire: 0, 1 or 2.
    #[inline]
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Reads the two bits of a PUBLISH head, of connect flags or of subscription options.
    ///
    /// # Errors
    /// [`DecodeError::QosThree`] for the value 3.
    #[inline]
    pub const fn from_bits(bits: u8) -> Result<Self, DecodeError> {
        match bits & 3 {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(DecodeError::QosThree),
        }
    }
}
