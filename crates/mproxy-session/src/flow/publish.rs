//! PUBLISH, in either direction: the only packet that may be too large to hold, and the only one
//! with topic aliases.

use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{
    Direction, Head, Kind, PropertyId, Publish, PublishLayout, ReasonCode, normalise,
};

use super::payload::Passage;
use super::subject::{Offered, Subject};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, End, Fault};
use crate::error::Limit;
use crate::hook::{Layout, Packet, PacketService, Verdict};
use crate::rules::Outcome;
use crate::scratch::SCRATCH_LEN;

/// A PUBLISH and how much of it has arrived.
struct Arrived {
    layout: PublishLayout,
    /// Bytes to handle now: the whole packet, or its head.
    len: usize,
    /// Payload bytes that are still to come.
    left: usize,
    /// A hook wants a payload that is too large to hold.
    is_unjudgeable: bool,
}

impl Arrived {
    /// Whatever of it has come, for one that is not forwarded and that no hook looks at.
    fn in_pieces(layout: PublishLayout, got: usize) -> Self {
        let len = layout.total_len().min(got);
        Self {
            layout,
            len,
            left: layout.total_len() - len,
            is_unjudgeable: false,
        }
    }
}

impl<H: PacketService> Flow<H> {
    /// Handles a PUBLISH whose payload may still be on its way.
    pub(super) fn publish(
        &mut self,
        head: Head,
        buffer: &Bytes,
        at: usize,
        filled: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(Next, usize), End> {
        let direction = self.direction;
        let bytes = &buffer[at..filled];
        let Some(layout) = self.layout(head, bytes, cx)? else {
            return Ok((Next::Incomplete { judged: false }, 0));
        };
        let is_shed = self.is_shed(&layout, bytes, cx.rules);
        let arrived = match is_shed {
            true => Some(Arrived::in_pieces(layout, bytes.len())),
            false => self.arrived(layout, bytes.len(), cx),
        };
        let Some(arrived) = arrived else {
            return Ok((Next::Incomplete { judged: true }, 0));
        };
        let (len, left) = (arrived.len, arrived.left);
        cx.batch.read(Kind::Publish, len);
        let tapped = self.tap.kinds().contains(Kind::Publish);
        let topic = match cx.rules.aliases(direction) {
            Some(aliases) => aliases.receive(&layout, bytes, tapped)?,
            None => None,
        };
        if is_shed {
            self.take_back(&layout, bytes, cx);
            cx.batch.shed += 1;
            return Ok((self.answer_with(None, left, cx), len));
        }
        if let Some(answer) = cx.rules.repeated(direction, &layout) {
            self.take_back(&layout, bytes, cx);
            return Ok((self.answer_with(answer, left, cx), len));
        }
        self.begin_flight(&layout, cx)?;
        if tapped
            && let Some(next) = self.check_depth(&layout, bytes, topic.as_deref(), left, cx)?
        {
            return Ok((next, len));
        }
        if arrived.is_unjudgeable || layout.total_len() > cx.rules.untouched_max_packet(direction) {
            self.take_back(&layout, bytes, cx);
            let next = self.refuse_publish(&layout, left, Outcome::TooLarge, cx)?;
            return Ok((next, len));
        }
        // if no hook looks at topics, most bindings are kept without the name
        let topic = topic.filter(|topic| !topic.is_empty());
        if !tapped && topic.is_none() && head.is_verbatim() && cx.queued_since.is_none() {
            cx.batch.published(layout.qos());
            self.payload
                .begin(left, Passage::Forwarded, None, &mut self.out);
            return Ok((Next::Pass, len));
        }
        let next = self.judge(head, arrived, topic, buffer, at, cx)?;
        Ok((next.or_pass(&bytes[..len]), len))
    }

    /// A PUBLISH does not go on. Where nobody looks, what its alias stands for is not known otherwise.
    pub(super) fn take_back(&self, layout: &PublishLayout, bytes: &[u8], cx: &mut Cx<'_, '_>) {
        if !self.tap.kinds().contains(Kind::Publish)
            && let Some(alias) = layout.topic_alias()
            && let Some(aliases) = cx.rules.aliases(self.direction)
        {
            aliases.take_back(alias, layout.topic(bytes));
        }
    }

    /// A publication is on its way to the broker, or to hooks that may refuse it.
    #[inline]
    pub(super) fn begin_flight(
        &self,
        layout: &PublishLayout,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(), End> {
        if self.direction == Direction::ToClient {
            return Ok(());
        }
        cx.latency.begin(layout);
        cx.rules.begin_flight(layout)
    }

    /// The layout, once topic and properties have arrived. They are held until then.
    fn layout(
        &self,
        head: Head,
        bytes: &[u8],
        cx: &Cx<'_, '_>,
    ) -> Result<Option<PublishLayout>, End> {
        let (direction, limits) = (self.direction, &cx.rules.limits);
        let malformed = |error| Cause::malformed(direction, Kind::Publish, error);
        let layout = PublishLayout::parse(head, cx.rules.version(), direction, bytes);
        let layout = layout.map_err(malformed)?;
        if let Some(layout) = &layout {
            let controls = limits.control_characters;
            controls.check(layout.has_control()).map_err(malformed)?;
        } else if bytes.len() > limits.max_held_packet {
            let fault = Fault::TooLarge {
                what: "what stands before the payload of a publish",
                size: bytes.len(),
                limit: (Limit::MaxHeldPacket, limits.max_held_packet),
            };
            return Err(Cause::fault(direction, Kind::Publish, fault));
        }
        Ok(layout)
    }

    /// How much of a PUBLISH to handle now; `None` to wait for more of it.
    fn arrived(&self, layout: PublishLayout, got: usize, cx: &Cx<'_, '_>) -> Option<Arrived> {
        let total = layout.total_len();
        if got >= total {
            return Some(Arrived {
                layout,
                len: total,
                left: 0,
                is_unjudgeable: false,
            });
        }
        let is_tapped = self.tap.kinds().contains(Kind::Publish);
        let wants_payload = is_tapped && !self.tap.is_head_only();
        let can_gather = total <= cx.rules.limits.max_held_packet;
        if total <= SCRATCH_LEN || wants_payload && can_gather {
            return None;
        }
        let len = layout.payload_at();
        Some(Arrived {
            layout,
            len,
            left: total - len,
            is_unjudgeable: wants_payload,
        })
    }

    /// Rejects topics with too many levels to judge: a client that sends one is closed, and a delivery
    /// with one is dropped. `topic` is the resolved alias.
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
            .unwrap_or_default()
            .as_bytes();
        let limits = &cx.rules.limits;
        if self.direction == Direction::ToServer {
            let (kind, code) = (Kind::Publish, ReasonCode::TOPIC_NAME_INVALID);
            limits
                .check_levels(kind, topic, "a topic name", code)
                .and_then(|()| limits.check_levels(kind, response, "a response topic", code))
                .inspect_err(|_| cx.recorder.refused(self.direction, kind))?;
        } else if limits.is_too_deep(topic) || limits.is_too_deep(response) {
            cx.recorder.refused(self.direction, Kind::Publish);
            let next = self.refuse_publish(layout, left, Outcome::TooDeep, cx)?;
            return Ok(Some(next));
        }
        Ok(None)
    }

    /// Makes a packet for the hooks or, without hooks, for changes of the session itself.
    fn judge(
        &mut self,
        head: Head,
        arrived: Arrived,
        topic: Option<Arc<[u8]>>,
        buffer: &Bytes,
        at: usize,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        let Arrived {
            layout, len, left, ..
        } = arrived;
        let (frame, layout) = if head.is_verbatim() {
            (self.frame(buffer, at..at + len), layout)
        } else {
            let frame = normalise(head, &buffer[at..at + len]).map_err(Cause::encode)?;
            let layout = cx.rules.layout(self.direction, &frame)?;
            (frame, layout)
        };
        let (packet, offered) = self.publish_packet(frame, layout, left, topic, cx);
        if self.tap.kinds().contains(Kind::Publish) {
            self.offer(packet, &offered, cx)
        } else {
            self.apply_late(Verdict::Forward(packet), cx.queued_since, &offered, cx)
        }
    }

    /// A PUBLISH as offered to the hooks; `left` bytes of its payload are still to come.
    #[inline]
    pub(super) fn publish_packet(
        &self,
        frame: Bytes,
        layout: PublishLayout,
        left: usize,
        topic: Option<Arc<[u8]>>,
        cx: &Cx<'_, '_>,
    ) -> (Packet, Offered) {
        let (direction, version) = (self.direction, cx.rules.version());
        let offered = Offered::new(direction, &frame, Subject::Publish { layout, left });
        let layout = Layout::Publish(layout);
        let packet = Packet::new(Kind::Publish, version, direction, frame, layout, topic);
        (packet, offered)
    }
}
