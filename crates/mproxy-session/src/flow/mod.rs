//! One direction of a session: bytes in, packets found and judged, bytes out.
//!
//! ```text
//! read --> scratch buffer (the thread's) --> scan: head, validate, book
//!                                              |-- untapped: stays in the run of original bytes
//!                                              |-- tapped: Packet -> hooks -> Verdict
//!                                              |      unchanged: stays in the run
//!                                              |      changed, refused, dropped: breaks the run
//!                                              `-- incomplete: kept with the connection
//! run ---------------------------------------> one write
//! ```
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

mod asking;
mod cx;
mod expiry;
mod inbox;
mod outbox;
mod packets;
mod payload;
mod publish;
mod pump;
mod refuse;
mod scan;

use bytes::Bytes;
use mproxy_codec::{Direction, Head, normalise};

use self::{asking::Asked, payload::Payload};
pub(crate) use self::{
    cx::{Cx, WORK},
    inbox::Inbox,
    outbox::Outbox,
};
use crate::cause::{Cause, End};
use crate::context::SessionInfo;
use crate::hook::{PacketService, Tap};
use crate::recorder::Recorder;
use crate::slow::SlowPolls;
use crate::summary::Side;

/// One direction of a session.
pub(crate) struct Flow<H: PacketService> {
    direction: Direction,
    tap: Tap<H>,
    asked: Option<Box<Asked<H::Future>>>,
    /// Bytes read and not consumed: a partial packet, or what follows one that a hook holds.
    input: Inbox,
    /// `input` may hold whole packets: scan it before reading.
    rescan: bool,
    /// The next read continues `input` instead of starting from the scratch buffer.
    gather: bool,
    /// `input` begins with a PUBLISH that lacks nothing but payload: it is not looked at again before
    /// it is whole.
    judged: bool,
    /// A hook of this direction has waited before: its packets are copied, so that the wait does
    /// not keep the thread's buffer.
    hooks_wait: bool,
    /// The payload of a PUBLISH that streams through or is thrown away.
    payload: Option<Box<Payload>>,
    /// What is to be written to this direction's receiver.
    pub(crate) out: Outbox,
    /// The sender has closed.
    pub(crate) eof: bool,
    /// The sender has said its last word.
    pub(crate) end: Option<End>,
    /// Bytes came since somebody looked.
    pub(crate) heard: bool,
    /// Whole packets, bytes of a payload, or a good part of a packet came since somebody looked.
    progressed: bool,
    /// The receiver took bytes since somebody looked.
    taken: bool,
    stalled: bool,
    /// The next packet is a request, and too many of them wait for the broker's answer.
    blocked: bool,
    /// AUTH passed, before CONNACK, since somebody looked.
    pub(crate) exchanged: bool,
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

/// What becomes of a packet.
enum Next {
    /// It stays in the run.
    Pass,
    /// These bytes go instead.
    Replace(Bytes),
    /// Nothing goes.
    Drop,
    /// The hooks have not decided.
    Pending,
    /// It is not complete.
    Incomplete,
    /// It stays in the input until answers to earlier requests have made room.
    Blocked,
}

impl<H: PacketService> Flow<H> {
    pub(crate) fn new(direction: Direction, tap: Tap<H>, input: Inbox, out: Outbox) -> Self {
        Self {
            direction,
            tap,
            asked: None,
            rescan: true,
            input,
            gather: false,
            judged: false,
            hooks_wait: false,
            payload: None,
            out,
            eof: false,
            end: None,
            heard: false,
            progressed: false,
            taken: false,
            stalled: false,
            blocked: false,
            exchanged: false,
            slow_polls: SlowPolls::default(),
        }
    }

    pub(crate) const fn tap(&self) -> &Tap<H> {
        &self.tap
    }

    /// Hooks may have run: looks at the clock if they have.
    #[inline]
    fn hooks_ran(&mut self, cx: &mut Cx<'_, '_>) {
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
        if let Some(asked) = &self.asked {
            asked.waits_for()
        } else if !self.out.is_empty() {
            Wait::Write
        } else if self.blocked {
            Wait::Answers
        } else if self.payload.is_some() || !self.input.is_empty() && !self.rescan {
            Wait::Packet
        } else {
            Wait::Nothing
        }
    }

    /// True when, since the last call, that happened for which this direction waits.
    pub(crate) fn progress(&mut self, wait: Wait) -> bool {
        let progressed = std::mem::take(&mut self.progressed);
        let taken = std::mem::take(&mut self.taken);
        if wait == Wait::Write {
            taken
        } else {
            progressed
        }
    }

    /// Bytes that it holds because of what the peers sent.
    pub(crate) fn size(&self) -> usize {
        let asked = self.asked.as_ref().map_or(0, |asked| asked.size());
        self.input.size() + self.out.size() + asked
    }

    /// True when the sender is listened to: whatever it sends is heard at once.
    pub(crate) fn is_listening(&self) -> bool {
        !self.is_asking() && !self.stalled && !self.blocked && !self.eof && self.end.is_none()
    }

    const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// True while packets that were read are not through the hooks.
    pub(crate) fn holds_packets(&self) -> bool {
        self.is_asking() || self.rescan && !self.input.is_empty()
    }

    /// True when nothing of this direction is left to do: the sender is done and everything it
    /// sent has been written.
    pub(crate) fn is_finished(&self) -> bool {
        (self.eof || self.end.is_some()) && !self.is_asking() && self.out.is_empty()
    }

    const fn sender(&self) -> Side {
        match self.direction {
            Direction::ToServer => Side::Client,
            Direction::ToClient => Side::Upstream,
        }
    }

    const fn receiver(&self) -> Side {
        match self.direction {
            Direction::ToServer => Side::Upstream,
            Direction::ToClient => Side::Client,
        }
    }

    fn normalised(&self, head: Head, bytes: &[u8]) -> Result<Bytes, End> {
        normalise(head, bytes).map_err(Cause::encode)
    }
}
