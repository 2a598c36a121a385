//! What is left of a CONNECT that cannot be let in.

use super::connect::{FLAG_USER_NAME, FLAG_WILL, parse_layout};
use crate::error::DecodeError;
use crate::foreign::Foreign;
use crate::head::Head;
use crate::kind::Kind;
use crate::reader::Reader;
use crate::version::Version;

/// What can be read of a CONNECT that is not valid, or not whole: who it was, for a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectGlimpse<'a> {
    /// The protocol level byte, whatever it is.
    pub level: Option<u8>,
    /// The client identifier.
    pub client_id: Option<&'a str>,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The field at which the first error was found, in the standard's words; `None` when there is
    /// no error as far as the bytes go.
    pub field: Option<&'static str>,
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
        let Ok(Some(head)) = Head::parse(bytes) else {
            return glimpse;
        };
        // a TLS handshake begins with 0x16, so like a CONNECT; it has none of these fields either
        if head.kind() != Kind::Connect || Foreign::recognise(bytes).is_some() {
            return glimpse;
        }
        if bytes.len() >= head.total_len() {
            let mut field = "";
            let parsed = parse_layout(head, bytes, &mut field);
            glimpse.field = parsed.is_err().then_some(field);
        }
        let packet = bytes.get(..head.total_len()).unwrap_or(bytes);
        // whatever cannot be read is what the glimpse lacks
        let _ = glimpse.read(Reader::new(packet, head.len()));
        glimpse
    }

    fn read(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        let name = reader.binary()?;
        if !matches!(name, b"MQTT" | b"MQIsdp") {
            return Ok(());
        }
        let level = reader.u8()?;
        self.level = Some(level);
        let flags = reader.u8()?;
        reader.u16()?;
        let skip_properties = |reader: &mut Reader<'a>| {
            if level != Version::V5.level() {
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
        Ok(())
    }
}
