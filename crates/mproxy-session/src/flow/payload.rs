//! Payloads that are not gathered: a PUBLISH larger than the scratch buffer passes through, or is
//! thrown away, as its bytes come.

use bytes::Bytes;

use super::{Cx, Flow};
use crate::hook::PacketService;

pub(super) struct Payload {
    pub(super) left: usize,
    forward: bool,
    /// What the sender is told when the payload has passed.
    pub(super) answer: Option<Bytes>,
}

impl<H: PacketService> Flow<H> {
    pub(super) fn begin_stream(&mut self, left: usize, forward: bool, answer: Option<Bytes>) {
        if left == 0 {
            return;
        }
        if forward {
            self.out.begin_packet();
        }
        self.payload = Some(Box::new(Payload {
            left,
            forward,
            answer,
        }));
    }

    /// Bytes of the payload that streams through which are still to be forwarded.
    pub(super) fn to_forward(&self) -> usize {
        match &self.payload {
            Some(stream) if stream.forward => stream.left,
            _ => 0,
        }
    }

    /// Takes up to `available` bytes of the payload that streams through.
    pub(super) fn skip_payload(&mut self, available: usize, cx: &mut Cx<'_, '_>) -> usize {
        let Some(stream) = &mut self.payload else {
            return 0;
        };
        let taken = stream.left.min(available);
        stream.left -= taken;
        cx.batch.bytes += taken as u64;
        taken
    }

    /// The bytes `from..at` were payload: they stay in the run or are cut out of it. Ends the
    /// streaming once all of it has passed.
    pub(super) fn end_stream(
        &mut self,
        buffer: &Bytes,
        run: &mut usize,
        from: usize,
        at: usize,
        cx: &mut Cx<'_, '_>,
    ) {
        let Some(stream) = &mut self.payload else {
            return;
        };
        if !stream.forward {
            self.out.push(&buffer[*run..from]);
            *run = at;
        }
        if stream.left > 0 {
            return;
        }
        if stream.forward {
            if self.out.has_postponed() {
                self.out.push(&buffer[*run..at]);
                *run = at;
            }
            self.out.end_packet();
        }
        if let Some(answer) = stream.answer.take() {
            cx.reply(&answer);
        }
        self.payload = None;
    }
}
