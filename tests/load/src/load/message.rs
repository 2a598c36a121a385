//! The messages that the loads send.

use crate::wire::{Publish, Version, publish};

/// Message expiry of an hour and a short user property: what a device may well send.
const V5_PROPERTIES: &[u8] = b"\x02\x00\x00\x0e\x10\x26\x00\x05trace\x00\x0800f067aa";

/// Size and version of a load's messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) payload: usize,
    pub(super) version: Version,
}

impl Shape {
    /// One PUBLISH of one client.
    pub(super) fn publish(self, client: usize, qos: u8, id: u16) -> Vec<u8> {
        self.publish_to(&format!("load/device-{client:04}/up"), qos, id)
    }

    /// One PUBLISH to a topic of the caller's choice.
    pub(super) fn publish_to(self, topic: &str, qos: u8, id: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let packet = Publish {
            version: self.version,
            qos,
            id,
            topic: topic.as_bytes(),
            properties: V5_PROPERTIES,
            payload: &vec![b'm'; self.payload],
        };
        publish(&mut out, &packet);
        out
    }
}
