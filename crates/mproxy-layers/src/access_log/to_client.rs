//! The broker's answers to CONNECT and SUBSCRIBE.

use std::sync::Arc;

use mproxy_codec::{Kind, KindSet};
use mproxy_session::{Filter, HeadOnly, Judge, PacketHead, SessionInfo, Verdict};

use super::{line, subscribe::Asked};

/// The packet service that logs that the broker has accepted the client, and what it grants.
pub type AccessLogToClient<S> = Filter<S, Answers>;

/// Logs answers, and judges nothing.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Answers {
    pub(super) info: SessionInfo,
    pub(super) kinds: KindSet,
    /// `None` if SUBSCRIBE is not logged.
    pub(super) asked: Option<Arc<Asked>>,
}

impl Judge<HeadOnly> for Answers {
    #[inline]
    fn judge(&mut self, packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        if self.kinds.contains(packet.kind()) {
            self.log(&packet);
        }
        Ok(packet)
    }
}

impl Answers {
    #[cold]
    fn log(&self, packet: &PacketHead) {
        if let (Kind::Suback, Some(asked)) = (packet.kind(), &self.asked) {
            if let Some(suback) = packet.suback() {
                asked.answered(&self.info, &suback);
            }
        } else if packet.connack().is_some_and(|connack| connack.is_success()) {
            line::accepted(&self.info);
        }
    }
}
