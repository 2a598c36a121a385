//! PUBLISH: repetitions, refusals, aliases, and how many may be unanswered.

use bytes::Bytes;
use mproxy_codec::{
    DecodeError, Direction, Head, Kind, Publish, PublishEdit, PublishLayout, QoS, ReasonCode,
    encode_ack,
};

use super::Rules;
use crate::cause::{Cause, Denial, End};
use crate::hook::{Parts, Refusal};
use crate::limits::RefusedPublish;

/// Why a packet is not forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    Refused(&'a Refusal),
    Discarded,
    Expired,
    TooLarge,
    TooDeep,
}

impl Outcome<'_> {
    pub(crate) const fn reason(&self) -> ReasonCode {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Discarded | Self::Expired => ReasonCode::NOT_AUTHORIZED,
            Self::TooLarge => ReasonCode::QUOTA_EXCEEDED,
            Self::TooDeep => ReasonCode::TOPIC_NAME_INVALID,
        }
    }

    /// The reason in the answer to a SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn reason_for(&self, request: Kind) -> ReasonCode {
        match (self, request) {
            // UNSUBACK has no code for it
            (Self::TooLarge, Kind::Unsubscribe) => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
            _ => self.reason(),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.text.as_deref(),
            Self::Discarded | Self::Expired => None,
            Self::TooLarge => Some("larger than the receiver's maximum packet size"),
            Self::TooDeep => Some("a topic of more levels than are served"),
        }
    }

    const fn is_told(&self) -> bool {
        !matches!(self, Self::Discarded | Self::Expired)
    }
}

/// What happens to a PUBLISH that is not forwarded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its sender gets this answer, or none.
    Answered(Option<Bytes>),
    /// The broker gets this PUBREL first, and the client is answered afterwards.
    Recalled(Bytes),
}

impl Rules {
    /// The layout of a PUBLISH that the proxy itself wrote.
    ///
    /// # Errors
    /// It is not valid, which its writers rule out.
    pub(crate) fn layout(&self, direction: Direction, frame: &[u8]) -> Result<PublishLayout, End> {
        let layout = Head::parse(frame)
            .and_then(|head| head.ok_or(DecodeError::Truncated))
            .and_then(|head| PublishLayout::parse(head, self.version(), direction, frame))
            .and_then(|layout| layout.ok_or(DecodeError::Truncated));
        layout.map_err(|error| Cause::malformed(direction, Kind::Publish, error))
    }

    /// True if publications of the client are counted, so that each one must be handled.
    #[inline]
    pub(crate) fn counts_flights(&self) -> bool {
        self.exchanges.has_flights()
    }

    /// Counts a publication of the client above QoS 0, if they are counted.
    ///
    /// # Errors
    /// There are more than the broker's Receive Maximum.
    #[inline]
    pub(crate) fn begin_flight(&mut self, layout: &PublishLayout) -> Result<(), End> {
        match self.exchanges.flights() {
            Some(flights) => flights.begin(layout),
            None => Ok(()),
        }
    }

    /// One of them is answered.
    #[inline]
    pub(super) fn end_flight(&mut self, packet_id: u16) {
        if let Some(flights) = self.exchanges.flights() {
            flights.end(packet_id);
        }
    }

    /// `Some` for the repetition of a PUBLISH that the proxy has answered itself [MQTT-4.3.3-2]: it is
    /// answered again, unless the answer is on its way, and goes to neither hooks nor broker.
    pub(crate) fn repeated(
        &self,
        direction: Direction,
        layout: &PublishLayout,
    ) -> Option<Option<Bytes>> {
        if direction != Direction::ToServer || layout.qos() != QoS::ExactlyOnce {
            return None;
        }
        let id = layout.packet_id()?;
        if self.exchanges.is_recalled(id) {
            return Some(None);
        }
        let is_answered = self.exchanges.is_answered_locally(id);
        is_answered.then(|| {
            self.replies
                .ack(Kind::Pubrec, id, ReasonCode::SUCCESS, None)
        })
    }

