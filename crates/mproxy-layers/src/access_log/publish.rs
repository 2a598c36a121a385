//! A PUBLISH that is logged once it is known to go on.

use mproxy_codec::QoS;
use mproxy_session::{PacketHead, SessionInfo};

use super::line;
use crate::cut::cut;

/// What the line says: the PUBLISH as the client wrote it, for layers inside may change it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) session: SessionInfo,
    /// As long as a line allows.
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Of the payload.
    pub(super) bytes: usize,
}

impl Published {
    /// Takes down what is in a PUBLISH, if somebody listens.
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
