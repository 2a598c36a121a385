//! Applies a verdict: bytes for the receiver, or a refusal.

use mproxy_codec::{PublishLayout, View};

use super::payload::Passage;
use super::subject::{Offered, Subject};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, Denial, End};
use crate::hook::{Packet, PacketService, Parts, Verdict};
use crate::rules::Outcome;

impl<H: PacketService> Flow<H> {
    /// Turns a verdict into bytes, answers and bookkeeping. A forwarded packet comes back as
    /// [`Next::Replace`], changed or not.
    pub(super) fn apply(
        &mut self,
        verdict: Verdict,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        match verdict {
            Verdict::Forward(packet) => self.forward(packet, offered, cx),
            Verdict::Discard => self.refuse(offered, Outcome::Discarded, cx),
            Verdict::Refuse(refusal) => self.refuse(offered, Outcome::Refused(&refusal), cx),
            Verdict::Close(code) => {
                cx.denied();
                Err(Cause::denied(Denial::Session, code))
            }
        }
    }

    fn forward(
        &mut self,
        packet: Packet,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        if packet.is_refused() {
            return Ok(self.refuse_filters(packet, offered, cx));
        }
        let is_changed = !offered.is_untouched(&packet);
        let version = cx.rules.version();
        if is_changed || packet.version() != version {
            offered.check(&packet, version)?;
            cx.batch.modified += 1;
        }
        let parts = packet.into_parts();
        if let (
            Subject::Publish {
                layout: asked,
                left,
            },
            Some(layout),
        ) = (&offered.subject, parts.publish)
        {
            return self.forward_publish(parts, layout, (asked, *left), offered, cx);
        }
        let (frame, entries) = (parts.frame, parts.entries.as_deref());
        match &offered.subject {
            Subject::Request(_)
                if is_changed && frame.len() > cx.rules.receiver_max_packet(self.direction) =>
            {
                return self.refuse(offered, Outcome::TooLarge, cx);
            }
            // a hook's replacement may differ
            Subject::Connack(_) | Subject::Disconnect { .. } if is_changed => {
                let malformed = |error| Cause::malformed(self.direction, offered.kind(), error);
                let view = View::parse(version, self.direction, &frame).map_err(malformed)?;
                if let Some(view) = view {
                    let subject = Subject::of(&view, &frame, version);
                    self.note(&subject, frame.len(), None, cx);
                }
            }
            subject => self.note(subject, frame.len(), entries, cx),
        }
        Ok(Next::Replace(frame))
    }

    fn forward_publish(
        &mut self,
        mut parts: Parts,
        layout: PublishLayout,
        (asked, left): (&PublishLayout, usize),
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        let direction = self.direction;
        let (layout, told) = cx.rules.settle_alias(direction, &mut parts, layout)?;
        // after the alias, because replacing an alias by its name changes the packet, too
        let maximum = if offered.is(&parts.frame) {
            cx.rules.untouched_max_packet(direction)
        } else {
            cx.rules.receiver_max_packet(direction)
        };
        if layout.total_len() > maximum {
            return self.refuse_publish(&layout, left, Outcome::TooLarge, cx);
        }
        // only once it is certain that the packet goes
        if let (Some(alias), Some(aliases)) = (told, cx.rules.aliases(direction)) {
            aliases.tell(alias, layout.topic(&parts.frame));
        }
        cx.batch.published(layout.qos());
        let answer = if asked.qos() == layout.qos() {
            None
        } else {
            cx.rules.answer_lowered(direction, asked)
        };
        match answer {
            Some(answer) if left == 0 => cx.reply(&answer),
            answer => self
                .payload
                .begin(left, Passage::Forwarded, answer, &mut self.out),
        }
        Ok(Next::Replace(parts.frame))
    }
}

impl Next {
    /// An unchanged packet stays in the run.
    pub(super) fn or_pass(self, original: &[u8]) -> Self {
        match self {
            Self::Replace(frame)
                if frame.as_ptr() == original.as_ptr() && frame.len() == original.len() =>
            {
                Self::Pass
            }
            next => next,
        }
    }
}
