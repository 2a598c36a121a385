//! Payloads that are not held: a PUBLISH larger than the scratch buffer passes through, or is
//! discarded, as its bytes arrive.

use std::ops::Range;

use bytes::Bytes;

use super::{Cx, Outbox};

/// The payload of the PUBLISH that is passing, if one is.
#[derive(Debug, Default)]
pub(super) struct Payload(Option<Box<Passing>>);

#[derive(Debug)]
struct Passing {
    left: usize,
    fate: Passage,
    /// The answer to the sender when the payload has passed.
    answer: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Forwarded,
    Dropped,
}

impl Payload {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) const fn is_passing(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> usize {
        self.0.as_ref().map_or(0, |passing| passing.left)
    }

    /// Bytes that are still to come and will be forwarded.
    pub(super) fn to_forward(&self) -> usize {
        match &self.0 {
            Some(passing) if passing.fate == Passage::Forwarded => passing.left,
            _ => 0,
        }
    }

    /// The head of a packet was handled, and `left` bytes are still to come. From here on, the
    /// receiver is inside a packet, so nothing else may be written.
    pub(super) fn begin(
        &mut self,
        left: usize,
        fate: Passage,
        answer: Option<Bytes>,
        out: &mut Outbox,
    ) {
        if left == 0 {
            return;
        }
        if fate == Passage::Forwarded {
            out.begin_packet();
        }
        self.0 = Some(Box::new(Passing { left, fate, answer }));
    }

    /// Abandons the packet; returns the pending answer to its sender.
    pub(super) fn abandon(&mut self) -> Option<Bytes> {
        self.0.take().and_then(|passing| passing.answer)
    }

    /// Sets the answer to the sender at the end.
    pub(super) fn answer_with(&mut self, answer: Bytes) {
        if let Some(passing) = &mut self.0 {
            passing.answer = Some(answer);
        }
    }

    /// Takes the payload bytes in `buffer` after the untouched run: they stay in the run or are cut
    /// out of it. Answers the sender once all have passed.
    pub(super) fn pass(
        &mut self,
        buffer: &[u8],
        run: &mut Range<usize>,
        out: &mut Outbox,
        cx: &mut Cx<'_, '_>,
    ) {
        let Some(passing) = &mut self.0 else {
            return;
        };
        let taken = passing.left.min(buffer.len() - run.end);
        passing.left -= taken;
        cx.batch.bytes += taken as u64;
        if passing.fate == Passage::Dropped {
            out.push(&buffer[run.clone()]);
            run.start = run.end + taken;
        }
        run.end += taken;
        if passing.left > 0 {
            return;
        }
        if passing.fate == Passage::Forwarded {
            // postponed packets follow this packet, so the run must be written before them
            if out.has_postponed() {
                out.push(&buffer[run.clone()]);
                run.start = run.end;
            }
            out.end_packet();
        }
        if let Some(answer) = self.abandon() {
            cx.reply(&answer);
        }
    }
}
