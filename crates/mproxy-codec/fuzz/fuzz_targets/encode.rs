//! What is encoded from the fields of a packet means that packet, and is encoded the same again.
#![no_main]

#[allow(dead_code, unreachable_pub)] // each target uses a part of it
mod support;

use libfuzzer_sys::fuzz_target;
use mproxy_codec::{
    ConnectBuilder, ConnectPacket, Version, View, encode_ack, encode_auth, encode_connack,
    encode_disconnect, encode_publish, encode_suback, encode_subscribe, encode_unsuback,
    encode_unsubscribe,
};
use support::model::Body;
use support::{read, select};

/// Builds a CONNECT from what another says.
fn build(connect: &ConnectPacket) -> Vec<u8> {
    let properties = connect.properties();
    let mut builder = ConnectBuilder::new(connect.version())
        .client_id(connect.client_id())
        .clean_start(connect.clean_start())
        .keep_alive(connect.keep_alive())
        .properties(properties.as_bytes());
    if let Some(will) = connect.will() {
        builder = builder.will(will);
    }
    if let Some(name) = connect.user_name() {
        builder = builder.user_name(name);
    }
    if let Some(password) = connect.password() {
        builder = builder.password(password);
    }
    let made = builder.build().expect("the fields of a valid packet");
    made.as_bytes().to_vec()
}

/// Encodes a packet from its view, where there is an encoder.
fn encode(version: Version, view: &View<'_>) -> Option<Vec<u8>> {
    let made = match view {
        // the builder makes none with control characters
        View::Connect(connect) if connect.has_control() => return None,
        View::Connect(connect) => return Some(build(connect)),
        View::Connack(connack) => {
            let properties = connack.properties.as_bytes();
            let reason = connack.reason(version);
            encode_connack(version, connack.session_present, reason, properties)
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
        View::Publish(_) | View::Pingreq | View::Pingresp => return None,
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
        if let Body::Publish(publish) = &mut packet.body {
            (publish.dup, publish.retain) = (false, false);
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