    /// A PUBLISH that is not forwarded: its sender gets an acknowledgement or a refusal.
    ///
    /// # Errors
    /// A client that cannot be told must be closed.
    pub(crate) fn refuse_publish(
        &mut self,
        direction: Direction,
        layout: &PublishLayout,
        outcome: Outcome<'_>,
    ) -> Result<Refused, End> {
        let Some(id) = layout.packet_id() else {
            return Ok(Refused::Answered(None));
        };
        let kind = match layout.qos() {
            QoS::AtLeastOnce => Kind::Puback,
            _ => Kind::Pubrec,
        };
        // Acknowledge a delivery, or the broker would wait forever. With success, because a failure
        // code in a shared subscription would discard the message for all [MQTT-4.8.2-6].
        if direction == Direction::ToClient {
            if kind == Kind::Pubrec {
                self.exchanges.drop_delivery(id);
            }
            let answer = self.replies.ack(kind, id, ReasonCode::SUCCESS, None);
            return Ok(Refused::Answered(answer));
        }
        let tells = self.version().is_v5() && outcome.is_told();
        let policy = self.limits.refused_publish;
        if !tells && outcome.is_told() && policy == RefusedPublish::Disconnect {
            return Err(Cause::denied(Denial::Publish, outcome.reason()));
        }
        let (reason, text) = match outcome.reason() {
            _ if !tells => (ReasonCode::SUCCESS, None),
            reason if reason.is_error() => (reason, outcome.text()),
            _ => (ReasonCode::NOT_AUTHORIZED, outcome.text()),
        };
        let answer = self.replies.ack(kind, id, reason, text);
        if kind == Kind::Pubrec && !tells {
            self.exchanges.answer_locally(id);
        }
        if kind == Kind::Pubrec && layout.dup() && self.negotiated.is_resumed {
            return self.recall(id, answer);
        }
        if kind == Kind::Puback || tells {
            self.end_flight(id);
        }
        Ok(Refused::Answered(answer))
    }

    /// Refuses a QoS 2 PUBLISH that was sent before, on an earlier connection of the session: the
    /// broker may have accepted it then, and would take the next message with this identifier for a
    /// repetition, acknowledge it and discard it. So the hand-shake is ended there first, and the
    /// client is answered afterwards. [MQTT-4.3.3-2]
    fn recall(&mut self, id: u16, answer: Option<Bytes>) -> Result<Refused, End> {
        self.exchanges.recall(id, answer);
        let release = encode_ack(self.version(), Kind::Pubrel, id, ReasonCode::SUCCESS, &[]);
        release.map(Refused::Recalled).map_err(Cause::encode)
    }

    /// The answer to the sender of a PUBLISH that a hook made QoS 0: its receiver will not answer.
    pub(crate) fn answer_lowered(
        &mut self,
        direction: Direction,
        asked: &PublishLayout,
    ) -> Option<Bytes> {
        let id = asked.packet_id()?;
        let kind = match (asked.qos(), direction) {
            (QoS::ExactlyOnce, Direction::ToServer) => {
                self.exchanges.answer_locally(id);
                Kind::Pubrec
            }
            (QoS::ExactlyOnce, Direction::ToClient) => {
                self.exchanges.drop_delivery(id);
                Kind::Pubrec
            }
            (_, Direction::ToServer) => {
                self.end_flight(id);
                Kind::Puback
            }
            (_, Direction::ToClient) => Kind::Puback,
        };
        self.replies.ack(kind, id, ReasonCode::SUCCESS, None)
    }

    /// Makes sure that the receiver understands the topic alias of a PUBLISH as the sender meant
    /// it: an alias that it was not told is unknown, or means another topic.
    ///
    /// Returns the alias that the packet, once it is sent, binds to its topic.
    ///
    /// # Errors
    /// The packet cannot be written with its topic.
    pub(crate) fn settle_alias(
        &mut self,
        direction: Direction,
        parts: &mut Parts,
        layout: PublishLayout,
    ) -> Result<(PublishLayout, Option<u16>), End> {
        let version = self.version();
        let (Some(alias), Some(aliases)) = (layout.topic_alias(), self.aliases(direction)) else {
            return Ok((layout, None));
        };
        if !layout.topic(&parts.frame).is_empty() {
            return Ok((layout, Some(alias)));
        }
        let topic = match &parts.topic {
            Some(topic) if !aliases.is_told(alias, topic) => topic,
            _ => return Ok((layout, None)),
        };
        let edit = PublishEdit::new().topic(str::from_utf8(topic).unwrap_or_default());
        let publish = Publish::new(layout, &parts.frame);
        parts.frame = publish.edit(version, &edit).map_err(Cause::encode)?;
        let layout = self.layout(direction, &parts.frame)?;
        Ok((layout, Some(alias)))
    }
}
