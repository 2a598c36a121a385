//! A PUBLISH to be read.

use mproxy_codec::{Properties, Publish, QoS};

/// A PUBLISH with its topic alias resolved.
#[derive(Clone, Copy, Debug)]
pub struct PublishRef<'a> {
    pub(super) view: Publish<'a>,
    pub(super) topic: Option<&'a [u8]>,
}

impl<'a> PublishRef<'a> {
    /// The topic name, never empty: an alias has been resolved.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> &'a str {
        core::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    /// The topic name as bytes of valid UTF-8.
    #[inline]
    #[must_use]
    pub fn topic_bytes(&self) -> &'a [u8] {
        match self.topic {
            Some(topic) => topic,
            None => self.view.topic_bytes(),
        }
    }

    /// The payload; `None` when it is still on its way, which only a
    /// [`head_only`](crate::Tap::head_only) tap meets.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.view.payload()
    }

    /// Bytes of payload, on their way or here.
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.view.layout().payload_len()
    }

    /// The quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.view.layout().qos()
    }

    /// The RETAIN flag.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.view.layout().retain()
    }

    /// The DUP flag. It must not change a verdict: any client can set it.
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.view.layout().dup()
    }

    /// The packet identifier; `None` at QoS 0.
    #[must_use]
    pub const fn packet_id(&self) -> Option<u16> {
        self.view.layout().packet_id()
    }

    /// The properties; empty before MQTT 5.0.
    #[must_use]
    pub fn properties(&self) -> Properties<'a> {
        self.view.properties()
    }
}
