//! Payloads that are not gathered: a PUBLISH larger than the scratch buffer passes through, or is
//! thrown away, as its bytes come.

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
    /// What the sender is told when the payload has passed.
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

    /// Bytes that are still to come and to be forwarded.
    pub(super) fn to_forward(&self) -> usize {
        match &self.0 {
            Some(passing) if passing.fate == Passage::Forwarded => passing.left,
            _ => 0,
        }
    }

    /// The head of a packet was dealt with, of which `left` bytes are still to come. From here on the
    /// receiver is inside a packet, into which nothing else may be put.
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

    /// Gives up what was begun; returns what its sender was to be told.
    pub(super) fn abandon(&mut self) -> Option<Bytes> {
        self.0.take().and_then(|passing| passing.answer)
    }

    /// The sender is told this in the end.
    pub(super) fn answer_with(&mut self, answer: Bytes) {
        if let Some(passing) = &mut self.0 {
            passing.answer = Some(answer);
        }
    }

    /// Takes what has come of it from `buffer`, behind the untouched run: it stays in the run or is cut
    /// out of it. Answers the sender once all has passed.
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
            // what was postponed stands behind the packet, so the run must not be written after it
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
