#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod build;
mod error;
mod foreign;
mod framer;
mod head;
mod kind;
mod packet;
mod property;
mod qos;
mod reader;
mod reason;
mod run;
pub mod tolerance;
pub mod topic;
mod varint;
mod version;

pub use self::{
    error::{DecodeError, EncodeError},
    foreign::Foreign,
    framer::{Frame, Framer},
    head::{Head, MAX_HEAD_LEN},
    kind::{Direction, Kind, KindSet},
    packet::{
        Ack, Auth, Connack, ConnectBuilder, ConnectGlimpse, ConnectPacket, Disconnect, PINGREQ,
        PINGRESP, Publish, PublishEdit, PublishLayout, RequestLayout, Suback, Subscribe,
        Subscription, SubscriptionOptions, Unsubscribe, View, Will, encode_ack, encode_auth,
        encode_connack, encode_disconnect, encode_publish, encode_refusal, encode_suback,
        encode_subscribe, encode_unsuback, encode_unsubscribe, normalise,
    },
    property::{Place, Properties, Property, PropertyId, PropertyIter, PropertyWriter, Value},
    qos::QoS,
    reason::ReasonCode,
    run::PublishRun,
    version::Version,
};
