//! One direction of a session: bytes in, packets found and judged, bytes out.
//!
//! ```text
//! pump      one round: write, resume, read or scan, write
//!  scan      finds packets in what was read    classify   Run, Repeated, Ordinary, Full
//!   publish   a PUBLISH by itself               packets    all other types
//!    expiry    offers to the hooks, ages what waited
//!     apply     a verdict becomes bytes
//!      refuse    or an answer
//!       note      what is remembered of what goes on
//! -------------------------------------------------------------------------------------
//!  inbox -> asking -> outbox    the state, each in its file, with its transitions
//!  payload, sender, subject, consumer
//! ```
//!
//! Each file calls only those below it and on its line; imports go down. The rules of MQTT itself are in
//! [`rules`](crate::rules), which use neither this module nor the clock.
//!
//! Rules of the hot path, which every patch must keep:
//!
//! 1. No allocation, lock, clock read, log call, formatting or virtual call per packet in steady
//!    state.
//! 2. An idle connection owns no buffer: reads go to the thread's scratch buffer, and only a partial
//!    packet is kept.
//! 3. One read, a scan of all whole packets, one write of the untouched run.
//! 4. While the other side is slow, this side is not read.
//! 5. Counters are plain integers, reported in batches.
//! 6. `poll_ready` of a hook is called only with a packet in hand.
//! 7. Nothing is allocated because a length field said so, only when bytes arrive.
//! 8. A PUBLISH larger than the scratch buffer streams through, unless a hook wants its payload.

mod apply;
mod asking;
mod classify;
mod consumer;
mod cx;
mod expiry;
mod inbox;
mod note;
mod outbox;
mod packets;
mod payload;
mod publish;
mod pump;
mod refuse;
mod scan;
mod sender;
mod subject;

use std::ops::Range;

use bytes::Bytes;
use mproxy_codec::Direction;

use self::{asking::Asking, consumer::Consumer, payload::Payload, sender::Sender};
pub(crate) use self::{
    cx::{Clock, Cx, Events, Intake, WORK},
    inbox::Inbox,
    outbox::Outbox,
    pump::Heard,
};
use crate::cause::End;
use crate::context::SessionInfo;
use crate::hook::{PacketService, Tap};
use crate::recorder::Recorder;
use crate::slow::SlowPolls;
use crate::summary::Side;

/// One direction of a session.
pub(crate) struct Flow<H: PacketService> {
    direction: Direction,
    tap: Tap<H>,
    inbox: Inbox,
    asking: Asking<H::Future>,
    payload: Payload,
    /// The bytes to write to the receiver of this direction.
    pub(crate) out: Outbox,
    sender: Sender,
    /// True while the sender is not read because the receiver is slow (rule 4).
    stalled: bool,
    /// True once hooks of this direction have waited: packets are then copied, so that the next wait does
    /// not keep the thread's buffer.
    hooks_wait: bool,
    consumer: Consumer,
    slow_polls: SlowPolls,
}

/// What a direction waits for; each has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Nothing with a deadline.
    Nothing,
    /// A hook's verdict.
    Hook,
    /// A hook to take a packet.
    Permit,
    /// The receiver to take bytes.
    Write,
    /// The sender to finish a packet.
    Packet,
    /// The broker to answer requests, because too many are unanswered.
    Answers,
}

/// What happens to a packet.
enum Next {
    /// It stays in the run.
    Pass,
    /// It is replaced by these bytes.
    Replace(Bytes),
    /// Nothing is forwarded.
    Drop,
    /// The hooks have not decided yet.
    Pending,
    /// It is incomplete. `judged` says that only payload is missing.
    Incomplete { judged: bool },
    /// It stays in the inbox until answers to earlier requests make room.
    Blocked,
}

