//! PUBLISH, in either direction: the only packet that may be too large to gather, and the only one
//! with topic aliases.

use bytes::Bytes;
use mproxy_codec::{
    DecodeError, Direction, Head, Kind, PropertyId, Publish, PublishEdit, PublishLayout, QoS,
    ReasonCode,
};

use super::asking::{Offered, as_run};
use super::refuse::Outcome;
use super::{Cx, Flow, Next};
use crate::cause::{Cause, End, Fault};
use crate::error::Limit;
use crate::hook::{Packet, PacketService, Parts, Verdict};
use crate::rules::Rules;
use crate::scratch::SCRATCH_LEN;

impl<H: PacketService> Flow<H> {
    /// Handles a PUBLISH, of which the payload may still be on its way.
    pub(super) fn publish(
        &mut self,
        head: Head,
        buffer: &Bytes,
        at: usize,
        filled: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(Next, usize), End> {
        let direction = self.direction;
        let version = cx.rules.version();
        let bytes = &buffer[at..filled];
        let malformed = |error| Cause::malformed(direction, Kind::Publish, error);
        let layout = PublishLayout::parse(head, version, direction, bytes).map_err(malformed)?;
        let Some(layout) = layout else {
            // topic and properties are held until they are whole
            if bytes.len() > cx.rules.limits.max_held_packet {
                let what = "what stands before the payload of a publish";
                let limit = (Limit::MaxHeldPacket, cx.rules.limits.max_held_packet);
                let size = bytes.len();
                let fault = Fault::TooLarge { what, size, limit };
                return Err(Cause::fault(direction, Kind::Publish, fault));
            }
            return Ok((Next::Incomplete, 0));
        };
        let controls = cx.rules.limits.control_characters;
        controls.check(layout.has_control()).map_err(malformed)?;
        let total = layout.total_len();
        let tapped = self.tap.kinds().contains(Kind::Publish);
        let whole = bytes.len() >= total;
        let wants_payload = tapped && !self.tap.is_head_only();
        let too_large_to_gather = total > cx.rules.limits.max_held_packet;
        if !whole && (total <= SCRATCH_LEN || wants_payload && !too_large_to_gather) {
            self.judged = true;
            return Ok((Next::Incomplete, 0));
        }
        let len = if whole { total } else { layout.payload_at() };
        let left = total - len;
        cx.batch.read(Kind::Publish, len);

        let topic = match cx.rules.aliases(direction) {
            Some(aliases) => aliases.receive(&layout, bytes, tapped)?,
            None => None,
        };
        // A repetition of a PUBLISH that the proxy has answered itself [MQTT-4.3.3-2]: it is
        // answered again, unless the answer is on its way, and reaches neither hooks nor broker.
        if direction == Direction::ToServer
            && layout.qos() == QoS::ExactlyOnce
            && let Some(id) = layout.packet_id()
        {
            let rules = &*cx.rules;
            if rules.exchanges.is_recalled(id) {
                return Ok((self.answer_with(None, left, cx), len));
            }
            if rules.exchanges.is_answered_locally(id) {
                let replies = rules.replies;
                let answer = replies.ack(Kind::Pubrec, id, ReasonCode::SUCCESS, None);
                return Ok((self.answer_with(answer, left, cx), len));
            }
        }
        cx.rules.begin_flight(direction, &layout)?;
        if tapped
            && let Some(next) = self.check_depth(&layout, bytes, topic.as_deref(), left, cx)?
        {
            return Ok((next, len));
        }
        let undeliverable = total > cx.rules.untouched_max_packet(direction)
            || wants_payload && !whole && too_large_to_gather;
        if undeliverable {
            if let (false, Some(alias), Some(aliases)) =
                (tapped, layout.topic_alias(), cx.rules.aliases(direction))
            {
                aliases.take_back(alias, layout.topic(bytes));
            }
            let next = self.refuse_publish(&layout, left, Outcome::TooLarge, cx)?;
            return Ok((next, len));
        }
        // where nobody looks, most bindings are kept without the name
        let topic = topic.filter(|topic| !topic.is_empty());
        if !tapped && topic.is_none() && head.is_verbatim() && cx.queued_since.is_none() {
            cx.batch.published(layout.qos());
            self.begin_stream(left, true, None);
            return Ok((Next::Pass, len));
        }
        let (frame, layout) = if head.is_verbatim() {
            (self.slice(buffer, at..at + len), layout)
        } else {
            let frame = self.normalised(head, &bytes[..len])?;
            let layout = relayout(&frame, cx.rules, direction)?;
            (frame, layout)
        };
        let offered = Offered::publish(direction, &frame, layout, left);
        let packet = Packet::new(
            Kind::Publish,
            version,
            direction,
            frame,
            Some(layout),
            topic,
        );
        let next = match cx.queued_since {
            _ if tapped => self.offer(packet, offered, cx),
            Some(since) => self.settle_aged(Verdict::Forward(packet), since, &offered, cx),
            None => self.settle(Verdict::Forward(packet), &offered, cx),
        };
        Ok((as_run(next?, &buffer[at..at + len]), len))
    }

    /// Keeps a topic that is too deep to be judged from the hooks: a client that sends one is closed, and
    /// a delivery with one is dropped. `topic` is what stands behind an alias.
    fn check_depth(
        &mut self,
        layout: &PublishLayout,
        bytes: &[u8],
        topic: Option<&[u8]>,
        left: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Option<Next>, End> {
        let own = layout.topic(bytes);
        let topic = topic.filter(|_| own.is_empty()).unwrap_or(own);
        let properties = Publish::new(*layout, bytes).properties();
        let response = properties
            .str(PropertyId::ResponseTopic)
            .unwrap_or_default();
        let limits = &cx.rules.limits;
        if self.direction == Direction::ToServer {
            let code = ReasonCode::TOPIC_NAME_INVALID;
            limits
                .check_levels(Kind::Publish, topic, "a topic name", code)
                .and_then(|()| {
                    limits.check_levels(
                        Kind::Publish,
                        response.as_bytes(),
                        "a response topic",
                        code,
                    )
                })
                .inspect_err(|_| cx.recorder.refused(self.direction, Kind::Publish))?;
        } else if limits.is_too_deep(topic) || limits.is_too_deep(response.as_bytes()) {
            cx.recorder.refused(self.direction, Kind::Publish);
            let next = self.refuse_publish(layout, left, Outcome::TooDeep, cx)?;
            return Ok(Some(next));
        }
        Ok(None)
    }

    /// Makes sure that the receiver understands the topic alias of a PUBLISH as the sender meant
    /// it: an alias that it was not told stands for nothing, or for something else.
    ///
    /// Returns the alias that the packet, once it is sent, binds to its topic.
    pub(super) fn settle_alias(
        &self,
        parts: &mut Parts,
        layout: PublishLayout,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(PublishLayout, Option<u16>), End> {
        let direction = self.direction;
        let version = cx.rules.version();
        let (Some(alias), Some(aliases)) = (layout.topic_alias(), cx.rules.aliases(direction))
        else {
            return Ok((layout, None));
        };
        if !layout.topic(&parts.frame).is_empty() {
            return Ok((layout, Some(alias)));
        }
        let Some(topic) = parts.topic.clone() else {
            return Ok((layout, None));
        };
        if aliases.is_told(alias, &topic) {
            return Ok((layout, None));
        }
        let topic = str::from_utf8(&topic).unwrap_or_default();
        let edit = PublishEdit::new().topic(topic);
        let frame = Publish::new(layout, &parts.frame)
            .edit(version, &edit)
            .map_err(Cause::encode)?;
        let layout = relayout(&frame, cx.rules, direction)?;
        parts.frame = frame;
        Ok((layout, Some(alias)))
    }
}

fn relayout(frame: &[u8], rules: &Rules, direction: Direction) -> Result<PublishLayout, End> {
    let malformed = |error| Cause::malformed(direction, Kind::Publish, error);
    let head = Head::parse(frame)
        .map_err(malformed)?
        .ok_or(DecodeError::Truncated);
    let head = head.map_err(malformed)?;
    PublishLayout::parse(head, rules.version(), direction, frame)
        .map_err(malformed)?
        .ok_or(DecodeError::Truncated)
        .map_err(malformed)
}
