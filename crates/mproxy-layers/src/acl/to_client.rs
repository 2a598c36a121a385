//! Deliveries of the broker.

use std::sync::Arc;

use mproxy_codec::Kind;
use mproxy_session::{HeadOnly, PacketHead, Review, Reviewer, Verdict};

use super::shared::Shared;
use crate::{Action, Observer, observe::Of};

/// The packet service that judges deliveries to a client.
///
/// It calls the services inside first, and judges what they forward.
pub type AclToClient<S, O = ()> = Review<S, Arc<Shared<O>>>;

impl<O: Observer> Reviewer<HeadOnly> for Shared<O> {
    #[inline]
    fn review(&self, packet: PacketHead) -> Verdict<HeadOnly> {
        let Some(publish) = packet.publish() else {
            return match packet.kind() {
                // It cannot be parsed.
                Kind::Publish => {
                    self.observer.decision(Action::Deliver, false);
                    self.observer.dropped(Kind::Publish);
                    Verdict::Discard
                }
                _ => Verdict::Forward(packet),
            };
        };
        let verdict = self.client.judge_deliver(publish.topic_bytes());
        let settled = self.settle(Action::Deliver, verdict, Of::Message, || {
            publish.topic().as_str()
        });
        settled.unwrap_or(Verdict::Forward(packet))
    }
}
