//! A PUBLISH that is logged once it is certain to be forwarded.

use mproxy_codec::QoS;
use mproxy_session::{PacketHead, SessionInfo};

use super::line;
use crate::cut::cut;

/// The contents of the line: the PUBLISH as the client wrote it, because inner layers may change it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) session: SessionInfo,
    /// Cut to the length that a line allows.
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Length of the payload.
    pub(super) bytes: usize,
}

impl Published {
    /// Records a PUBLISH, if a subscriber wants it.
    #[cold]
    pub(super) fn of(session: &SessionInfo, packet: &PacketHead) -> Option<Self> {
        if !line::is_published_read() {
            return None;
        }
        let publish = packet.publish()?;
        Some(Self {
            session: session.clone(),
            topic: cut(&publish.topic()).into_owned(),
            qos: publish.qos(),
            retain: publish.retain(),
            bytes: publish.payload_len(),
        })
    }
}
