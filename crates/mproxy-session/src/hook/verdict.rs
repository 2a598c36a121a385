//! What a hook decides.

use std::error::Error;
use std::fmt;

use mproxy_codec::{DecodeError, EncodeError, ReasonCode};

use super::Packet;
use super::packet::Whole;
use crate::admit::ConnectRefusal;

/// The response of a packet service. It carries the packet, so that what was checked is what is
/// sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict<P = Whole> {
    /// Send the packet on: as it came when it was not changed, byte by byte.
    ///
    /// It must be the packet that was offered, changed or not. One of another type, version, direction
    /// or packet identifier ends the session as a failed hook: its sender would wait for an answer
    /// that never comes.
    Forward(Packet<P>),
    /// Throw the packet away and let its sender believe that it arrived: a PUBLISH is
    /// acknowledged, a SUBSCRIBE or UNSUBSCRIBE is answered as refused, and of a CONNECT with a will
    /// the will is left out. A packet that nobody can answer in the place of its receiver, as
    /// DISCONNECT or PUBACK, is sent on all the same.
    Discard,
    /// Throw the packet away and say so, as far as the protocol version has words for it; otherwise
    /// as [`Discard`](Self::Discard).
    ///
    /// A refused delivery is acknowledged to the broker, as it would otherwise wait for its answer.
    Refuse(Refusal),
    /// End the session; a client of MQTT 5.0 is told the reason, or 0x80 Unspecified error where a
    /// DISCONNECT of a server has no such code. Over a will it is a refusal of the client.
    Close(ReasonCode),
}

impl<P> Verdict<P> {
    /// Refuses with this reason code.
    #[must_use]
    pub const fn refuse(reason: ReasonCode) -> Self {
        Self::Refuse(Refusal::new(reason))
    }

    /// The same verdict on the same packet, of which more or less may be seen.
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

/// Why a packet is refused.
///
/// It is an error, too: a service that fails with one, or with an error of which it is the
/// [source](Error::source), refuses the packet.
///
/// # What the client is told
/// A PUBLISH at QoS 1 or 2 of MQTT 5.0 is answered with the reason code, or with 0x87 Not authorized
/// where PUBACK and PUBREC have no such code, or it is none of an error; at QoS 0, and before MQTT 5.0, nothing can be said, and
/// [`Limits::refused_publish`](crate::Limits::refused_publish) decides. A SUBSCRIBE is answered with
/// it where SUBACK has such a code, otherwise with 0x87, and before MQTT 5.0 with 0x80. A will refuses
/// the client: see [`ConnectRefusal`]. [`Summary`](crate::Summary) has the code with which a session ended
/// as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason code of PUBACK, PUBREC or SUBACK of MQTT 5.0.
    pub reason: ReasonCode,
    /// A Reason String for clients of MQTT 5.0 that asked for such.
    pub text: Option<Box<str>>,
    /// Who refused and by which rule: for the log of a client that is turned away for its will. It is
    /// not told.
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

    /// The refusal that an error is, or that is among its sources.
    pub(crate) fn in_error(error: &(dyn Error + 'static)) -> Option<Self> {
        sources(error).find_map(|error| {
            let refusal = error.downcast_ref::<Self>().cloned();
            refusal.or_else(|| error.downcast_ref::<ConnectRefusal>().map(Self::from))
        })
    }
}

/// An error and what is behind it.
pub(crate) fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // as many as a chain of errors can sensibly have: one that is its own source has no end
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
        display(f, self.reason, self.text.as_deref(), self.by.as_deref())
    }
}

/// What a refusal says of itself as an error.
pub(crate) fn display(
    f: &mut fmt::Formatter<'_>,
    reason: ReasonCode,
    text: Option<&str>,
    by: Option<&str>,
) -> fmt::Result {
    write!(f, "refused: {reason}")?;
    for more in [text, by].into_iter().flatten() {
        write!(f, ": {more}")?;
    }
    Ok(())
}

impl Error for Refusal {}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Self {
        Self::new(reason)
    }
}

impl From<&ConnectRefusal> for Refusal {
    fn from(refusal: &ConnectRefusal) -> Self {
        Self {
            reason: refusal.reason,
            text: refusal.text.clone(),
            by: refusal.by.clone(),
        }
    }
}

/// A packet that cannot be written as a hook would have it is refused: with the code for what is wrong
/// with its topic, with 0x97 Quota exceeded where it would be too long, and with 0x83 Implementation
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
