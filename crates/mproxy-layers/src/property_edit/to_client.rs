//! Deliveries of the broker.

use std::sync::Arc;

use mproxy_session::{HeadOnly, PacketHead, Review, Reviewer, Verdict};

use super::to_server::Shared;
use crate::{Action, Observer};

/// The packet service that edits deliveries to a client.
///
/// It calls the services inside first, and edits what they forward.
pub type PropertyEditToClient<S, O = ()> = Review<S, Arc<Shared<O>>>;

impl<O: Observer> Reviewer<HeadOnly> for Shared<O> {
    #[inline]
    fn review(&self, mut packet: PacketHead) -> Verdict<HeadOnly> {
        match self.edit(&mut packet) {
            Ok(()) => Verdict::Forward(packet),
            // the client must not see it unedited
            Err(_) => {
                self.observer.decision(Action::Deliver, false);
                self.observer.dropped(packet.kind());
                Verdict::Discard
            }
        }
    }
}