impl<H: PacketService> Flow<H> {
    pub(crate) const fn new(direction: Direction, tap: Tap<H>, inbox: Inbox, out: Outbox) -> Self {
        Self {
            direction,
            tap,
            inbox,
            asking: Asking::new(),
            payload: Payload::none(),
            out,
            sender: Sender::TALKING,
            stalled: false,
            hooks_wait: false,
            consumer: Consumer::KeepsUp,
            slow_polls: SlowPolls::none(),
        }
    }

    /// What is to be written, and the hooks.
    pub(crate) fn into_parts(self) -> (Outbox, Tap<H>) {
        (self.out, self.tap)
    }

    pub(crate) const fn tap(&self) -> &Tap<H> {
        &self.tap
    }

    /// Replaces the hooks for all later packets. No packet is with the old ones.
    pub(crate) fn renew(&mut self, tap: Tap<H>) {
        self.tap = tap;
        // the old and the new hooks may want to hold different packets
        self.inbox.rescan();
    }

    /// True while a packet is with the hooks.
    pub(crate) fn is_asking(&self) -> bool {
        self.asking.is_waiting()
    }

    /// A frame for the hooks: a slice of the read buffer, or a copy if these hooks have waited before.
    fn frame(&self, buffer: &Bytes, range: Range<usize>) -> Bytes {
        if self.hooks_wait {
            Bytes::copy_from_slice(&buffer[range])
        } else {
            buffer.slice(range)
        }
    }

    /// Reads the clock if hooks have run.
    #[inline]
    fn hooks_ran(&mut self, cx: &mut Cx<'_, '_>) {
        self.hooks_wait |= self.asking.is_waiting();
        if let Some(running) = cx.running.take() {
            let session = &cx.rules.session;
            self.slow_polls
                .ran::<H>(running, session, self.direction, cx.recorder);
        }
    }

    /// The session ends: reports slow polls that were not logged.
    pub(crate) fn tell_slow_polls(&self, session: &SessionInfo, recorder: &dyn Recorder) {
        self.slow_polls.end::<H>(session, self.direction, recorder);
    }

    /// What this direction waits for.
    pub(crate) fn waits_for(&self) -> Wait {
        if let Some(wait) = self.asking.waits_for() {
            wait
        } else if !self.out.is_empty() {
            Wait::Write
        } else if self.inbox.is_blocked() {
            Wait::Answers
        } else if self.payload.is_passing() || self.inbox.is_partial() {
            Wait::Packet
        } else {
            Wait::Nothing
        }
    }

    /// Bytes that it holds because of what peers sent.
    pub(crate) fn size(&self) -> usize {
        self.inbox.size() + self.out.size() + self.asking.size()
    }

    /// True if the sender is being read.
    pub(crate) fn is_listening(&self) -> bool {
        let is_read = !self.stalled && !self.inbox.is_blocked() && !self.asking.is_waiting();
        is_read && self.sender.is_talking()
    }

    /// True while packets that were read have not passed the hooks.
    pub(crate) fn holds_packets(&self) -> bool {
        self.asking.is_waiting() || self.inbox.is_unscanned()
    }

    /// True if this direction is finished: the sender is done and everything it sent has been written.
    pub(crate) fn is_finished(&self) -> bool {
        !self.sender.is_talking() && !self.asking.is_waiting() && self.out.is_empty()
    }

    /// True when nothing more can come from the sender.
    pub(crate) fn has_closed(&self) -> bool {
        self.sender.has_closed(self.sending_side())
    }

    /// Takes the reason why the sender is done, unless it just closed.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        let has_closed = self.has_closed();
        let end = self.sender.take_end();
        // it stays closed when its cause is taken: nothing more is read from it
        if has_closed {
            self.sender.close();
        }
        end
    }

    const fn sending_side(&self) -> Side {
        match self.direction {
            Direction::ToServer => Side::Client,
            Direction::ToClient => Side::Upstream,
        }
    }

    const fn receiving_side(&self) -> Side {
        match self.direction {
            Direction::ToServer => Side::Upstream,
            Direction::ToClient => Side::Client,
        }
    }
}

#[cfg(test)]
mod tests;
