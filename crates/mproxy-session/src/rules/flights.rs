//! Unanswered publications of a client, if the proxy enforces the broker's Receive Maximum (MQTT 5.0,
//! section 3.2.2.3.3).

use std::collections::BTreeSet;

use mproxy_codec::{Direction, Kind, PublishLayout};

use super::exchanges::ID_COST;
use crate::cause::{Cause, End};
use crate::error::Violation;

/// The packet identifiers of publications above QoS 0 that wait for an answer.
#[derive(Debug)]
pub(crate) struct Flights {
    maximum: u16,
    waiting: BTreeSet<u16>,
}

impl Flights {
    /// None is unanswered; up to `maximum` may be.
    pub(crate) const fn new(maximum: u16) -> Self {
        Self {
            maximum,
            waiting: BTreeSet::new(),
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        self.waiting.len() * ID_COST
    }

    /// Counts a PUBLISH, unless it repeats an unanswered one.
    ///
    /// # Errors
    /// There are too many [MQTT-3.3.4-7].
    #[cold]
    pub(crate) fn begin(&mut self, layout: &PublishLayout) -> Result<(), End> {
        if let Some(id) = layout.packet_id() {
            self.waiting.insert(id);
        }
        if self.waiting.len() > usize::from(self.maximum) {
            return Err(Cause::violation(
                Direction::ToServer,
                Kind::Publish,
                Violation::ReceiveMaximum,
            ));
        }
        Ok(())
    }

    /// A PUBLISH is answered. An answer to a PUBREL of an earlier connection does not count
    /// (section 4.9).
    pub(crate) fn end(&mut self, packet_id: u16) {
        self.waiting.remove(&packet_id);
    }
}
