//! A verdict on a PUBLISH that need not be asked for twice.

use std::fmt;
use std::sync::Arc;

/// Is told how many packets were forwarded because a verdict is remembered
/// ([`Tap::wrap_remembered`](crate::Tap::wrap_remembered)): a closure, or what a layer shares between its
/// services.
pub trait Repeated: Send + Sync + 'static {
    /// So many packets like the last one were forwarded. On the hot path: must neither wait nor log.
    fn repeated(&self, count: u32);
}

impl<F: Fn(u32) + Send + Sync + 'static> Repeated for F {
    fn repeated(&self, count: u32) {
        self(count);
    }
}

/// The last PUBLISH that was forwarded as it came.
#[derive(Clone)]
pub(crate) struct Memo {
    repeated: Arc<dyn Repeated>,
    /// QoS and RETAIN as they stand in the first byte, then the topic name. Empty while nothing is
    /// remembered.
    known: Vec<u8>,
}

impl Memo {
    /// Longer topic names are not remembered: the memory is the session's for as long as it lives.
    const MAX_TOPIC: usize = 256;

    pub(super) fn new(repeated: Arc<dyn Repeated>) -> Self {
        Self {
            repeated,
            known: Vec::new(),
        }
    }

    /// True when a PUBLISH with this first byte and topic name needs no second verdict.
    #[inline]
    pub(crate) fn knows(&self, first: u8, topic: &[u8]) -> bool {
        // DUP says nothing that a verdict may depend on
        let known = self.known.split_first();
        known.is_some_and(|(flags, known)| *flags == first & 0b0111 && known == topic)
    }

    /// Remembers a PUBLISH that was forwarded as it came.
    pub(crate) fn remember(&mut self, first: u8, topic: &[u8]) {
        self.known.clear();
        if topic.len() <= Self::MAX_TOPIC {
            self.known.reserve_exact(1 + topic.len());
            self.known.push(first & 0b0111);
            self.known.extend_from_slice(topic);
        }
    }

    /// Tells the services how many packets they were not asked about.
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
