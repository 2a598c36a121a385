//! The packets, one module each. A view borrows the bytes of one whole packet and has validated all
//! of them; reading a field from it cannot fail.

mod ack;
mod connack;
pub(crate) mod connect;
mod disconnect;
mod ping;
mod publish;
mod request;
mod subscribe;
mod unsubscribe;

use bytes::Bytes;

pub use self::{
    ack::{Ack, encode_ack},
    connack::{Connack, encode_connack, encode_refusal},
    connect::{ConnectBuilder, ConnectGlimpse, ConnectPacket, Will},
    disconnect::{Auth, Disconnect, encode_auth, encode_disconnect},
    ping::{PINGREQ, PINGRESP},
    publish::{Publish, PublishEdit, PublishLayout, encode_publish},
    request::RequestLayout,
    subscribe::{
        Suback, Subscribe, Subscription, SubscriptionOptions, encode_suback, encode_subscribe,
    },
    unsubscribe::{Unsubscribe, encode_unsuback, encode_unsubscribe},
};
use crate::error::DecodeError;
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::reader::Reader;
use crate::version::Version;

/// A validated packet of any type.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums)] // complete: one variant per packet type
#[allow(missing_docs)] // the names are the standard's
pub enum View<'a> {
    Connect(Box<ConnectPacket>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Ack(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Suback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> View<'a> {
    /// Validates one packet from the front of `bytes`; `Ok(None)` when it is not complete.
    ///
    /// Bytes behind the packet are not looked at; [`parse_prefix`](Self::parse_prefix) says where
    /// they begin. `version` is ignored for CONNECT, which names its own.
    ///
    /// ```
    /// use mproxy_codec::{Direction, Version, View};
    /// let bytes = b"\x30\x07\x00\x03a/bhi+more";
    /// let View::Publish(publish) =
    ///     View::parse(Version::V311, Direction::ToServer, bytes)?.unwrap() else { panic!() };
    /// assert_eq!(publish.topic(), "a/b");
    /// assert_eq!(publish.payload(), Some(&b"hi"[..]));
    /// # Ok::<(), mproxy_codec::DecodeError>(())
    /// ```
    ///
    /// What the standard only discourages is not an error: see [`has_control`](Self::has_control).
    ///
    /// # Errors
    /// Whatever the packet breaks. Type, direction and flags are judged by the first byte alone.
    pub fn parse(
        version: Version,
        direction: Direction,
        bytes: &'a [u8],
    ) -> Result<Option<Self>, DecodeError> {
        let Some(head) = Head::parse_checked(bytes, version, direction)? else {
            return Ok(None);
        };
        match bytes.get(..head.total_len()) {
            None => Ok(None),
            Some(packet) => Self::of_whole(head, version, direction, packet).map(Some),
        }
    }

    /// Does what [`parse`](Self::parse) does, and returns the length of the packet beside the view:
    /// the next packet begins there. [`Framer`](crate::Framer) does this for a stream.
    ///
    /// ```
    /// use mproxy_codec::{Direction, Kind, Version, View};
    /// let mut rest: &[u8] = b"\xc0\x00\x40\x02\x00\x07\xe0";
    /// let mut kinds = Vec::new();
    /// while let Some((view, len)) = View::parse_prefix(Version::V311, Direction::ToServer, rest)? {
    ///     kinds.push(view.kind());
    ///     rest = &rest[len..];
    /// }
    /// assert_eq!(kinds, [Kind::Pingreq, Kind::Puback]);
    /// assert_eq!(rest, b"\xe0"); // not complete
    /// # Ok::<(), mproxy_codec::DecodeError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub fn parse_prefix(
        version: Version,
        direction: Direction,
        bytes: &'a [u8],
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some(view) = Self::parse(version, direction, bytes)? else {
            return Ok(None);
        };
        Ok(Head::parse(bytes)?.map(|head| (view, head.total_len())))
    }

    /// Validates a whole packet whose head has been read and judged.
    ///
    /// # Errors
    /// Whatever the packet breaks.
    pub fn of_whole(
        head: Head,
        version: Version,
        direction: Direction,
        packet: &'a [u8],
    ) -> Result<Self, DecodeError> {
        match head.kind() {
            Kind::Publish => publish::parse(head, version, direction, packet).map(Self::Publish),
            Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => {
                ack::parse(head, version, direction, packet).map(Self::Ack)
            }
            Kind::Pingreq => ping::check(head, packet).map(|()| Self::Pingreq),
            Kind::Pingresp => ping::check(head, packet).map(|()| Self::Pingresp),
            Kind::Connect => {
                let packet = ConnectPacket::parse(Bytes::copy_from_slice(packet))?;
                Ok(Self::Connect(Box::new(packet)))
            }
            Kind::Connack => connack::parse(head, version, packet).map(Self::Connack),
            Kind::Subscribe => {
                subscribe::parse_subscribe(head, version, packet).map(Self::Subscribe)
            }
            Kind::Suback => subscribe::parse_suback(head, version, packet).map(Self::Suback),
            Kind::Unsubscribe => unsubscribe::parse(head, version, packet).map(Self::Unsubscribe),
            Kind::Unsuback => subscribe::parse_suback(head, version, packet).map(Self::Unsuback),
            Kind::Disconnect => {
                disconnect::parse_disconnect(head, version, direction, packet).map(Self::Disconnect)
            }
            Kind::Auth => disconnect::parse_auth(head, direction, packet).map(Self::Auth),
        }
    }

    /// True when a string that names something (client, user, topic or topic filter) holds a
    /// [control character](crate::topic::has_control), which a receiver may refuse.
    #[must_use]
    pub const fn has_control(&self) -> bool {
        match self {
            Self::Connect(connect) => connect.has_control(),
            Self::Publish(publish) => publish.layout().has_control,
            Self::Subscribe(subscribe) => subscribe.has_control(),
            Self::Unsubscribe(unsubscribe) => unsubscribe.has_control(),
            _ => false,
        }
    }

    /// The packet type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::Connack(_) => Kind::Connack,
            Self::Publish(_) => Kind::Publish,
            Self::Ack(ack) => ack.kind,
            Self::Subscribe(_) => Kind::Subscribe,
            Self::Suback(_) => Kind::Suback,
            Self::Unsubscribe(_) => Kind::Unsubscribe,
            Self::Unsuback(_) => Kind::Unsuback,
            Self::Pingreq => Kind::Pingreq,
            Self::Pingresp => Kind::Pingresp,
            Self::Disconnect(_) => Kind::Disconnect,
            Self::Auth(_) => Kind::Auth,
        }
    }
}

/// Writes `packet` with the first byte of `head`, the shortest possible remaining length and without
/// DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE. MQTT 3.1 allows these variants, later versions do not.
///
/// # Errors
/// [`EncodeError::PacketTooLarge`](crate::EncodeError::PacketTooLarge), which a packet that was
/// read cannot cause.
pub fn normalise(head: Head, packet: &[u8]) -> Result<Bytes, crate::EncodeError> {
    let first = match head.kind() {
        Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => head.first_byte() & 0xf7,
        _ => head.first_byte(),
    };
    let end = packet.len().min(head.total_len());
    let body = packet.get(head.len()..end).unwrap_or_default();
    let missing = head.remaining_len().saturating_sub(body.len());
    crate::build::join(first, &[body], missing)
}

/// A cursor behind the fixed header, for the packets that are always whole.
fn body(head: Head, bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let packet = bytes
        .get(..head.total_len())
        .ok_or(DecodeError::Truncated)?;
    Ok(Reader::new(packet, head.len()))
}
