//! The decision of a hook.

use std::error::Error;
use std::fmt;

use mproxy_codec::{DecodeError, EncodeError, ReasonCode};

use super::Packet;
use super::packet::Whole;

/// The response of a packet service. It carries the packet, so that the session sends what was
/// judged.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict<P = Whole> {
    /// Forward the packet: byte for byte if it was not changed.
    ///
    /// It must be the packet that was offered, changed or not. One of another type, version, direction
    /// or packet identifier ends the session as a failed hook, because its sender would wait for an answer
    /// that never comes.
    Forward(Packet<P>),
    /// Drop the packet and let its sender believe that it arrived: a PUBLISH is acknowledged, a
    /// SUBSCRIBE or UNSUBSCRIBE is answered as refused, and a will is removed from its CONNECT. A
    /// packet that only its receiver can answer, such as DISCONNECT or PUBACK, is forwarded anyway.
    Discard,
    /// Drop the packet and tell its sender, if the protocol version has a code for it; otherwise
    /// like [`Discard`](Self::Discard).
    ///
    /// A refused delivery is acknowledged to the broker, which would otherwise wait for the answer.
    Refuse(Refusal),
    /// End the session; an MQTT 5.0 client gets the reason, or 0x80 Unspecified error if
    /// DISCONNECT does not have this code. For a will, it refuses the client.
    Close(ReasonCode),
}

impl<P> Verdict<P> {
    /// Refuses with this reason code.
    #[must_use]
    pub const fn refuse(reason: ReasonCode) -> Self {
        Self::Refuse(Refusal::new(reason))
    }

    /// The same verdict on the same packet with another `P`.
    #[inline]
    pub(crate) fn cast<Q>(self) -> Verdict<Q> {
        match self {
            Self::Forward(packet) => Verdict::Forward(packet.cast()),
            Self::Discard => Verdict::Discard,
            Self::Refuse(refusal) => Verdict::Refuse(refusal),
            Self::Close(reason) => Verdict::Close(reason),
        }
    }
}

/// A verdict that refuses.
impl<P> From<Refusal> for Verdict<P> {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Why a packet is refused, or a client turned away.
///
/// It is also an error: if a service fails with one, or with an error that has one as its
/// [source](Error::source), the packet or the client is refused.
///
/// # What the client receives
/// An MQTT 5.0 PUBLISH at QoS 1 or 2 is answered with the reason code, or with 0x87 Not authorized if
/// PUBACK and PUBREC do not have it as an error code. At QoS 0, and before MQTT 5.0, there is no such
/// answer, and [`Limits::refused_publish`](crate::Limits::refused_publish) decides. A SUBSCRIBE is answered
/// with the code if SUBACK has it, otherwise with 0x87, and before MQTT 5.0 with 0x80. For a will, the client
/// is refused: see [`ConnectRefusal`](crate::ConnectRefusal). [`Summary`](crate::Summary) has the code with which
/// a session ended, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason code of PUBACK, PUBREC, SUBACK or CONNACK of MQTT 5.0.
    pub reason: ReasonCode,
    /// A Reason String for MQTT 5.0 clients that want them.
    pub text: Option<Box<str>>,
    /// Who refused and by which rule: for the log about a client that is refused for its will. It is
    /// not sent.
    pub by: Option<Box<str>>,
}

impl Refusal {
    /// A refusal without a text.
    #[must_use]
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            text: None,
            by: None,
        }
    }

    /// Adds a Reason String.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Box<str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Names who refused and by which rule, for the log.
    #[must_use]
    pub fn with_origin(mut self, by: impl Into<Box<str>>) -> Self {
        self.by = Some(by.into());
        self
    }

    /// The refusal in an error: itself, or one of its sources.
    pub(crate) fn in_error(error: &(dyn Error + 'static)) -> Option<Self> {
        sources(error).find_map(|error| error.downcast_ref().cloned())
    }
}

/// An error and its sources.
pub(crate) fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // a bound, because an error that is its own source would have no end
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
    .take(16)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.reason)?;
        for more in [&self.text, &self.by].into_iter().flatten() {
            write!(f, ": {more}")?;
        }
        Ok(())
    }
}

impl Error for Refusal {}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Self {
        Self::new(reason)
    }
}

/// A packet that cannot be written as a hook changed it is refused: with the code for the problem
/// with its topic, with 0x97 Quota exceeded if it would be too long, and with 0x83 Implementation
/// specific error for everything else.
impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        Self::new(match error {
            EncodeError::PacketTooLarge | EncodeError::FieldTooLong => ReasonCode::QUOTA_EXCEEDED,
            EncodeError::Invalid(DecodeError::EmptyTopic) => ReasonCode::TOPIC_NAME_INVALID,
            EncodeError::Invalid(error) => match error.reason() {
                topic @ (ReasonCode::TOPIC_NAME_INVALID | ReasonCode::TOPIC_FILTER_INVALID) => {
                    topic
                }
                _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
            },
            _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        })
        .with_origin(error.to_string())
    }
}
