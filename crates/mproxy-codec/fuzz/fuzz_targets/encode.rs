//! What is encoded from the fields of a packet means that packet, and is encoded the same again.
#![no_main]

#[allow(dead_code, unreachable_pub)] // each target uses a part of it
mod support;

use libfuzzer_sys::fuzz_target;
use mproxy_codec::{
    ReasonCode, Version, View, encode_ack, encode_auth, encode_disconnect, encode_publish,
    encode_refusal, encode_suback, encode_subscribe, encode_unsuback, encode_unsubscribe,
};
use support::model::Body;
use support::{read, select};

/// Encodes a packet from its view, where there is an encoder.
fn encode(version: Version, view: &View<'_>) -> Option<Vec<u8>> {
    let made = match view {
        View::Connack(connack) if version.is_v5() && connack.code != 0 => encode_refusal(
            version,
            ReasonCode::new(connack.code),
            connack.properties.as_bytes(),
        ),
        View::Connack(connack) if version.is_v5() => {
            connack.with_properties(version, connack.properties.as_bytes())
        }
        View::Publish(publish) if !publish.topic().is_empty() => encode_publish(
            version,
            publish.topic(),
            publish.qos(),
            publish.packet_id().unwrap_or_default(),
            publish.properties().as_bytes(),
            publish.payload()?,
        ),
        View::Ack(ack) => {
            let properties = ack.properties.as_bytes();
            encode_ack(version, ack.kind, ack.packet_id, ack.reason, properties)
        }
        View::Subscribe(subscribe) => {
            let entries = subscribe.subscriptions().map(|it| (it.filter, it.options));
            let properties = subscribe.properties();
            encode_subscribe(
                version,
                subscribe.packet_id(),
                properties.as_bytes(),
                entries,
            )
        }
        View::Suback(suback) => {
            let properties = suback.properties.as_bytes();
            encode_suback(version, suback.packet_id, properties, suback.codes)
        }
        View::Unsubscribe(unsubscribe) => {
            let properties = unsubscribe.properties();
            let filters = unsubscribe.filters();
            encode_unsubscribe(
                version,
                unsubscribe.packet_id(),
                properties.as_bytes(),
                filters,
            )
        }
        View::Unsuback(unsuback) => {
            let properties = unsuback.properties.as_bytes();
            encode_unsuback(version, unsuback.packet_id, properties, unsuback.codes)
        }
        View::Disconnect(disconnect) => {
            encode_disconnect(version, disconnect.reason, disconnect.properties.as_bytes())
        }
        View::Auth(auth) => encode_auth(version, auth.reason, auth.properties.as_bytes()),
        View::Connect(_) | View::Connack(_) | View::Publish(_) | View::Pingreq | View::Pingresp => {
            return None;
        }
    };
    Some(made.expect("the fields of a valid packet").to_vec())
}

fuzz_target!(|data: &[u8]| {
    let Some((version, direction, bytes)) = select(data) else {
        return;
    };
    let Ok(Some(view)) = View::parse(version, direction, bytes) else {
        return;
    };
    let Some(once) = encode(version, &view) else {
        return;
    };
    let seen = |bytes: &[u8]| {
        let (mut packet, len) = read(version, direction, bytes)
            .expect("valid")
            .expect("whole");
        // what the encoders do not write, because the proxy never says it
        match &mut packet.body {
            Body::Publish(publish) => (publish.dup, publish.retain) = (false, false),
            Body::Connack {
                session_present,
                code,
                ..
            } if *code != 0 => *session_present = false,
            _ => {}
        }
        (packet, len)
    };
    let ((wanted, _), (made, len)) = (seen(bytes), seen(&once));
    assert_eq!(made, wanted);
    assert_eq!(len, once.len());
    let view = View::parse(version, direction, &once)
        .expect("valid")
        .expect("whole");
    assert_eq!(encode(version, &view), Some(once.clone()));
});
