//! The protocol versions that travel through the proxy.

use core::fmt;

/// A version of MQTT, told apart by protocol name and level in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // complete: these are the versions that were ever in the field
pub enum Version {
    /// MQTT 3.1 (IBM, 2010): name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1 (OASIS, 2014): name `MQTT`, level 4.
    V311,
    /// MQTT 5.0 (OASIS, 2019): name `MQTT`, level 5.
    V5,
}

impl Version {
    /// True for MQTT 5.0, the version with properties and reason codes.
    #[inline]
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The protocol level byte of CONNECT.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The name used in logs, metrics and configuration: `3.1`, `3.1.1` or `5`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
