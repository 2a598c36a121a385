//! What a direction works with while it is polled.

use std::task::Context;

use bytes::Bytes;
use mproxy_codec::Kind;
use tokio::time::Instant;

use super::Outbox;
use crate::recorder::{Batch, Recorder};
use crate::rules::{HookTraits, Rules};
use crate::slow::Running;

/// What a direction may do in a poll before other connections of the thread get their turn, in units of
/// roughly 100 ns, in which a round that finds nothing to judge costs next to nothing. However a client
/// mixes what is dear, its turn is a fraction of a millisecond.
pub(crate) const WORK: u32 = 4096;

/// A packet that is looked at by itself.
pub(super) const PACKET: u32 = 2;

/// A packet that hooks are asked about.
pub(super) const ASKED: u32 = 4;

/// A packet that is refused: somebody counts it, may log it, and answers.
const REFUSED: u32 = 16;

/// So many bytes of a packet other than PUBLISH cost one more: its properties and filters.
pub(super) const BYTES_A_UNIT: usize = 8;

/// What a direction works with while it is polled.
pub(crate) struct Cx<'a, 'b> {
    pub(crate) rules: &'a mut Rules,
    /// The outbox towards this direction's sender: answers of the proxy.
    pub(crate) to_sender: &'a mut Outbox,
    pub(crate) batch: &'a mut Batch,
    pub(crate) recorder: &'a dyn Recorder,
    /// Since when what is scanned has waited here, if it has.
    pub(crate) queued_since: Option<Instant>,
    pub(crate) task: &'a mut Context<'b>,
    /// What the session's hooks mean for what is announced.
    pub(crate) hooks: HookTraits,
    /// The session is to end: what was read is finished, nothing new is begun.
    pub(crate) ordered: bool,
    /// Hooks run, and the clock was read: once a scan (rule 1).
    pub(crate) running: Option<Running>,
    /// What is left of [`WORK`].
    pub(crate) work: &'a mut u32,
}

impl Cx<'_, '_> {
    /// So much was done.
    #[inline]
    pub(super) const fn worked(&mut self, units: u32) {
        *self.work = self.work.saturating_sub(units);
    }

    /// True when other connections are to get their turn.
    #[inline]
    pub(super) const fn is_spent(&self) -> bool {
        *self.work == 0
    }

    /// Hooks are about to be given a packet of this type.
    #[inline]
    pub(super) fn runs(&mut self, kind: Kind) {
        match &mut self.running {
            Some(running) => running.goes_on_with(kind),
            None => self.running = Some(Running::now(kind)),
        }
    }

    /// A packet was refused, in whole or in part.
    pub(super) const fn denied(&mut self) {
        self.worked(REFUSED);
        self.batch.denied += 1;
    }

    /// Answers the sender: now, or at the next packet border of what streams to it.
    pub(super) fn reply(&mut self, packet: &Bytes) {
        self.batch.inject_packet(packet);
        self.to_sender.push_reply(packet);
    }
}
