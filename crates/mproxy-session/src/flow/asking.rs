//! The packet that is with the hooks: offered, pending or judged.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::cx::ASKED;
use super::subject::Offered;
use super::{Cx, Wait};
use crate::BoxError;
use crate::cause::{Cause, End};
use crate::hook::{Packet, PacketService, Refusal, Tap, Verdict};
use crate::scratch::{self, FutureBox};

/// The packet that is with the hooks, if there is one.
pub(super) struct Asking<F>(Option<Box<Asked<F>>>);

/// A packet on which the hooks have not decided.
struct Asked<F> {
    offered: Offered,
    /// When it was first offered, or since when it has waited to be offered.
    since: Instant,
    at: At<F>,
}

enum At<F> {
    /// The service was not ready.
    Waiting(Packet),
    Running(FutureBox<F>),
}

/// A packet on which the hooks have decided after a while, and since when it was with them.
pub(super) type Judged = (Verdict, Offered, Instant);

impl<F: Future<Output = Result<Verdict, E>> + 'static, E: Into<BoxError>> Asking<F> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.0.is_some()
    }

    /// Since when the packets behind it have waited.
    pub(super) fn since(&self) -> Option<Instant> {
        self.0.as_ref().map(|asked| asked.since)
    }

    /// Bytes of the packet.
    pub(super) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |asked| asked.offered.len())
    }

    /// What the direction waits for.
    pub(super) fn waits_for(&self) -> Option<Wait> {
        self.0.as_ref().map(|asked| match asked.at {
            At::Waiting(_) => Wait::Permit,
            At::Running(_) => Wait::Hook,
        })
    }

    /// Offers a packet to the hooks, and keeps it there if they do not answer at once.
    #[inline]
    pub(super) fn ask<H: PacketService<Future = F, Error = E>>(
        &mut self,
        tap: &mut Tap<H>,
        packet: Packet,
        offered: &Offered,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Poll<Verdict>, End> {
        cx.worked(ASKED);
        // rule 6: take a permit only for a packet in hand, never for a future one
        match guarded(offered, || tap.poll_ready_for(packet.kind(), cx.task))? {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return failed(offered, error.into()).map(Poll::Ready),
            Poll::Pending => {
                self.park(offered.clone(), At::Waiting(packet), cx);
                return Ok(Poll::Pending);
            }
        }
        // rule 1: the thread lends the allocation for the future
        let mut shelf = scratch::take_shelf();
        let mut slot = shelf.take().unwrap_or_else(|| Box::pin(None));
        let polled = guarded(offered, || {
            slot.as_mut().set(Some(tap.service_mut().call(packet)));
            poll_slot(&mut slot, offered, cx.task)
        });
        let verdict = match polled? {
            Poll::Ready(verdict) => {
                *shelf = Some(slot);
                verdict.map(Poll::Ready)
            }
            Poll::Pending => {
                self.park(offered.clone(), At::Running(slot), cx);
                Ok(Poll::Pending)
            }
        };
        scratch::give_shelf(shelf);
        verdict
    }

    #[cold]
    fn park(&mut self, offered: Offered, at: At<F>, cx: &mut Cx<'_, '_>) {
        self.0 = Some(Box::new(Asked {
            offered,
            since: cx.queued_since.unwrap_or_else(|| cx.clock.now()),
            at,
        }));
    }

    /// Polls the hooks about the packet again.
    pub(super) fn poll<H: PacketService<Future = F, Error = E>>(
        &mut self,
        tap: &mut Tap<H>,
        cx: &mut Cx<'_, '_>,
    ) -> Poll<Result<Judged, End>> {
        let Some(mut asked) = self.0.take() else {
            return Poll::Pending;
        };
        cx.runs(asked.offered.kind());
        if let At::Running(slot) = &mut asked.at {
            let offered = &asked.offered;
            let Poll::Ready(verdict) = guarded(offered, || poll_slot(slot, offered, cx.task))?
            else {
                self.0 = Some(asked);
                return Poll::Pending;
            };
            let Asked { offered, since, .. } = *asked;
            return Poll::Ready(verdict.map(|verdict| (verdict, offered, since)));
        }
        let Asked { offered, since, at } = *asked;
        let At::Waiting(packet) = at else {
            return Poll::Pending;
        };
        let polled = self.ask(tap, packet, &offered, cx)?;
        // keep the time of the first offer
        if let Some(asked) = &mut self.0 {
            asked.since = since;
        }
        let verdict = ready!(polled);
        Poll::Ready(Ok((verdict, offered, since)))
    }
}

fn poll_slot<F: Future<Output = Result<Verdict, E>>, E: Into<BoxError>>(
    slot: &mut FutureBox<F>,
    offered: &Offered,
    cx: &mut Context<'_>,
) -> Poll<Result<Verdict, End>> {
    let Some(future) = slot.as_mut().as_pin_mut() else {
        return Poll::Ready(Err(Cause::hook("a hook lost its future")));
    };
    let verdict = ready!(future.poll(cx));
    slot.as_mut().set(None);
    Poll::Ready(verdict.or_else(|error| failed(offered, error.into())))
}

/// Calls a hook. If it panics, the session ends as for any packet that may not pass: what
/// came before it in the same read is still forwarded.
fn guarded<T>(offered: &Offered, run: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Cause::panic(offered, &*panic))
}

/// The decision of a hook that failed: an error that is a refusal counts as one.
#[cold]
fn failed(offered: &Offered, error: BoxError) -> Result<Verdict, End> {
    let refusal = Refusal::in_error(&*error).map(Verdict::Refuse);
    refusal.ok_or_else(|| Cause::hook_failed(format_args!("a hook failed over {offered}"), error))
}
