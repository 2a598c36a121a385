//! SUBSCRIBE and SUBACK (MQTT 5.0 sections 3.8, 3.9).

use bytes::Bytes;

use super::body;
use super::request::{self, Request, RequestLayout, request_accessors};
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::qos::QoS;
use crate::reason::ReasonCode;
use crate::topic::TopicFilter;
use crate::version::Version;

/// The options byte that stands behind each topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions(u8);

impl SubscriptionOptions {
    /// Options with this maximum QoS and nothing else.
    #[must_use]
    pub const fn new(qos: QoS) -> Self {
        Self(qos.as_u8())
    }

    fn parse(bits: u8, version: Version) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() {
            0b1100_0000
        } else {
            0b1111_1100
        };
        if bits & reserved != 0 || bits & 3 == 3 || bits & 0b0011_0000 == 0b0011_0000 {
            return Err(DecodeError::SubscriptionOptions);
        }
        Ok(Self(bits))
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// The maximum QoS.
    #[must_use]
    pub const fn qos(self) -> QoS {
        match self.0 & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// The same options with another maximum QoS.
    #[must_use]
    pub const fn with_qos(self, qos: QoS) -> Self {
        Self(self.0 & !3 | qos.as_u8())
    }

    /// True when the client does not want its own publications (No Local).
    #[must_use]
    pub const fn no_local(self) -> bool {
        self.0 & 0b100 != 0
    }
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription<'a> {
    /// The topic filter, `$share/group/` included.
    pub filter: TopicFilter<'a>,
    /// QoS and flags.
    pub options: SubscriptionOptions,
}

/// A validated SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a>(Request<'a>);

request_accessors!(Subscribe, "a SUBSCRIBE");

impl<'a> Subscribe<'a> {
    /// The topic filters with their options, in order.
    pub fn subscriptions(&self) -> impl Iterator<Item = Subscription<'a>> + use<'a> {
        let mut reader = self.0.reader();
        core::iter::from_fn(move || {
            // validated: neither of the two reads can fail but at the end
            let filter = TopicFilter::trusted(reader.string().ok()?);
            let options = SubscriptionOptions(reader.u8().ok()?);
            Some(Subscription { filter, options })
        })
    }
}

pub(crate) fn parse_subscribe(
    head: Head,
    version: Version,
    bytes: &[u8],
) -> Result<Subscribe<'_>, DecodeError> {
    let request = Request::parse(head, version, bytes, |filter, reader| {
        let options = SubscriptionOptions::parse(reader.u8()?, version)?;
        // [MQTT-3.8.3-4]
        if options.no_local() && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(())
    })?;
    Ok(Subscribe(request))
}

/// Writes a SUBSCRIBE; the properties are left out before MQTT 5.0.
///
/// # Errors
/// [`EncodeError`] if there is no filter, if a filter or, in MQTT 5.0, the property block is not valid, or if the
/// packet becomes too long.
pub fn encode_subscribe<F: AsRef<str>>(
    version: Version,
    packet_id: u16,
    properties: &[u8],
    subscriptions: impl IntoIterator<Item = (F, SubscriptionOptions)>,
) -> Result<Bytes, EncodeError> {
    let mut entries = Vec::new();
    for (filter, options) in subscriptions {
        request::push_filter(&mut entries, filter.as_ref())?;
        entries.push(options.as_u8());
    }
    request::encode(0x82, version, packet_id, properties, &entries)
}

/// A validated SUBACK, or an UNSUBACK, which has the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suback<'a> {
    /// The packet identifier of the request.
    pub packet_id: u16,
    /// The properties; empty before MQTT 5.0.
    pub properties: Properties<'a>,
    /// A return or reason code per topic filter of the request, in its order. Empty for an
    /// UNSUBACK before MQTT 5.0.
    pub codes: &'a [u8],
}

pub(crate) fn parse_suback(
    head: Head,
    version: Version,
    bytes: &[u8],
) -> Result<Suback<'_>, DecodeError> {
    let kind = head.kind();
    let mut reader = body(head, bytes)?;
    let packet_id = reader.packet_id()?;
    let properties = if version.is_v5() {
        reader.properties(Place::Packet(kind, Direction::ToClient))?
    } else {
        Properties::default()
    };
    let codes = &bytes[reader.position()..head.total_len()];
    if kind == Kind::Unsuback && !version.is_v5() {
        return if codes.is_empty() {
            Ok(Suback {
                packet_id,
                properties,
                codes,
            })
        } else {
            Err(DecodeError::TrailingBytes)
        };
    }
    if codes.is_empty() {
        return Err(DecodeError::Truncated);
    }
    let valid = |code: &u8| match (kind, version.is_v5()) {
        (Kind::Unsuback, _) => ReasonCode::new(*code).is_valid_in_unsuback(),
        (_, true) => ReasonCode::new(*code).is_valid_in_suback(),
        (_, false) => matches!(code, 0..=2 | 0x80),
    };
    if !codes.iter().all(valid) {
        return Err(DecodeError::InvalidReasonCode);
    }
    Ok(Suback {
        packet_id,
        properties,
        codes,
    })
}

/// Writes a SUBACK. Before MQTT 5.0 every failure becomes 0x80 ([MQTT-3.9.3-2] of 3.1.1), and the properties are
/// left out.
///
/// # Errors
/// [`EncodeError::Invalid`] for packet identifier 0 and for a property block that is not valid,
/// [`EncodeError::PacketTooLarge`] when the packet becomes too long. The codes are not looked at.
pub fn encode_suback(
    version: Version,
    packet_id: u16,
    properties: &[u8],
    codes: &[u8],
) -> Result<Bytes, EncodeError> {
    let id = build::packet_id(packet_id)?;
    if version.is_v5() {
        let place = Place::Packet(Kind::Suback, Direction::ToClient);
        let len = build::properties(properties, place)?;
        return build::join(0x90, &[&id, len.as_slice(), properties, codes], 0);
    }
    let codes: Vec<u8> = codes.iter().map(|&code| code.min(0x80)).collect();
    build::join(0x90, &[&id, &codes], 0)
}
