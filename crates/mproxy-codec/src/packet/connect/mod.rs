//! CONNECT (MQTT 5.0 section 3.1): parsed once, kept whole, rewritten field by field.

mod builder;
mod edit;
mod fields;
mod flags;
mod glimpse;
mod layout;
mod will;

use core::fmt;

use bytes::Bytes;

use self::fields::{Fields, WillFields};
use self::flags::{FLAG_CLEAN, FLAG_RESERVED, FLAG_WILL_RETAIN, WILL_QOS_SHIFT};
pub(crate) use self::flags::{FLAG_WILL, WILL_FLAGS, v31_flags};
use self::layout::{Layout, Span};
pub use self::{builder::ConnectBuilder, glimpse::ConnectGlimpse, will::Will};
use crate::error::DecodeError;
use crate::head::Head;
use crate::kind::Kind;
use crate::property::Properties;
use crate::qos::QoS;
use crate::version::Version;

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
        let layout = Layout::parse(head, &frame, &mut "")?;
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
