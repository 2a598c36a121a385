//! Read access to a PUBLISH.

use std::fmt;
use std::marker::PhantomData;

use mproxy_codec::topic::TopicName;
use mproxy_codec::{Properties, Publish, QoS};

use super::Whole;

/// A PUBLISH with its topic alias resolved, of a [`Packet`](crate::Packet) of the same `P`.
pub struct PublishRef<'a, P = Whole> {
    view: Publish<'a>,
    topic: Option<&'a [u8]>,
    is_will: bool,
    reach: PhantomData<fn() -> P>,
}

impl<'a> PublishRef<'a> {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        // hooks with this type are offered whole packets only
        self.view.payload().unwrap_or_default()
    }
}

impl<'a, P> PublishRef<'a, P> {
    pub(super) const fn new(view: Publish<'a>, topic: Option<&'a [u8]>, is_will: bool) -> Self {
        Self {
            view,
            topic,
            is_will,
            reach: PhantomData,
        }
    }

    /// The topic name, never empty: an alias has been resolved.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> TopicName<'a> {
        TopicName::validated(self.topic_bytes())
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

    /// Length of the payload in bytes, even if it is still on its way.
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

    /// The packet identifier; `None` at QoS 0, and for a will.
    #[must_use]
    pub const fn packet_id(&self) -> Option<u16> {
        if self.is_will {
            return None;
        }
        self.view.layout().packet_id()
    }

    /// True if this many bytes of payload are missing after the frame.
    pub(crate) fn is_followed_by(&self, left: usize) -> bool {
        let len = self.view.payload().map_or(0, <[u8]>::len);
        self.payload_len() == len + left && (left == 0 || len == 0)
    }

    /// True for the will of a CONNECT ([`Packet::is_will`](crate::Packet::is_will)).
    #[must_use]
    pub const fn is_will(&self) -> bool {
        self.is_will
    }

    /// The properties; empty before MQTT 5.0.
    #[must_use]
    pub fn properties(&self) -> Properties<'a> {
        self.view.properties()
    }
}

impl<P> Clone for PublishRef<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for PublishRef<'_, P> {}

impl<P> fmt::Debug for PublishRef<'_, P> {
    /// Sizes and flags only, because packets carry other people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishRef")
            .field("topic_len", &self.topic_bytes().len())
            .field("payload_len", &self.payload_len())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("will", &self.is_will)
            .finish_non_exhaustive()
    }
}
