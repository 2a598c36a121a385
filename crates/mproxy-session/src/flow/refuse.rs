//! Packets that do not go to their receiver: what their sender is answered instead.

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, PublishLayout, QoS, ReasonCode, encode_ack};

use super::asking::Offered;
use super::{Cx, Flow, Next};
use crate::cause::{Cause, Denial, End};
use crate::hook::{Packet, PacketService, Refusal};
use crate::limits::RefusedPublish;
use crate::reply::request_code;

/// Why a packet does not go to its receiver.
#[derive(Clone, Copy)]
pub(super) enum Outcome<'a> {
    Refused(&'a Refusal),
    Discarded,
    Expired,
    TooLarge,
    TooDeep,
}

impl Outcome<'_> {
    const fn reason(&self) -> ReasonCode {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Discarded | Self::Expired => ReasonCode::NOT_AUTHORIZED,
            Self::TooLarge => ReasonCode::QUOTA_EXCEEDED,
            Self::TooDeep => ReasonCode::TOPIC_NAME_INVALID,
        }
    }

    fn text(&self) -> Option<&str> {
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

impl<H: PacketService> Flow<H> {
    /// A packet that does not go to its receiver.
    pub(super) fn refuse(
        &mut self,
        offered: &Offered,
        outcome: Outcome<'_>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        if let Some(layout) = &offered.publish {
            return self.refuse_publish(layout, offered.left, outcome, cx);
        }
        match offered.kind {
            Kind::Subscribe | Kind::Unsubscribe => {
                cx.denied();
                let (id, count) = offered.request;
                let reason = match (outcome, offered.kind) {
                    // UNSUBACK has no word for it
                    (Outcome::TooLarge, Kind::Unsubscribe) => {
                        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
                    }
                    (outcome, _) => outcome.reason(),
                };
                let code = request_code(offered.kind, reason);
                let codes = vec![code; count];
                let answer = cx
                    .rules
                    .replies
                    .request(offered.kind, id, &codes, outcome.text());
                Ok(Self::answer_request(offered, answer, cx))
            }
            Kind::Connack => {
                cx.denied();
                // the client must not be left without an answer
                Err(Cause::denied(Denial::Connack, outcome.reason()))
            }
            // who the client is now is not known to be who it was
            Kind::Auth => {
                cx.denied();
                Err(Cause::denied(Denial::Auth, outcome.reason()))
            }
            // nobody can answer it in the place of its receiver: a lost DISCONNECT is a will that
            // is published, a lost PUBACK a message that comes again
            _ => {
                let frame = offered.kept.clone().unwrap_or_default();
                self.book(offered.kind, &frame, offered.request, None, cx)?;
                Ok(Next::Replace(frame))
            }
        }
    }

    /// A SUBSCRIBE or UNSUBSCRIBE of which every filter was refused is answered, not forwarded:
    /// an empty one must not exist [MQTT-3.8.3-2].
    pub(super) fn refuse_filters(
        packet: Packet,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        cx.denied();
        let entries = packet.into_parts().entries.unwrap_or_default();
        let codes: Vec<u8> = entries
            .iter()
            .filter(|entry| !entry.added)
            .filter_map(|entry| entry.refused)
            .map(|reason| request_code(offered.kind, reason))
            .collect();
        let answer = cx
            .rules
            .replies
            .request(offered.kind, offered.request.0, &codes, None);
        Ok(Self::answer_request(offered, answer, cx))
    }

    /// Answers a request that is not forwarded: in its turn, if earlier ones with its identifier
    /// are at the broker.
    fn answer_request(offered: &Offered, answer: Option<Bytes>, cx: &mut Cx<'_, '_>) -> Next {
        let exchanges = &mut cx.rules.exchanges;
        let answer = answer.and_then(|it| exchanges.refuse(offered.kind, offered.request.0, it));
        if let Some(answer) = answer {
            cx.reply(&answer);
        }
        Next::Drop
    }

    /// A PUBLISH that does not go to its receiver: its sender is answered as if it had, or told.
    pub(super) fn refuse_publish(
        &mut self,
        layout: &PublishLayout,
        left: usize,
        outcome: Outcome<'_>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        match outcome {
            Outcome::Expired => cx.batch.expired += 1,
            _ => cx.denied(),
        }
        cx.batch.too_large += u32::from(matches!(outcome, Outcome::TooLarge));
        let replies = cx.rules.replies;
        let Some(id) = layout.packet_id() else {
            return Ok(self.answer_with(None, left, cx));
        };
        let kind = if layout.qos() == QoS::AtLeastOnce {
            Kind::Puback
        } else {
            Kind::Pubrec
        };
        if self.direction == Direction::ToServer {
            // the broker has nothing to answer
            let _ = cx.rules.latency.end(id);
        }
        // A delivery is acknowledged, or the broker would wait for ever. Success, not a failure
        // code: of a shared subscription that would discard the message for all [MQTT-4.8.2-6].
        if self.direction == Direction::ToClient {
            if kind == Kind::Pubrec {
                cx.rules.exchanges.drop_delivery(id);
            }
            let answer = replies.ack(kind, id, ReasonCode::SUCCESS, None);
            return Ok(self.answer_with(answer, left, cx));
        }
        let tells = cx.rules.version().is_v5() && outcome.is_told();
        let policy = cx.rules.limits.refused_publish;
        if !tells && outcome.is_told() && policy == RefusedPublish::Disconnect {
            return Err(Cause::denied(Denial::Publish, outcome.reason()));
        }
        let answer = if tells {
            let reason = outcome.reason();
            let reason = if reason.is_error() {
                reason
            } else {
                ReasonCode::NOT_AUTHORIZED
            };
            replies.ack(kind, id, reason, outcome.text())
        } else {
            replies.ack(kind, id, ReasonCode::SUCCESS, None)
        };
        if kind == Kind::Pubrec && !tells {
            cx.rules.exchanges.answer_locally(id);
        }
        if kind == Kind::Pubrec && layout.dup() && cx.rules.is_resumed {
            return self.recall(id, answer, left, cx);
        }
        if kind == Kind::Puback || tells {
            cx.rules.end_flight(id);
        }
        Ok(self.answer_with(answer, left, cx))
    }

    /// Refuses a QoS 2 PUBLISH that was sent before, on an earlier connection of the session: the
    /// broker may have taken it then, and would take the next message with this identifier for a
    /// repetition, acknowledge it and throw it away. So the hand-shake is ended there first, and the
    /// client is answered when it is. [MQTT-4.3.3-2]
    fn recall(
        &mut self,
        id: u16,
        answer: Option<Bytes>,
        left: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        cx.rules.exchanges.recall(id, answer);
        self.begin_stream(left, false, None);
        let version = cx.rules.version();
        let release = encode_ack(version, Kind::Pubrel, id, ReasonCode::SUCCESS, &[]);
        cx.batch.inject(Kind::Pubrel);
        release.map(Next::Replace).map_err(Cause::encode)
    }

    /// Answers the sender, after the rest of its payload has been thrown away.
    pub(super) fn answer_with(
        &mut self,
        answer: Option<Bytes>,
        left: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Next {
        if left > 0 {
            self.begin_stream(left, false, answer);
        } else if let Some(answer) = answer {
            cx.reply(&answer);
        }
        Next::Drop
    }
}
