//! Remembers a verdict on a PUBLISH, so that the hooks are not called again for the same.

use std::fmt;
use std::sync::Arc;

/// Receives how many packets were forwarded because of a remembered verdict
/// ([`Tap::wrap_remembered`](crate::Tap::wrap_remembered)). Implemented by closures; a layer may implement
/// it for its shared state.
pub trait Repeated: Send + Sync + 'static {
    /// This many packets like the last one were forwarded. On the hot path: must neither wait nor log.
    fn repeated(&self, count: u32);
}

impl<F: Fn(u32) + Send + Sync + 'static> Repeated for F {
    fn repeated(&self, count: u32) {
        self(count);
    }
}

/// The last PUBLISH that was forwarded unchanged.
#[derive(Clone)]
pub(crate) struct Memo {
    repeated: Arc<dyn Repeated>,
    /// QoS and RETAIN as in the first byte, then the topic name. Empty if nothing is
    /// remembered.
    known: Vec<u8>,
}

impl Memo {
    /// Longer topic names are not remembered, because each session keeps this memory for its whole life.
    const MAX_TOPIC: usize = 256;

    pub(super) fn new(repeated: Arc<dyn Repeated>) -> Self {
        Self {
            repeated,
            known: Vec::new(),
        }
    }

    /// True if a PUBLISH with this first byte and topic name has the remembered verdict.
    #[inline]
    pub(crate) fn knows(&self, first: u8, topic: &[u8]) -> bool {
        // a verdict must not depend on DUP
        let known = self.known.split_first();
        known.is_some_and(|(flags, known)| *flags == first & 0b0111 && known == topic)
    }

    /// Remembers a PUBLISH that was forwarded unchanged.
    pub(crate) fn remember(&mut self, first: u8, topic: &[u8]) {
        self.known.clear();
        if topic.len() <= Self::MAX_TOPIC {
            self.known.reserve_exact(1 + topic.len());
            self.known.push(first & 0b0111);
            self.known.extend_from_slice(topic);
        }
    }

    /// Tells the services how many packets passed without calling them.
    pub(crate) fn tell(&self, count: u32) {
        if count > 0 {
            self.repeated.repeated(count);
        }
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo")
            .field("known_len", &self.known.len())
            .finish_non_exhaustive()
    }
}
