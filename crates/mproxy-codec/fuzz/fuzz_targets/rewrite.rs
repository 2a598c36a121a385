//! A setter or an edit changes its field and nothing else, or fails and changes nothing.
#![no_main]

#[allow(dead_code, unreachable_pub)] // each target uses a part of it
mod support;

use libfuzzer_sys::fuzz_target;
use mproxy_codec::{ConnectPacket, Publish, PublishEdit, View};
use support::from_view;
use support::model::{Body, Connect, Packet, Props, Value};
use support::{field, read, select};

/// What of the model an operation may change is made equal on both sides.
fn forget(connect: &mut Connect, operation: u8) {
    let none = Props::new;
    match operation {
        0 => connect.client_id.clear(),
        1 => connect.user_name = None,
        2 => connect.password = None,
        3 => (connect.user_name, connect.password) = (None, None),
        4 => connect.props = none(),
        5..=7 => {
            if let Some(will) = &mut connect.will {
                match operation {
                    5 => will.topic.clear(),
                    6 => will.payload.clear(),
                    _ => will.props = none(),
                }
            }
        }
        _ => connect.will = None,
    }
}

fn rewrite_connect(packet: &ConnectPacket, operation: u8, new: &[u8]) {
    let operation = operation % 12;
    let text = str::from_utf8(new).ok();
    let mut edited = packet.clone();
    let outcome = match (operation, text) {
        (0, Some(text)) => edited.set_client_id(text),
        (1, text) => edited.set_user_name(text),
        (2, _) => edited.set_password(Some(new)),
        (3, text) => edited.set_credentials(text, text.map(str::as_bytes)),
        (4, _) => edited.set_properties(new),
        (5, Some(text)) => edited.set_will_topic(text),
        (6, _) => edited.set_will_payload(new),
        (7, _) => edited.set_will_properties(new),
        (8, _) => edited.remove_will(),
        _ => return,
    };
    if outcome.is_err() {
        assert_eq!(edited.as_bytes(), packet.as_bytes());
        assert_eq!(&edited, packet);
        return;
    }
    // the layout is that of the bytes
    let parsed = ConnectPacket::parse(edited.as_bytes().clone()).expect("a valid result");
    assert_eq!(parsed, edited);
    let (mut before, mut after) = (from_view::connect(packet), from_view::connect(&edited));
    match operation {
        0 => assert_eq!(Some(&*after.client_id), text),
        1 | 3 => assert_eq!(after.user_name.as_deref(), text),
        2 => assert_eq!(after.password.as_deref(), Some(new)),
        4 => assert_eq!(edited.properties().as_bytes(), new),
        5 => assert_eq!(edited.will().map(|will| will.topic), text),
        6 => assert_eq!(edited.will().map(|will| will.payload), Some(new)),
        7 => assert_eq!(
            edited.will().map(|will| will.properties.as_bytes()),
            Some(new)
        ),
        _ => assert!(edited.will().is_none()),
    }
    forget(&mut before, operation);
    forget(&mut after, operation);
    assert_eq!(before, after);
}

fn rewrite_publish(
    packet: &Packet,
    publish: &Publish<'_>,
    bytes: &[u8],
    operation: u8,
    new: &[u8],
) {
    let version = packet.version;
    let mut edit = PublishEdit::new();
    let Body::Publish(before) = &packet.body else {
        unreachable!("a model of a PUBLISH")
    };
    let mut before = before.clone();
    if operation & 1 != 0
        && let Ok(topic) = str::from_utf8(new)
    {
        edit = edit.topic(topic);
        topic.clone_into(&mut before.topic);
    }
    if operation & 2 != 0 {
        edit = edit.payload(new);
        // a payload that is not text is not announced as one
        if before.payload != new && str::from_utf8(new).is_err() {
            before
                .props
                .retain(|property| *property != (1, Value::Byte(1)));
        }
        before.payload = new.to_vec();
    }
    if operation & 4 != 0 {
        edit = edit.retain(operation & 8 != 0);
        before.retain = operation & 8 != 0;
    }
    if operation & 32 != 0 {
        edit = edit.properties(new);
    }
    if operation & 16 != 0 {
        edit = edit.without_topic_alias();
        before.props.retain(|(id, _)| *id != 0x23);
    }
    let Ok(made) = publish.edit(version, &edit) else {
        return;
    };
    // new properties may be those that only the server sends
    let direction = if operation & 32 != 0 {
        mproxy_codec::Direction::ToClient
    } else {
        packet.direction
    };
    let (after, len) = read(version, direction, &made)
        .expect("a valid result")
        .expect("a whole one");
    assert_eq!(len, made.len());
    let Body::Publish(mut after) = after.body else {
        panic!("still a PUBLISH")
    };
    if operation & 32 != 0 {
        after.props.clear();
        before.props.clear();
    }
    assert_eq!(after, before);
    // the front alone is rewritten alike
    let layout = *publish.layout();
    if operation & 2 == 0 && layout.payload_len() > 0 {
        let payload = publish.payload().expect("a whole packet");
        let front = &bytes[..layout.payload_at()];
        let streamed = Publish::new(layout, front)
            .edit(version, &edit)
            .expect("as the whole");
        assert_eq!([&streamed[..], payload].concat(), made);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((version, direction, rest)) = select(data) else {
        return;
    };
    let Some((&operation, rest)) = rest.split_first() else {
        return;
    };
    let Some((new, bytes)) = field(rest) else {
        return;
    };
    let Ok(Some(view)) = View::parse(version, direction, bytes) else {
        return;
    };
    match &view {
        View::Connect(packet) => rewrite_connect(packet, operation, new),
        View::Publish(publish) => {
            let packet = from_view::packet(version, direction, &view);
            rewrite_publish(&packet, publish, bytes, operation, new);
        }
        _ => {}
    }
});
