//! Packets that are not forwarded: how the session answers their sender.

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
    /// Handles a packet that is not forwarded.
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
            // the client must get an answer
            Subject::Connack(_) => {
                cx.denied();
                Err(Cause::denied(Denial::Connack, outcome.reason()))
            }
            // the client may be another user now
            Subject::Auth => {
                cx.denied();
                Err(Cause::denied(Denial::Auth, outcome.reason()))
            }
            // only the receiver can answer it: a lost DISCONNECT makes the broker publish the will,
            // a lost PUBACK makes the message come again
            Subject::Disconnect { frame, .. } | Subject::Other { frame, .. } => {
                self.note(&offered.subject, frame.len(), None, cx);
                Ok(Next::Replace(frame.clone()))
            }
        }
    }

    /// A SUBSCRIBE or UNSUBSCRIBE with every filter refused is answered, not forwarded: an empty one
    /// must not exist [MQTT-3.8.3-2].
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

    /// A PUBLISH that is not forwarded: its sender gets an acknowledgement or a refusal.
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
            // there is nothing for the broker to answer
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

    /// Answers the sender, after the rest of the payload has been discarded.
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

/// Answers a request that is not forwarded, after earlier requests with the same identifier that are at the
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
