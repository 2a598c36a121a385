//! Reads what it can from a CONNECT that is refused.

use super::flags::{FLAG_PASSWORD, FLAG_USER_NAME, FLAG_WILL, V31_NAME};
use super::layout::Layout;
use crate::error::DecodeError;
use crate::foreign::Foreign;
use crate::head::Head;
use crate::reader::Reader;

/// The readable fields of an invalid or incomplete CONNECT, for a log line that names the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectGlimpse<'a> {
    /// The protocol name, whatever it is.
    pub protocol_name: Option<&'a [u8]>,
    /// The protocol level byte, whatever it is, if the name is one of MQTT's.
    pub level: Option<u8>,
    /// The client identifier.
    pub client_id: Option<&'a str>,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The field at which the first error was found, in the standard's words; `None` when there is
    /// no error as far as the bytes go.
    pub field: Option<&'static str>,
    /// The field with the first control character of a CONNECT that is valid apart from this.
    /// A receiver may refuse it: see
    /// [`DecodeError::ControlCharacter`](crate::DecodeError::ControlCharacter).
    pub control_field: Option<&'static str>,
}

/// How the fields behind the protocol level are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Without properties, as in MQTT 3.1 and 3.1.1.
    V3,
    /// With properties, as in MQTT 5.0.
    V5,
}

impl Form {
    /// The format of a known protocol level; mosquitto bridges set bit 7.
    const fn of(name: &[u8], level: u8) -> Option<Self> {
        match (name, level) {
            (b"MQTT", 5) => Some(Self::V5),
            (_, 3 | 4 | 0x83 | 0x84) => Some(Self::V3),
            _ => None,
        }
    }

    /// The form in which to answer a client of any other level: see
    /// [`version_of`](super::ConnectPacket::version_of).
    const fn of_answer(name: &[u8], level: u8) -> Self {
        match (name, level) {
            (b"MQTT", 5..=0x7f) => Self::V5,
            _ => Self::V3,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::V3 => Self::V5,
            Self::V5 => Self::V3,
        }
    }
}

impl<'a> ConnectGlimpse<'a> {
    /// Reads what can be read; `bytes` begin with the first byte of the packet and may end anywhere.
    ///
    /// ```
    /// use mproxy_codec::ConnectGlimpse;
    /// // reserved connect flag
    /// let glimpse = ConnectGlimpse::of(b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01c");
    /// assert_eq!((glimpse.level, glimpse.client_id), (Some(4), Some("c")));
    /// assert_eq!(glimpse.field, Some("connect flags"));
    /// ```
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let mut glimpse = Self::default();
        // a TLS handshake begins with 0x16, so like a CONNECT; it has none of these fields
        let is_connect = bytes.first().is_some_and(|first| first & 0xf0 == 0x10)
            && Foreign::recognise(bytes).is_none();
        if !is_connect {
            return glimpse;
        }
        let head = match Head::parse(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return glimpse,
            Err(_) => {
                glimpse.field = Some("remaining length");
                return glimpse;
            }
        };
        let whole = bytes.get(..head.total_len());
        let rest = bytes.get(head.len()..).unwrap_or_default();
        // only MQTT 3.1, which is known by its name, has no use for these flags
        let may_be_v31 = V31_NAME.starts_with(rest) || rest.starts_with(V31_NAME);
        if head.first_byte() != 0x10 && !may_be_v31 {
            glimpse.field = Some("fixed header");
        } else if let Some(packet) = whole {
            glimpse.judge(head, packet);
        }
        // fields that cannot be read stay `None`
        let reader = Reader::new(whole.unwrap_or(bytes), head.len());
        let _ = glimpse.read(reader, whole.is_some());
        glimpse
    }

    /// Finds the first error of a packet that is whole.
    fn judge(&mut self, head: Head, packet: &[u8]) {
        let mut field = "";
        match Layout::parse(head, packet, &mut field) {
            Err(_) => self.field = Some(field),
            Ok(layout) if layout.version.is_v5() && !head.is_minimal() => {
                self.field = Some("remaining length");
            }
            Ok(layout) => self.control_field = layout.control_field(packet),
        }
    }

    fn read(&mut self, mut reader: Reader<'a>, is_whole: bool) -> Result<(), DecodeError> {
        let name = reader.binary()?;
        self.protocol_name = Some(name);
        if !matches!(name, b"MQTT" | b"MQIsdp") {
            return Ok(());
        }
        let level = reader.u8()?;
        self.level = Some(level);
        if let Some(form) = Form::of(name, level) {
            return self.read_fields(reader, form);
        }
        let likely = Form::of_answer(name, level);
        if !is_whole {
            return match likely {
                Form::V5 => self.read_fields(reader, likely),
                Form::V3 => Ok(()),
            };
        }
        // an unknown form: a wrong name is worse than none, so only a form counts that
        // fills the packet to its last byte
        for form in [likely, likely.other()] {
            let mut guess = *self;
            if guess.read_fields(reader, form).is_ok() {
                *self = guess;
                break;
            }
        }
        Ok(())
    }

    /// Reads field by field, up to the end of the packet.
    fn read_fields(&mut self, mut reader: Reader<'a>, form: Form) -> Result<(), DecodeError> {
        let flags = reader.u8()?;
        reader.u16()?;
        let skip_properties = |reader: &mut Reader<'a>| {
            if form == Form::V3 {
                return Ok(());
            }
            let len = reader.varint()?;
            reader.take(len as usize).map(drop)
        };
        skip_properties(&mut reader)?;
        self.client_id = Some(reader.string()?);
        if flags & FLAG_WILL != 0 {
            skip_properties(&mut reader)?;
            reader.binary()?;
            reader.binary()?;
        }
        if flags & FLAG_USER_NAME != 0 {
            self.user_name = Some(reader.string()?);
        }
        if flags & FLAG_PASSWORD != 0 {
            reader.binary()?;
        }
        reader.finish()
    }
}
