//! Message Expiry Interval: it keeps counting while a hook, or a receiver that does not read, holds a
//! PUBLISH. [MQTT-3.3.2-5], [MQTT-3.3.2-6]

use std::collections::BTreeMap;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{
    EncodeError, Head, Kind, Properties, PropertyId, PropertyWriter, Publish, PublishEdit,
    PublishLayout, Value,
};
use tokio::time::Instant;

use super::subject::{Offered, Subject};
use super::{Cx, Flow, Next};
use crate::cause::{Cause, End};
use crate::hook::{Packet, PacketService, Verdict};
use crate::rules::Outcome;

/// Topic names of dropped PUBLISH packets that bound an alias.
type Lost = BTreeMap<u16, Bytes>;

/// The remaining time of a message after some seconds.
enum Left {
    Unlimited,
    Seconds(u32),
    Nothing,
}

impl Left {
    fn after(seconds: u32, properties: &Properties<'_>) -> Self {
        match properties.number(PropertyId::MessageExpiryInterval) {
            None => Self::Unlimited,
            Some(expiry) => match expiry.saturating_sub(seconds) {
                0 => Self::Nothing,
                left => Self::Seconds(left),
            },
        }
    }
}

impl<H: PacketService> Flow<H> {
    /// Offers a packet to the hooks, and applies their verdict if it is ready.
    pub(super) fn offer(
        &mut self,
        packet: Packet,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        cx.runs(offered.kind());
        match self.asking.ask(&mut self.tap, packet, offered, cx)? {
            Poll::Ready(verdict) => self.apply_late(verdict, cx.queued_since, offered, cx),
            Poll::Pending => Ok(Next::Pending),
        }
    }

    /// Applies the verdict on a packet that may have waited and so has grown older.
    pub(super) fn apply_late(
        &mut self,
        mut verdict: Verdict,
        since: Option<Instant>,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        let seconds = since.map_or(0, |since| (cx.clock.now() - since).as_secs());
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        if seconds > 0
            && let Verdict::Forward(packet) = &mut verdict
            && let Some(publish) = packet.publish()
        {
            let properties = publish.properties();
            match Left::after(seconds, &properties) {
                Left::Unlimited => {}
                Left::Seconds(left) => {
                    let aged = expiring_in(left, &properties).map_err(Cause::encode)?;
                    let edit = PublishEdit::new().properties(aged.as_bytes());
                    packet.edit_publish(&edit).map_err(Cause::encode)?;
                }
                Left::Nothing => {
                    if let Subject::Publish { layout, .. } = &offered.subject {
                        self.take_back(layout, packet.as_bytes(), cx);
                    }
                    return self.refuse(offered, Outcome::Expired, cx);
                }
            }
        }
        self.apply(verdict, offered, cx)
    }

    /// Ages the packets that the receiver has left waiting, and drops those that have
    /// expired.
    pub(super) fn expire_queue(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), End> {
        let Some((packets, seconds)) = self.out.take_aged(&mut cx.clock) else {
            return Ok(());
        };
        let mut kept = BytesMut::with_capacity(packets.len());
        let mut lost = Lost::new();
        let mut rest = packets.freeze();
        while let Ok(Some(head)) = Head::parse(&rest) {
            let packet = rest.split_to(head.total_len().min(rest.len()));
            match self.age(head, &packet, seconds, &mut lost, cx)? {
                Next::Replace(frame) => kept.extend_from_slice(&frame),
                Next::Drop => {}
                _ => kept.extend_from_slice(&packet),
            }
        }
        kept.extend_from_slice(&rest);
        self.out.put_back(&kept);
        if self.out.is_mid_packet() && self.payload.to_forward() == 0 {
            self.out.end_packet();
        }
        if let Some(aliases) = cx.rules.aliases(self.direction) {
            for (alias, topic) in lost {
                aliases.take_back(alias, &topic);
            }
        }
        Ok(())
    }

    /// Makes a queued packet `seconds` older. The last one may lack payload that is still to
    /// come.
    fn age(
        &mut self,
        head: Head,
        packet: &Bytes,
        seconds: u32,
        lost: &mut Lost,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        let version = cx.rules.version();
        if head.kind() != Kind::Publish {
            return Ok(Next::Pass);
        }
        let Ok(Some(layout)) = PublishLayout::parse(head, version, self.direction, packet) else {
            return Ok(Next::Pass);
        };
        let (front, payload) = packet.split_at(layout.payload_at());
        let publish = Publish::new(layout, front);
        let properties = publish.properties();
        let topic = Some(packet.slice_ref(layout.topic(packet))).filter(|it| !it.is_empty());
        let missing = layout
            .topic_alias()
            .and_then(|alias| lost.remove(&alias))
            .filter(|_| topic.is_none());
        let aged = match Left::after(seconds, &properties) {
            Left::Unlimited if missing.is_none() => return Ok(Next::Pass),
            Left::Unlimited => None,
            Left::Seconds(left) => Some(expiring_in(left, &properties).map_err(Cause::encode)?),
            Left::Nothing => {
                note_lost(lost, &layout, topic.or(missing));
                return self.drop_queued(&layout, packet.len(), Outcome::Expired, cx);
            }
        };
        let mut edit = PublishEdit::new();
        if let Some(aged) = &aged {
            edit = edit.properties(aged.as_bytes());
        }
        if let Some(topic) = &missing {
            edit = edit.topic(str::from_utf8(topic).unwrap_or_default());
        }
        let frame = publish.edit(version, &edit).map_err(Cause::encode)?;
        let growth = frame.len().saturating_sub(front.len());
        if layout.total_len() + growth > cx.rules.receiver_max_packet(self.direction) {
            note_lost(lost, &layout, topic.or(missing));
            return self.drop_queued(&layout, packet.len(), Outcome::TooLarge, cx);
        }
        Ok(Next::Replace([&frame[..], payload].concat().into()))
    }

    /// Drops a PUBLISH of which `queued` bytes are queued.
    fn drop_queued(
        &mut self,
        layout: &PublishLayout,
        queued: usize,
        outcome: Outcome<'_>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Next, End> {
        let left = layout.total_len() - queued;
        // its sender may already have an answer due when the rest has come
        let answer = match left {
            0 => None,
            _ => self.payload.abandon(),
        };
        let next = self.refuse_publish(layout, left, outcome, cx)?;
        if let Some(answer) = answer {
            self.payload.answer_with(answer);
        }
        Ok(next)
    }
}

/// The receiver does not learn the alias of this PUBLISH.
fn note_lost(lost: &mut Lost, layout: &PublishLayout, topic: Option<Bytes>) {
    if let (Some(alias), Some(topic)) = (layout.topic_alias(), topic) {
        lost.insert(alias, topic);
    }
}

fn expiring_in(seconds: u32, properties: &Properties<'_>) -> Result<PropertyWriter, EncodeError> {
    let mut aged = PropertyWriter::new();
    for property in properties {
        if property.id == PropertyId::MessageExpiryInterval {
            aged.push(property.id, Value::U32(seconds))?;
        } else {
            aged.copy(&property);
        }
    }
    Ok(aged)
}
