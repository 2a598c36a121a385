//! Every packet except PUBLISH: always whole, and recorded when it is forwarded.

use bytes::Bytes;
use mproxy_codec::{Direction, Head, Kind, Version, View, normalise, tolerance};

use super::cx::Events;
use super::subject::{Offered, Subject};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, End};
use crate::hook::{Layout, Packet, PacketService};
use crate::rules::Fate;

impl<H: PacketService> Flow<H> {
    /// Handles any whole packet except PUBLISH.
    pub(super) fn control_packet(
        &mut self,
        head: Head,
        buffer: &Bytes,
        at: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        let direction = self.direction;
        let version = cx.rules.version();
        let kind = head.kind();
        let range = at..at + head.total_len();
        let packet = &buffer[range.clone()];
        cx.batch.read(kind, packet.len());
        let repaired = if kind == Kind::Connack && !cx.rules.is_strict() {
            tolerance::connack(packet, cx.rules.session.clean_start())
        } else {
            None
        };
        let read = repaired.as_deref().unwrap_or(packet);
        if self.is_foreign_refusal(read, cx) {
            return Ok(repaired.map_or(Next::Pass, Next::Replace));
        }
        let malformed = |error| Cause::malformed(direction, kind, error);
        let view = View::of_whole(head, version, direction, read).map_err(malformed)?;
        let controls = cx.rules.limits.control_characters;
        controls.check(view.has_control()).map_err(malformed)?;
        let instead = match self.follow(&view, cx)? {
            Fate::Pass => repaired.clone(),
            Fate::Replace(frame) => Some(frame),
            Fate::Answer(answer) => return Ok(self.answer_with(answer, 0, cx)),
            Fate::Own(frame) => {
                cx.batch.inject_packet(&frame);
                return Ok(Next::Replace(frame));
            }
        };
        let is_lax = !head.is_verbatim() || head.first_byte() & 0x08 != 0;
        let instead = match instead {
            None if is_lax => Some(normalise(head, packet).map_err(Cause::encode)?),
            instead => instead,
        };
        if !self.tap.kinds().contains(kind) {
            let frame = instead.as_deref().unwrap_or(packet);
            self.note(
                &Subject::of(&view, &Bytes::new(), version),
                frame.len(),
                None,
                cx,
            );
            return Ok(instead.map_or(Next::Pass, Next::Replace));
        }
        let checked = cx.rules.limits.check_filters(&view);
        checked.inspect_err(|_| cx.recorder.refused(direction, kind))?;
        let layout = Layout::of(&view);
        let frame = instead.unwrap_or_else(|| self.frame(buffer, range.clone()));
        let offered = Offered::new(direction, &frame, Subject::of(&view, &frame, version));
        let packet = Packet::new(kind, version, direction, frame, layout, None);
        let next = self.offer(packet, &offered, cx)?;
        Ok(next.or_pass(&buffer[range]))
    }

    /// A CONNACK that refuses in words that the client's version of MQTT does not have, and that is forwarded for the
    /// client to interpret: that of a broker without MQTT 5.0, in the format of 3.1.1 (section 3.1.2.2), or one with a
    /// return code of the broker's own (MQTT 3.1.1, table 3.1, reserves 6 to 255).
    fn is_foreign_refusal(&mut self, packet: &[u8], cx: &mut Cx<'_, '_>) -> bool {
        let &[0x20, 2, 0, return_code] = packet else {
            return false;
        };
        let is_foreign = match cx.rules.version() {
            Version::V5 => matches!(return_code, 1..=5),
            Version::V31 | Version::V311 => return_code > 5 && !cx.rules.is_strict(),
        };
        if is_foreign {
            let cause = Box::new(Cause::RefusedOtherwise(return_code));
            cx.rules.phase.connack = cause.received();
            self.sender.say_last(cause);
        }
        is_foreign
    }

    /// Applies the rules for the type of a packet.
    fn follow(&self, view: &View<'_>, cx: &mut Cx<'_, '_>) -> Result<Fate, End> {
        let direction = self.direction;
        let rules = &mut *cx.rules;
        match view {
            View::Ack(ack) => {
                if (ack.kind, direction) == (Kind::Puback, Direction::ToClient)
                    && let Some(took) = cx.latency.end(ack.packet_id)
                {
                    cx.recorder.publish_answered(took);
                }
                Ok(rules.acknowledge(direction, ack))
            }
            View::Suback(suback) => rules.answer(Kind::Subscribe, suback),
            View::Unsuback(unsuback) => rules.answer(Kind::Unsubscribe, unsuback),
            View::Disconnect(disconnect) => rules.disconnect(direction, disconnect),
            View::Connack(connack) => rules.receive_connack(connack, cx.hooks),
            View::Auth(auth) => {
                let checked = rules.phase.check_auth(direction, auth, cx.hooks);
                checked.inspect_err(|end| {
                    // anything else is an error
                    if matches!(**end, Cause::Denied { .. }) {
                        cx.recorder.refused(direction, Kind::Auth);
                    }
                })?;
                if rules.phase.connack.is_none() && direction == Direction::ToClient {
                    cx.events |= Events::CHALLENGED;
                    cx.recorder.challenged();
                }
                Ok(Fate::Pass)
            }
            _ => Ok(Fate::Pass),
        }
    }
}
