//! What the broker delivers.

use std::sync::Arc;

use mproxy_session::{HeadOnly, PacketHead, Review, Reviewer, Verdict};

use super::to_server::Shared;
use crate::{Action, Observer};

/// The packet service that edits what is delivered to a client.
///
/// It asks the services inside first, and edits what they forward.
pub type PropertyEditToClient<S, O = ()> = Review<S, Arc<Shared<O>>>;

impl<O: Observer> Reviewer<HeadOnly> for Shared<O> {
    #[inline]
    fn review(&self, mut packet: PacketHead) -> Verdict<HeadOnly> {
        match self.edit(&mut packet) {
            Ok(()) => Verdict::Forward(packet),
            // what must not be seen is not delivered
            Err(_) => {
                self.observer.decision(Action::Deliver, false);
                self.observer.dropped(packet.kind());
                Verdict::Discard
            }
        }
    }
}
