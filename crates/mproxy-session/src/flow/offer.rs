//! Packets and the hooks: a packet is offered, waited for if need be, and its verdict settled.

use std::future::Future;
use std::ops::Range;
use std::task::{Context, Poll};

use bytes::Bytes;
use mproxy_codec::{Kind, PublishLayout};

use super::refuse::Outcome;
use super::{Flow, Next, Turn};
use crate::BoxError;
use crate::error::End;
use crate::hook::{Packet, PacketService, Verdict};
use crate::summary::{CloseReason, Side};

/// A packet that is with the hooks.
pub(super) enum Hook {
    Idle,
    /// The service was not ready.
    Waiting(Box<(Packet, Offered)>),
    Running(Box<Offered>),
}

/// What must be known of an offered packet when its verdict comes.
#[derive(Clone, Copy)]
pub(super) struct Offered {
    pub(super) kind: Kind,
    /// Where the frame was and how long: the same afterwards means unchanged.
    pub(super) address: usize,
    pub(super) len: usize,
    pub(super) publish: Option<PublishLayout>,
    /// Packet identifier and number of filters of a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) request: (u16, usize),
    /// Payload bytes that are still to come.
    pub(super) left: usize,
}

impl Offered {
    pub(super) fn publish(frame: &Bytes, layout: PublishLayout, left: usize) -> Self {
        Self {
            kind: Kind::Publish,
            address: frame.as_ptr().addr(),
            len: frame.len(),
            publish: Some(layout),
            request: (0, 0),
            left,
        }
    }
}

impl<H: PacketService> Flow<H> {
    /// A frame for the hooks: a slice of the read buffer, or a copy where hooks are known to wait.
    pub(super) fn slice(&self, buffer: &Bytes, range: Range<usize>) -> Bytes {
        if self.hook_waits {
            Bytes::copy_from_slice(&buffer[range])
        } else {
            buffer.slice(range)
        }
    }

    /// Gives a packet to the hooks and settles their verdict if it is ready.
    pub(super) fn offer(
        &mut self,
        packet: Packet,
        offered: Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        match self.ask(packet, &offered, turn)? {
            Poll::Ready(verdict) => self.settle(verdict, &offered, turn),
            Poll::Pending => Ok(Next::Pending),
        }
    }

    /// Asks the hooks about a packet, which stays with them if they do not answer at once.
    #[inline]
    pub(super) fn ask(
        &mut self,
        packet: Packet,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Poll<Verdict>, End> {
        *turn.in_hook = true;
        match self.tap.poll_ready_for(packet.kind(), turn.task) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(hook_failed(error.into())),
            Poll::Pending => {
                *turn.in_hook = false;
                self.hook_waits = true;
                self.hook = Hook::Waiting(Box::new((packet, *offered)));
                return Ok(Poll::Pending);
            }
        }
        let slot = self.future.get_or_insert_with(|| Box::pin(None));
        slot.as_mut().set(Some(self.tap.service_mut().call(packet)));
        let polled = self.poll_future(turn.task);
        *turn.in_hook = false;
        match polled {
            Poll::Ready(verdict) => verdict.map(Poll::Ready),
            Poll::Pending => {
                self.hook_waits = true;
                self.hook = Hook::Running(Box::new(*offered));
                Ok(Poll::Pending)
            }
        }
    }

    #[inline]
    fn poll_future(&mut self, cx: &mut Context<'_>) -> Poll<Result<Verdict, End>> {
        let Some(slot) = &mut self.future else {
            return Poll::Ready(Err(End::hook("a hook lost its future")));
        };
        let Some(future) = slot.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(End::hook("a hook lost its future")));
        };
        let verdict = std::task::ready!(future.poll(cx));
        slot.as_mut().set(None);
        Poll::Ready(verdict.map_err(|error| hook_failed(error.into())))
    }

    /// Goes on with the packet that the hooks hold.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_, '_>) -> Result<Poll<()>, End> {
        let next = match std::mem::replace(&mut self.hook, Hook::Idle) {
            Hook::Idle => return Ok(Poll::Ready(())),
            Hook::Waiting(held) => {
                let (packet, offered) = *held;
                self.offer(packet, offered, turn)?
            }
            Hook::Running(offered) => {
                *turn.in_hook = true;
                let polled = self.poll_future(turn.task);
                *turn.in_hook = false;
                match polled {
                    Poll::Ready(verdict) => self.settle(verdict?, &offered, turn)?,
                    Poll::Pending => {
                        self.hook = Hook::Running(offered);
                        return Ok(Poll::Pending);
                    }
                }
            }
        };
        if self.is_hooked() {
            return Ok(Poll::Pending);
        }
        if let Next::Replace(frame) = next {
            self.out.push(&frame);
        }
        self.rescan = true;
        Ok(Poll::Ready(()))
    }

    /// Turns a verdict into bytes, answers and bookkeeping. A forwarded packet comes back as
    /// `Replace`, changed or not.
    pub(super) fn settle(
        &mut self,
        verdict: Verdict,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        match verdict {
            Verdict::Forward(packet) => self.forward(packet, offered, turn),
            Verdict::Discard => self.refuse(offered, Outcome::Discarded, turn),
            Verdict::Refuse(refusal) => self.refuse(offered, Outcome::Refused(&refusal), turn),
            Verdict::Close(code) => Err(End::told(Side::Proxy, CloseReason::AclDenied, code)
                .with_detail("a hook closed the session")),
        }
    }

    fn forward(
        &mut self,
        packet: Packet,
        offered: &Offered,
        turn: &mut Turn<'_, '_>,
    ) -> Result<Next, End> {
        if packet.is_refused() {
            return self.refuse_filters(packet, offered, turn);
        }
        let mut parts = packet.into_parts();
        let unchanged =
            parts.frame.as_ptr().addr() == offered.address && parts.frame.len() == offered.len;
        if !unchanged {
            turn.batch.modified += 1;
        }
        let Some(layout) = parts.publish else {
            let request = (offered.request.0, offered.request.1);
            self.book(offered.kind, &parts.frame, request, Some(&parts), turn)?;
            return Ok(Next::Replace(parts.frame));
        };
        let (layout, told) = self.settle_alias(&mut parts, layout, turn)?;
        if layout.total_len() > turn.core.receiver_max_packet(self.direction) {
            return self.refuse_publish(&layout, offered.left, Outcome::TooLarge, turn);
        }
        // not before it is sure that the packet goes
        if let (Some(alias), Some(aliases)) = (told, turn.core.aliases(self.direction)) {
            aliases.tell(alias, layout.topic(&parts.frame));
        }
        turn.batch.published(layout.qos());
        self.begin_stream(offered.left, true, None);
        Ok(Next::Replace(parts.frame))
    }
}

/// A packet that comes back as it was stays in the run.
pub(super) fn as_run(next: Next, original: &[u8]) -> Next {
    match next {
        Next::Replace(frame)
            if frame.as_ptr() == original.as_ptr() && frame.len() == original.len() =>
        {
            Next::Pass
        }
        // hooks that wait get a copy: the same bytes may as well go from the run
        next => next,
    }
}

#[cold]
fn hook_failed(error: BoxError) -> End {
    End::hook(format!("a hook failed: {error}"))
}
