//! A receiver that accepts less than what waits for it, and the messages that are dropped for it.

use mproxy_codec::{PublishLayout, QoS};

use super::{Cx, Events, Flow};
use crate::hook::PacketService;
use crate::rules::Rules;
use crate::scratch::SCRATCH_LEN;

/// Bytes that may wait for a receiver while messages for it are dropped. They are the rest of what
/// it did not accept, and packets that must not be dropped. Once there are more, its sender is not read.
const MOST_WAITING: usize = SCRATCH_LEN;

/// How well the receiver of a direction keeps up with its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Consumer {
    /// It has accepted all that the sender had.
    #[default]
    KeepsUp,
    /// Something waits for it, here or at the sender.
    IsBehind,
    /// The same for so long that QoS 0 messages are dropped as long as anything waits for it here.
    IsSlow {
        /// True in a scan that began while something waited for it: this scan drops them.
        drops: bool,
    },
}

impl<H: PacketService> Flow<H> {
    /// True if the receiver has not accepted all that its sender had.
    pub(crate) fn is_behind(&self) -> bool {
        self.consumer != Consumer::KeepsUp && self.sender.is_talking()
    }

    /// True while messages are dropped for the receiver.
    pub(crate) const fn sheds(&self) -> bool {
        matches!(self.consumer, Consumer::IsSlow { .. })
    }

    /// From here on QoS 0 messages are dropped for the receiver, until it has caught up.
    pub(crate) const fn shed(&mut self) {
        self.consumer = Consumer::IsSlow { drops: false };
    }

    /// True if so much waits for the receiver that its sender is not read.
    pub(super) fn is_clogged(&mut self) -> bool {
        if self.out.is_empty() {
            return false;
        }
        if self.sheds() {
            return self.out.len() > MOST_WAITING;
        }
        self.consumer = Consumer::IsBehind;
        true
    }

    /// The sender has nothing more at the moment, or its pace lets it send nothing.
    #[inline]
    pub(super) fn caught_up(&mut self, cx: &mut Cx<'_, '_>) {
        if self.consumer != Consumer::KeepsUp && self.out.is_flushed() {
            self.consumer = Consumer::KeepsUp;
            cx.events |= Events::CAUGHT_UP;
        }
    }

    /// A scan begins.
    pub(super) fn begin_scan(&mut self) {
        if let Consumer::IsSlow { drops } = &mut self.consumer {
            *drops = !self.out.is_empty();
        }
    }

    /// True if this scan drops QoS 0 messages.
    #[inline]
    pub(super) fn drops_messages(&self) -> bool {
        self.consumer == Consumer::IsSlow { drops: true }
    }

    /// True if a PUBLISH is dropped because its receiver is slow. One whose alias could not be remembered
    /// is not: a later PUBLISH with this alias would have no topic.
    pub(super) fn is_shed(&self, layout: &PublishLayout, bytes: &[u8], rules: &mut Rules) -> bool {
        if !self.drops_messages() || layout.qos() != QoS::AtMostOnce {
            return false;
        }
        let topic = layout.topic(bytes);
        match (layout.topic_alias(), rules.aliases(self.direction)) {
            (Some(alias), Some(aliases)) => topic.is_empty() || aliases.has_room(alias, topic),
            _ => true,
        }
    }
}
