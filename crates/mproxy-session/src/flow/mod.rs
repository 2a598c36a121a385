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
//!  payload, sender, subject
//! ```
//!
//! A file calls those below it and on its line, and imports go down. The rules of MQTT itself are in
//! [`rules`](crate::rules), which know neither this picture nor the clock.
//!
//! Rules of the hot path, to which a patch is held:
//!
//! 1. No allocation, lock, clock read, log call, formatting or virtual call per packet in steady
//!    state.
//! 2. An idle connection owns no buffer: reads go to the thread's scratch buffer, only a partial
//!    packet stays.
//! 3. One read, a scan of all whole packets, one write of the untouched run.
//! 4. While the other side is slow this side is not read.
//! 5. Counters are plain integers, handed out a batch at a time.
//! 6. `poll_ready` of a hook is called only with a packet in hand.
//! 7. Nothing is allocated because a length field said so, only as bytes arrive.
//! 8. A PUBLISH larger than the scratch buffer streams through, unless a hook wants its payload.

mod apply;
mod asking;
mod classify;
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

use self::{asking::Asking, payload::Payload, sender::Sender};
pub(crate) use self::{
    cx::{Clock, Cx, Events, Intake, Turn, WORK},
    inbox::Inbox,
    outbox::Outbox,
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
    /// What is to be written to this direction's receiver.
    pub(crate) out: Outbox,
    sender: Sender,
    /// The sender is not read because the receiver is slow (rule 4).
    stalled: bool,
    /// Hooks of this direction have waited: its packets are copied, so that the next wait does not keep
    /// the thread's buffer.
    hooks_wait: bool,
    slow_polls: SlowPolls,
}

/// What a direction waits for, with a deadline each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Nothing that has a deadline.
    Nothing,
    /// A hook's verdict.
    Hook,
    /// A hook to take a packet.
    Permit,
    /// The receiver to take bytes.
    Write,
    /// The sender to finish a packet.
    Packet,
    /// The broker to answer requests, of which too many are under way.
    Answers,
}

/// Where a packet goes.
enum Next {
    /// It stays in the run.
    Pass,
    /// These bytes go instead.
    Replace(Bytes),
    /// Nothing goes.
    Drop,
    /// The hooks have not decided.
    Pending,
    /// It is not complete. `judged` says that only payload is missing.
    Incomplete { judged: bool },
    /// It stays in the inbox until answers to earlier requests have made room.
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
            slow_polls: SlowPolls::none(),
        }
    }

    pub(crate) const fn tap(&self) -> &Tap<H> {
        &self.tap
    }

    /// Other hooks judge what comes from here on. No packet is with the old ones.
    pub(crate) fn renew(&mut self, tap: Tap<H>) {
        self.tap = tap;
        // what was held for the old ones may pass the new ones, or the other way round
        self.inbox.rescan();
    }

    /// True while a packet is with the hooks.
    pub(crate) fn is_asking(&self) -> bool {
        self.asking.is_waiting()
    }

    /// A frame for the hooks: a slice of the read buffer, or a copy where hooks are known to wait.
    fn frame(&self, buffer: &Bytes, range: Range<usize>) -> Bytes {
        if self.hooks_wait {
            Bytes::copy_from_slice(&buffer[range])
        } else {
            buffer.slice(range)
        }
    }

    /// Hooks may have run: looks at the clock if they have.
    #[inline]
    fn hooks_ran(&mut self, cx: &mut Cx<'_, '_>) {
        self.hooks_wait |= self.asking.is_waiting();
        if let Some(running) = cx.running.take() {
            let session = &cx.rules.session;
            self.slow_polls
                .ran::<H>(running, session, self.direction, cx.recorder);
        }
    }

    /// The session ends: tells of slow polls that were not logged.
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

    /// Bytes that it holds because of what the peers sent.
    pub(crate) fn size(&self) -> usize {
        self.inbox.size() + self.out.size() + self.asking.size()
    }

    /// True when the sender is listened to: whatever it sends is heard at once.
    pub(crate) fn is_listening(&self) -> bool {
        let is_read = !self.stalled && !self.inbox.is_blocked() && !self.asking.is_waiting();
        is_read && self.sender.is_talking()
    }

    /// True while packets that were read are not through the hooks.
    pub(crate) fn holds_packets(&self) -> bool {
        self.asking.is_waiting() || self.inbox.is_unscanned()
    }

    /// True when nothing of this direction is left to do: the sender is done and everything it
    /// sent has been written.
    pub(crate) fn is_finished(&self) -> bool {
        !self.sender.is_talking() && !self.asking.is_waiting() && self.out.is_empty()
    }

    /// True when nothing more can come from the sender.
    pub(crate) fn has_closed(&self) -> bool {
        self.sender.has_closed(self.sending_side())
    }

    /// Takes the reason why the sender is done, if it did not just close.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        let has_closed = self.has_closed();
        let end = self.sender.take_end();
        // it is still closed when its cause is told: nothing is read from it in the end
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
