//! PUBACK, PUBREC, PUBREL and PUBCOMP: decides whose hand-shake each belongs to.

use mproxy_codec::{Ack, Direction, Kind, ReasonCode, Version};

use super::{Fate, Rules};

impl Rules {
    /// An acknowledgement. One that belongs to a hand-shake of the proxy itself is not forwarded.
    pub(crate) fn acknowledge(&mut self, direction: Direction, ack: &Ack<'_>) -> Fate {
        let id = ack.packet_id;
        match (ack.kind, direction) {
            (Kind::Pubrel, Direction::ToServer) if self.exchanges.release(id) => {
                self.end_flight(id);
                self.complete(id)
            }
            (Kind::Pubrel, Direction::ToClient) if self.exchanges.release_delivery(id) => {
                self.complete(id)
            }
            (Kind::Pubcomp, Direction::ToClient) => {
                let Some(recalled) = self.exchanges.complete_recall(id) else {
                    self.end_flight(id);
                    return Fate::Pass;
                };
                let Some(answer) = recalled else {
                    return Fate::Answer(None);
                };
                if is_last_word(&answer, self.version()) {
                    self.end_flight(id);
                }
                Fate::Own(answer)
            }
            (Kind::Puback, Direction::ToClient) => {
                self.end_flight(id);
                Fate::Pass
            }
            // no PUBREL follows a PUBREC with an error
            (Kind::Pubrec, Direction::ToClient) if ack.reason.is_error() => {
                self.end_flight(id);
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    }

    fn complete(&self, id: u16) -> Fate {
        let pubcomp = self
            .replies
            .ack(Kind::Pubcomp, id, ReasonCode::SUCCESS, None);
        Fate::Answer(pubcomp)
    }
}

/// True for a PUBREC with an error, after which the client sends no PUBREL.
fn is_last_word(answer: &[u8], version: Version) -> bool {
    version.is_v5() && answer.get(4).is_some_and(|reason| *reason >= 0x80)
}
