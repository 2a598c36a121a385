//! Packets that do not go to their receiver: what their sender is answered instead.

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, PublishLayout};

use super::payload::Passage;
use super::subject::{Offered, Request, Subject};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, Denial, End};
use crate::hook::{Packet, PacketService};
use crate::reply::request_code;
use crate::rules::{Outcome, Refused};

impl<H: PacketService> Flow<H> {
    /// A packet that does not go to its receiver.
    pub(super) fn refuse(
        &mut self,
        offered: &Offered,
        outcome: Outcome<'_>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        match &offered.subject {
            Subject::Publish { layout, left } => self.refuse_publish(layout, *left, outcome, cx),
            Subject::Request(request) => {
                cx.denied();
                let code = request_code(request.kind, outcome.reason_for(request.kind));
                let codes = vec![code; request.filters];
                Ok(answer_request(request, &codes, outcome.text(), cx))
            }
            // the client must not be left without an answer
            Subject::Connack(_) => {
                cx.denied();
                Err(Cause::denied(Denial::Connack, outcome.reason()))
            }
            // who the client is now is not known to be who it was
            Subject::Auth => {
                cx.denied();
                Err(Cause::denied(Denial::Auth, outcome.reason()))
            }
            // nobody can answer it in the place of its receiver: a lost DISCONNECT is a will that
            // is published, a lost PUBACK a message that comes again
            Subject::Disconnect { frame, .. } | Subject::Other { frame, .. } => {
                self.note(&offered.subject, frame.len(), None, cx);
                Ok(Next::Replace(frame.clone()))
            }
        }
    }

    /// A SUBSCRIBE or UNSUBSCRIBE of which every filter was refused is answered, not forwarded:
    /// an empty one must not exist [MQTT-3.8.3-2].
    pub(super) fn refuse_filters(
        &self,
        packet: Packet,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Next {
        let Subject::Request(request) = &offered.subject else {
            return Next::Drop;
        };
        cx.denied();
        let entries = packet.into_parts().entries.unwrap_or_default();
        let codes: Vec<u8> = entries
            .iter()
            .filter(|entry| !entry.added)
            .filter_map(|entry| entry.refused)
            .map(|reason| request_code(request.kind, reason))
            .collect();
        answer_request(request, &codes, None, cx)
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
        if let (Direction::ToServer, Some(id)) = (self.direction, layout.packet_id()) {
            // the broker has nothing to answer
            let _ = cx.latency.end(id);
        }
        match cx.rules.refuse_publish(self.direction, layout, outcome)? {
            Refused::Answered(answer) => Ok(self.answer_with(answer, left, cx)),
            Refused::Recalled(release) => {
                self.payload
                    .begin(left, Passage::Dropped, None, &mut self.out);
                cx.batch.inject(Kind::Pubrel);
                Ok(Next::Replace(release))
            }
        }
    }

    /// Answers the sender, after the rest of its payload has been thrown away.
    pub(super) fn answer_with(
        &mut self,
        answer: Option<Bytes>,
        left: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Next {
        if left > 0 {
            self.payload
                .begin(left, Passage::Dropped, answer, &mut self.out);
        } else if let Some(answer) = answer {
            cx.reply(&answer);
        }
        Next::Drop
    }
}

/// Answers a request that is not forwarded: in its turn, if earlier ones with its identifier are at the
/// broker.
fn answer_request(
    request: &Request,
    codes: &[u8],
    text: Option<&str>,
    cx: &mut Cx<'_, '_>,
) -> Next {
    if let Some(answer) = cx
        .rules
        .answer_request(request.kind, request.id, codes, text)
    {
        cx.reply(&answer);
    }
    Next::Drop
}
