//! The will of a CONNECT.

use core::fmt;

use super::fields::WillFields;
use super::flags::{FLAG_WILL, FLAG_WILL_RETAIN, WILL_QOS_SHIFT};
use crate::property::Properties;
use crate::qos::QoS;

/// The will of a CONNECT: a PUBLISH in advance.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Will<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The quality of service.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The will properties; empty before MQTT 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Will<'a> {
    /// A will of QoS 0 that is not retained and has no properties, for a
    /// [`ConnectBuilder`](crate::ConnectBuilder).
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::validated(&[]),
        }
    }

    /// Sets the quality of service.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets the RETAIN flag.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the will properties: a block that [`Properties::parse`] has read for
    /// [`Place::Will`](crate::Place::Will).
    #[must_use]
    pub const fn properties(mut self, properties: Properties<'a>) -> Self {
        self.properties = properties;
        self
    }

    /// The connect flags that describe it.
    pub(super) const fn flags(&self) -> u8 {
        let retain = if self.retain { FLAG_WILL_RETAIN } else { 0 };
        FLAG_WILL | self.qos.as_u8() << WILL_QOS_SHIFT | retain
    }

    pub(super) const fn fields(&self) -> WillFields<'a> {
        WillFields {
            properties: self.properties.as_bytes(),
            topic: self.topic.as_bytes(),
            payload: self.payload,
        }
    }
}

impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}
