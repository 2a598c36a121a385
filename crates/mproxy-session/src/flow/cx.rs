//! The context of a direction while it is pumped, and what it reports to the pipe.

use std::ops::BitOrAssign;
use std::task::Context;

use bytes::Bytes;
use mproxy_codec::Kind;
use tokio::time::Instant;

use super::{Outbox, Wait};
use crate::latency::Latency;
use crate::recorder::{Batch, Recorder};
use crate::rules::{HookTraits, Rules};
use crate::slow::Running;

/// The work that a direction may do per poll before other connections of the thread get their turn, in
/// units of roughly 100 ns. A round without packets to judge costs next to nothing. Whatever a client
/// sends, its turn is a fraction of a millisecond.
pub(crate) const WORK: u32 = 4096;

/// A packet that is handled alone.
pub(super) const PACKET: u32 = 2;

/// A packet that is offered to hooks.
pub(super) const ASKED: u32 = 4;

/// A refused packet: it is counted, perhaps logged, and answered.
const REFUSED: u32 = 16;

/// Bytes per unit of a packet other than PUBLISH, for its properties and filters.
pub(super) const BYTES_A_UNIT: usize = 8;

/// A set of what happened while a direction was pumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events(u16);

impl Events {
    /// Something moved, so another round may be worthwhile.
    pub(crate) const MOVED: Self = Self(1);
    /// The sender sent something.
    pub(crate) const HEARD: Self = Self(1 << 1);
    /// Whole packets, payload bytes, or a good part of a packet came.
    pub(crate) const PROGRESSED: Self = Self(1 << 2);
    /// The receiver took bytes.
    pub(crate) const TAKEN: Self = Self(1 << 3);
    /// The broker's AUTH passed before CONNACK: its time to answer starts again.
    pub(crate) const CHALLENGED: Self = Self(1 << 4);
    /// A receiver that was behind has accepted all that the sender had.
    pub(crate) const CAUGHT_UP: Self = Self(1 << 5);
    /// The sender had nothing to read, and wakes the task when it has.
    pub(crate) const DRY: Self = Self(1 << 6);
    /// A read brought a quarter of the thread's buffer or more.
    pub(crate) const MUCH: Self = Self(1 << 7);
    /// More than half of it, as only large packets do.
    pub(crate) const LARGE: Self = Self(1 << 8);

    pub(crate) const fn has(self, event: Self) -> bool {
        self.0 & event.0 != 0
    }

    /// True if the event happened that a direction waits for.
    pub(crate) fn progressed(self, wait: Wait) -> bool {
        match wait {
            Wait::Write => self.has(Self::TAKEN),
            _ => self.has(Self::PROGRESSED),
        }
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// How far a direction may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Without restriction.
    Free,
    /// The session must end: finish what was read, begin nothing new.
    Finish,
    /// The hooks are about to be replaced: offer them no packet.
    Hold,
}

/// The time of a turn. The clock is read when the time is first needed, which most turns never do.
#[derive(Debug, Default)]
pub(crate) struct Clock(pub(super) Option<Instant>);

impl Clock {
    #[cold]
    pub(super) fn now(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

/// The context of a direction while it is pumped.
pub(crate) struct Cx<'a, 'b> {
    pub(crate) rules: &'a mut Rules,
    /// The outbox to the sender of this direction, for answers of the proxy.
    pub(crate) to_sender: &'a mut Outbox,
    pub(crate) batch: &'a mut Batch,
    /// The sample of the broker's latency.
    pub(crate) latency: &'a mut Latency,
    pub(crate) recorder: &'a dyn Recorder,
    /// Since when the scanned packets have waited here, if they have.
    pub(crate) queued_since: Option<Instant>,
    pub(crate) clock: Clock,
    pub(crate) task: &'a mut Context<'b>,
    /// How the session's hooks affect what is announced to the client.
    pub(crate) hooks: HookTraits,
    pub(crate) intake: Intake,
    /// Hooks run, and the clock was read for them: once per scan (rule 1).
    pub(crate) running: Option<Running>,
    /// What is left of [`WORK`].
    pub(crate) work: &'a mut u32,
    pub(crate) events: Events,
    /// Packets of a scan with a remembered verdict.
    pub(crate) repeated: u32,
}

impl<'a, 'b> Cx<'a, 'b> {
    #[inline]
    pub(crate) fn new(
        rules: &'a mut Rules,
        to_sender: &'a mut Outbox,
        batch: &'a mut Batch,
        (latency, recorder): (&'a mut Latency, &'a dyn Recorder),
        (task, work): (&'a mut Context<'b>, &'a mut u32),
        (hooks, intake): (HookTraits, Intake),
    ) -> Self {
        Self {
            rules,
            to_sender,
            batch,
            latency,
            recorder,
            queued_since: None,
            clock: Clock::default(),
            task,
            hooks,
            intake,
            running: None,
            work,
            events: Events::default(),
            repeated: 0,
        }
    }
}

impl Cx<'_, '_> {
    /// Charges this much work.
    #[inline]
    pub(super) const fn worked(&mut self, units: u32) {
        *self.work = self.work.saturating_sub(units);
    }

    /// True if other connections must get their turn.
    #[inline]
    pub(super) const fn is_spent(&self) -> bool {
        *self.work == 0
    }

    /// Hooks are about to be offered a packet of this type.
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

    /// Answers the sender: now, or at the next packet border if a PUBLISH streams to it.
    pub(super) fn reply(&mut self, packet: &Bytes) {
        self.batch.inject_packet(packet);
        self.to_sender.push_reply(packet);
    }
}
