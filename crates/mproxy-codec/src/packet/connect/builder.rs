//! Builds a CONNECT from scratch.

use core::fmt;

use super::fields::Fields;
use super::flags::FLAG_CLEAN;
use super::{ConnectPacket, Will};
use crate::error::{DecodeError, EncodeError};
use crate::version::Version;

/// The fields of a [`ConnectPacket`] to build.
///
/// A new one asks for a clean start, with keep alive 0 and with no client identifier, will,
/// credentials or properties. [`build`](Self::build) judges the fields together. `Debug` shows
/// neither password nor will payload.
///
/// ```
/// use mproxy_codec::{ConnectBuilder, QoS, Version, Will};
/// let will = Will::new("devices/d7/state", b"gone").qos(QoS::AtLeastOnce).retain(true);
/// let connect = ConnectBuilder::new(Version::V311)
///     .client_id("d7")
///     .keep_alive(60)
///     .user_name("d7")
///     .password(b"secret")
///     .will(will)
///     .build()?;
/// assert_eq!(connect.client_id(), "d7");
/// assert_eq!(&connect.as_bytes()[..10], b"\x10\x32\0\x04MQTT\x04\xee");
/// # Ok::<(), mproxy_codec::EncodeError>(())
/// ```
#[derive(Clone, Copy)]
#[must_use = "a builder does nothing before `build`"]
pub struct ConnectBuilder<'a> {
    version: Version,
    clean_start: bool,
    keep_alive: u16,
    client_id: &'a str,
    will: Option<Will<'a>>,
    user_name: Option<&'a str>,
    password: Option<&'a [u8]>,
    properties: &'a [u8],
}

impl<'a> ConnectBuilder<'a> {
    /// A CONNECT of this version.
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id: "",
            will: None,
            user_name: None,
            password: None,
            properties: &[],
        }
    }

    /// Sets the client identifier. Empty, the default: the broker assigns one, which MQTT 3.1
    /// forbids, and MQTT 3.1.1 without a clean session [MQTT-3.1.3-8].
    pub const fn client_id(mut self, client_id: &'a str) -> Self {
        self.client_id = client_id;
        self
    }

    /// Sets Clean Session of MQTT 3.x, Clean Start of MQTT 5.0.
    pub const fn clean_start(mut self, clean_start: bool) -> Self {
        self.clean_start = clean_start;
        self
    }

    /// Sets the keep alive in seconds; 0 turns it off.
    pub const fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Sets the user name.
    pub const fn user_name(mut self, user_name: &'a str) -> Self {
        self.user_name = Some(user_name);
        self
    }

    /// Sets the password, which is binary. Before MQTT 5.0 it needs a user name [MQTT-3.1.2-22].
    pub const fn password(mut self, password: &'a [u8]) -> Self {
        self.password = Some(password);
        self
    }

    /// Sets the will: one of [`Will::new`], or that of another CONNECT.
    pub const fn will(mut self, will: Will<'a>) -> Self {
        self.will = Some(will);
        self
    }

    /// Sets the property block ([`PropertyWriter::as_bytes`](crate::PropertyWriter::as_bytes)).
    pub const fn properties(mut self, properties: &'a [u8]) -> Self {
        self.properties = properties;
        self
    }

    /// Writes the packet. It is validated like one that came from the network, and holds no
    /// [control character](crate::topic::has_control) in names and topics.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`] for a field of more than 65,535 bytes,
    /// [`EncodeError::PacketTooLarge`] for properties that have no encoding,
    /// [`EncodeError::NoSuchField`] for properties, or will properties, before MQTT 5.0;
    /// [`EncodeError::Invalid`] with the [`DecodeError`] that a reader of the packet would report.
    pub fn build(&self) -> Result<ConnectPacket, EncodeError> {
        let will_has = self.will.is_some_and(|will| !will.properties.is_empty());
        let has_properties = !self.properties.is_empty() || will_has;
        if has_properties && !self.version.is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        let clean = if self.clean_start { FLAG_CLEAN } else { 0 };
        let fields = Fields {
            flags: clean | self.will.as_ref().map_or(0, Will::flags),
            keep_alive: self.keep_alive,
            properties: self.properties,
            client_id: self.client_id.as_bytes(),
            will: self.will.as_ref().map(Will::fields),
            user_name: self.user_name.map(str::as_bytes),
            password: self.password,
        };
        let packet = ConnectPacket::parse(fields.join(self.version, false)?)?;
        if packet.has_control() {
            return Err(EncodeError::Invalid(DecodeError::ControlCharacter));
        }
        Ok(packet)
    }
}

impl fmt::Debug for ConnectBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectBuilder")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| "***"))
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("will", &self.will)
            .finish_non_exhaustive()
    }
}
