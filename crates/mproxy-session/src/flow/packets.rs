//! Every packet but PUBLISH: always whole, and booked when it goes to its receiver.

use bytes::Bytes;
use mproxy_codec::{
    Ack, Direction, Head, Kind, PropertyId, ReasonCode, Version, View, encode_disconnect,
    encode_suback, encode_unsuback, tolerance,
};

use super::asking::{Offered, as_run};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, End};
use crate::hook::{Packet, PacketService, Parts};
use crate::rules::Answer;

impl<H: PacketService> Flow<H> {
    /// Handles any whole packet but PUBLISH.
    pub(super) fn control(
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
        // a broker that knows no MQTT 5.0 refuses in the form of 3.1.1 (section 3.1.2.2), which is
        // for the client to understand
        if version.is_v5()
            && matches!(packet, [0x20, 2, 0, 1..=5])
            && let Ok(View::Connack(connack)) =
                View::of_whole(head, Version::V311, direction, packet)
        {
            let (code, form) = (connack.reason(Version::V311), Version::V311);
            cx.rules.connack = Some(code);
            self.end = Some(Box::new(Cause::RefusedByBroker { code, form }));
            return Ok(Next::Pass);
        }
        let malformed = |error| Cause::malformed(direction, kind, error);
        let repaired = if kind == Kind::Connack && !cx.rules.is_strict() {
            tolerance::connack(packet, cx.rules.session.clean_start())
        } else {
            None
        };
        let read = repaired.as_deref().unwrap_or(packet);
        let view = View::of_whole(head, version, direction, read).map_err(malformed)?;
        let controls = cx.rules.limits.control_characters;
        controls.check(view.has_control()).map_err(malformed)?;
        let mut request = (0, 0);
        let mut instead = None;
        match &view {
            View::Ack(ack) => {
                request.0 = ack.packet_id;
                if let Some(next) = self.acknowledge(ack, cx) {
                    return Ok(next);
                }
            }
            View::Subscribe(subscribe) => {
                request = (subscribe.packet_id(), subscribe.len());
            }
            View::Unsubscribe(unsubscribe) => {
                request = (unsubscribe.packet_id(), unsubscribe.len());
            }
            View::Suback(suback) | View::Unsuback(suback) => {
                let asked = if kind == Kind::Suback {
                    Kind::Subscribe
                } else {
                    Kind::Unsubscribe
                };
                let has_codes = kind == Kind::Suback || version.is_v5();
                let id = suback.packet_id;
                request.0 = id;
                let codes = has_codes.then_some(suback.codes);
                let strict = cx.rules.is_strict();
                match cx.rules.exchanges.answer(asked, id, codes, strict)? {
                    Answer::AsIs => {}
                    Answer::Codes(codes) => {
                        let properties = suback.properties.as_bytes();
                        let merged = if kind == Kind::Suback {
                            encode_suback(version, id, properties, &codes)
                        } else {
                            encode_unsuback(version, id, properties, &codes)
                        };
                        instead = Some(merged.map_err(Cause::encode)?);
                    }
                }
            }
            View::Disconnect(disconnect) if direction == Direction::ToServer => {
                cx.rules.check_disconnect(disconnect)?;
            }
            View::Disconnect(disconnect) if cx.rules.strips_reference(&disconnect.properties) => {
                let properties = disconnect
                    .properties
                    .without(&[PropertyId::ServerReference]);
                let stripped = encode_disconnect(version, disconnect.reason, properties.as_bytes());
                instead = Some(stripped.map_err(Cause::encode)?);
            }
            View::Auth(auth) => {
                let checked = cx.rules.check_auth(direction, auth, cx.hooks);
                checked.inspect_err(|end| {
                    // anything else is a mistake
                    if matches!(**end, Cause::Denied { .. }) {
                        cx.recorder.refused(direction, kind);
                    }
                })?;
                self.exchanged = cx.rules.connack.is_none();
            }
            View::Connack(connack) => {
                instead = cx.rules.receive_connack(connack, cx.hooks)?;
                instead = instead.or_else(|| repaired.clone());
            }
            _ => {}
        }
        let lax = !head.is_verbatim() || head.first_byte() & 0x08 != 0;
        if instead.is_none() && lax {
            instead = Some(self.normalised(head, packet)?);
        }
        if self.tap.kinds().contains(kind) {
            let checked = cx.rules.limits.check_filters(&view);
            checked.inspect_err(|_| cx.recorder.refused(direction, kind))?;
            let frame = match &instead {
                Some(frame) => frame.clone(),
                None => self.slice(buffer, range.clone()),
            };
            let offered = Offered::other(direction, kind, &frame, request);
            let packet = Packet::new(kind, version, direction, frame, None, None);
            let next = self.offer(packet, offered, cx)?;
            return Ok(as_run(next, &buffer[range]));
        }
        self.book(
            kind,
            instead.as_deref().unwrap_or(packet),
            request,
            None,
            cx,
        )?;
        Ok(instead.map_or(Next::Pass, Next::Replace))
    }

