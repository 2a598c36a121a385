//! What a hook decides.

use mproxy_codec::ReasonCode;

use super::Packet;

/// The response of a packet service. It carries the packet, so that what was checked is what is
/// sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Send the packet on: as it came when it was not changed, byte by byte.
    Forward(Packet),
    /// Throw the packet away and let its sender believe that it arrived: a PUBLISH is
    /// acknowledged, a SUBSCRIBE or UNSUBSCRIBE is answered as refused.
    Discard,
    /// Throw the packet away and say so, as far as the protocol version has words for it.
    ///
    /// A refused delivery is acknowledged to the broker, as it would otherwise wait for ever.
    Refuse(Refusal),
    /// End the session; a client of MQTT 5.0 is told the reason.
    Close(ReasonCode),
}

impl Verdict {
    /// Refuses with this reason code.
    #[must_use]
    pub const fn refuse(reason: ReasonCode) -> Self {
        Self::Refuse(Refusal { reason, text: None })
    }
}

/// Why a packet is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason code of PUBACK, PUBREC or SUBACK of MQTT 5.0.
    pub reason: ReasonCode,
    /// A Reason String for clients of MQTT 5.0 that asked for such.
    pub text: Option<Box<str>>,
}

impl Refusal {
    /// A refusal without a text.
    #[must_use]
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, text: None }
    }

    /// Adds a Reason String.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Box<str>>) -> Self {
        self.text = Some(text.into());
        self
    }
}