    /// Takes note of an acknowledgement. `Some` when it belongs to a hand-shake that the proxy began
    /// or finishes itself, and does not go on.
    fn acknowledge(&mut self, ack: &Ack<'_>, cx: &mut Cx<'_, '_>) -> Option<Next> {
        let rules = &mut *cx.rules;
        let id = ack.packet_id;
        match (ack.kind, self.direction) {
            (Kind::Pubrel, direction) => {
                let own = match direction {
                    Direction::ToServer => rules.exchanges.release(id),
                    Direction::ToClient => rules.exchanges.release_delivery(id),
                };
                if !own {
                    return None;
                }
                if direction == Direction::ToServer {
                    rules.end_flight(id);
                }
                let replies = rules.replies;
                let answer = replies.ack(Kind::Pubcomp, id, ReasonCode::SUCCESS, None);
                Some(self.answer_with(answer, 0, cx))
            }
            (Kind::Pubcomp, Direction::ToClient) => {
                let Some(answer) = rules.exchanges.complete_recall(id) else {
                    rules.end_flight(id);
                    return None;
                };
                let Some(answer) = answer else {
                    return Some(Next::Drop);
                };
                if is_last_word(&answer, rules.version()) {
                    rules.end_flight(id);
                }
                cx.batch.inject(Kind::Pubrec);
                Some(Next::Replace(answer))
            }
            (Kind::Puback, Direction::ToClient) => {
                rules.end_flight(id);
                if let Some(took) = rules.latency.end(id) {
                    cx.recorder.publish_answered(took);
                }
                None
            }
            (_, Direction::ToClient) if ack.reason.is_error() => {
                rules.end_flight(id);
                None
            }
            _ => None,
        }
    }

    /// Takes note of a packet other than PUBLISH that goes to its receiver.
    pub(super) fn book(
        &mut self,
        kind: Kind,
        frame: &[u8],
        request: (u16, usize),
        parts: Option<&Parts>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        match kind {
            Kind::Subscribe | Kind::Unsubscribe => {
                let entries = parts.and_then(|parts| parts.entries.as_deref());
                let forwarded = entries.map_or(request.1, |entries| {
                    entries
                        .iter()
                        .filter(|entry| entry.refused.is_none())
                        .count()
                });
                if entries.is_some_and(|entries| entries.iter().any(|it| it.refused.is_some())) {
                    cx.denied();
                }
                // where nobody changes requests, their answers pass as they come
                if self.tap.kinds().contains(kind) || cx.rules.is_strict() {
                    let sizes = (forwarded, frame.len());
                    cx.rules.exchanges.request(kind, request.0, sizes, entries);
                }
            }
            Kind::Connack | Kind::Disconnect => {
                let version = cx.rules.version();
                let view = View::parse(version, self.direction, frame)
                    .map_err(|error| Cause::malformed(self.direction, kind, error))?;
                match view {
                    Some(View::Connack(connack)) => {
                        let reason = connack.reason(version);
                        cx.rules.connack = Some(reason);
                        if !connack.is_success() {
                            self.end = Some(Box::new(Cause::RefusedByBroker {
                                code: reason,
                                form: version,
                            }));
                        }
                    }
                    Some(View::Disconnect(disconnect)) => {
                        self.end = Some(Box::new(Cause::Disconnected {
                            direction: self.direction,
                            code: disconnect.reason,
                        }));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// True for an answer after which the client owes no PUBREL: a PUBREC that says no.
fn is_last_word(answer: &[u8], version: Version) -> bool {
    version.is_v5() && answer.get(4).is_some_and(|reason| *reason >= 0x80)
}
