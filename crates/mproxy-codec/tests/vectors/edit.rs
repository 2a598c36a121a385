//! Rewriting a PUBLISH, and the short form of what MQTT 3.x is lax about.

use mproxy_codec::{
    DecodeError, Direction, EncodeError, Head, Publish, PublishEdit, PublishLayout, Version,
    normalise,
};

use crate::common::{V3, V5, V31, packet};

fn layout(version: Version, bytes: &[u8]) -> PublishLayout {
    let head = Head::parse(bytes).unwrap().expect("a head");
    PublishLayout::parse(head, version, Direction::ToServer, bytes)
        .unwrap()
        .expect("a layout")
}

fn edit(version: Version, bytes: &[u8], edit: PublishEdit<'_>) -> Result<Vec<u8>, EncodeError> {
    Publish::new(layout(version, bytes), bytes)
        .edit(version, &edit)
        .map(|made| made.to_vec())
}

const NEW: PublishEdit<'_> = PublishEdit::new();

#[test]
fn one_field_at_a_time() {
    let bytes = packet(0x3b, b"\0\x01t\0\x07\x05\x01\x01\x23\0\x02payload");
    let same = Ok(bytes.clone());
    assert_eq!(edit(V5, &bytes, NEW), same);
    assert_eq!(edit(V5, &bytes, NEW.topic("t")), same);
    assert_eq!(edit(V5, &bytes, NEW.retain(true)), same);
    assert_eq!(
        edit(V5, &bytes, NEW.topic("topic/é")),
        Ok(packet(
            0x3b,
            b"\0\x08topic/\xc3\xa9\0\x07\x05\x01\x01\x23\0\x02payload"
        ))
    );
    assert_eq!(
        edit(V5, &bytes, NEW.retain(false)),
        Ok(packet(0x3a, b"\0\x01t\0\x07\x05\x01\x01\x23\0\x02payload"))
    );
    assert_eq!(
        edit(V5, &bytes, NEW.payload(b"")),
        Ok(packet(0x3b, b"\0\x01t\0\x07\x05\x01\x01\x23\0\x02"))
    );
    assert_eq!(
        edit(V5, &bytes, NEW.payload(b"\0\xff")),
        // no text, and not announced as such
        Ok(packet(0x3b, b"\0\x01t\0\x07\x03\x23\0\x02\0\xff"))
    );
    let bytes_of_any_kind = packet(0x30, b"\0\x01t\x02\x01\0payload");
    assert_eq!(
        edit(V5, &bytes_of_any_kind, NEW.payload(b"\xff")),
        Ok(packet(0x30, b"\0\x01t\x02\x01\0\xff"))
    );
    // without packet identifier and DUP, RETAIN stays
    assert_eq!(
        edit(V5, &bytes, NEW.at_most_once()),
        Ok(packet(0x31, b"\0\x01t\x05\x01\x01\x23\0\x02payload"))
    );
    assert_eq!(
        edit(V5, &bytes_of_any_kind, NEW.at_most_once()),
        Ok(bytes_of_any_kind)
    );
    assert_eq!(
        edit(V5, &bytes, NEW.properties(b"")),
        Ok(packet(0x3b, b"\0\x01t\0\x07\0payload"))
    );
    assert_eq!(
        edit(V5, &bytes, NEW.without_topic_alias()),
        Ok(packet(0x3b, b"\0\x01t\0\x07\x02\x01\x01payload"))
    );
    let all = NEW
        .topic("a")
        .retain(false)
        .payload(b"p")
        .properties(b"\x02\0\0\0\x09")
        .without_topic_alias();
    assert_eq!(
        edit(V5, &bytes, all),
        Ok(packet(0x3a, b"\0\x01a\0\x07\x05\x02\0\0\0\x09p"))
    );
}

#[test]
fn other_properties_keep_their_bytes_and_order() {
    let bytes = packet(
        0x30,
        b"\0\x01t\x15\x26\0\x01a\0\x01b\x23\0\x01\x09\0\x01\0\x26\0\x01a\0\x01cx",
    );
    assert_eq!(
        edit(V5, &bytes, NEW.without_topic_alias()),
        Ok(packet(
            0x30,
            b"\0\x01t\x12\x26\0\x01a\0\x01b\x09\0\x01\0\x26\0\x01a\0\x01cx"
        ))
    );
}

/// The remaining length takes one byte more or less with the topic.
#[test]
fn the_length_of_the_length_changes() {
    for version in V3 {
        let bytes = packet(0x30, &[&b"\0\x01t"[..], &[b'x'; 120]].concat());
        assert_eq!(bytes.len(), 125);
        let long = edit(version, &bytes, NEW.topic("long/topic")).unwrap();
        assert_eq!(
            long,
            packet(0x30, &[&b"\0\x0along/topic"[..], &[b'x'; 120]].concat())
        );
        assert_eq!(long.len(), 135);
        assert_eq!(edit(version, &long, NEW.topic("t")), Ok(bytes));
    }
}

#[test]
fn bad_fields() {
    let bytes = packet(0x30, b"\0\x01t\0x");
    for (topic, error) in [
        ("", DecodeError::EmptyTopic),
        ("a/#", DecodeError::WildcardInTopicName),
        ("\0", DecodeError::NulCharacter),
    ] {
        assert_eq!(
            edit(V5, &bytes, NEW.topic(topic)),
            Err(EncodeError::Invalid(error))
        );
    }
    let bytes = packet(0x30, b"\0\x01tx");
    for version in V3 {
        assert_eq!(
            edit(version, &bytes, NEW.properties(b"")),
            Err(EncodeError::NoSuchField)
        );
        // there is no alias to take out
        assert_eq!(
            edit(version, &bytes, NEW.without_topic_alias()),
            Ok(bytes.clone())
        );
    }
}

/// A payload that is still on its way is counted and left out.
#[test]
fn a_streamed_payload() {
    let bytes = b"\x30\xff\xff\x7f\0\x01t";
    let front = Publish::new(layout(V31, bytes), bytes);
    let made = front.edit(V31, &NEW.topic("tt")).unwrap();
    assert_eq!(&made[..], b"\x30\x80\x80\x80\x01\0\x02tt");
    assert_eq!(
        front.edit(V31, &NEW.payload(b"x")),
        Err(EncodeError::NoSuchField)
    );
    // the largest packet has no room for a longer topic
    let bytes = b"\x30\xff\xff\xff\x7f\0\x01t";
    let front = Publish::new(layout(V31, bytes), bytes);
    assert_eq!(&front.edit(V31, &NEW).unwrap()[..], bytes);
    assert_eq!(
        front.edit(V31, &NEW.topic("tt")),
        Err(EncodeError::PacketTooLarge)
    );
}

#[test]
fn short_forms() {
    for (bytes, short) in [
        (
            &b"\x30\x86\x80\x00\0\x03a/bx"[..],
            &b"\x30\x06\0\x03a/bx"[..],
        ),
        (b"\x3a\x84\x00\0\x00\0\x01", b"\x3a\x04\0\x00\0\x01"),
        (b"\x6a\x02\0\x01", b"\x62\x02\0\x01"),
        (b"\x8a\x86\x00\0\x01\0\x01a\0", b"\x82\x06\0\x01\0\x01a\0"),
        (b"\xaa\x05\0\x01\0\x01a", b"\xa2\x05\0\x01\0\x01a"),
        (b"\xc0\x80\x80\x80\x00", b"\xc0\x00"),
        (b"\xd0\x00", b"\xd0\x00"),
    ] {
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(&normalise(head, bytes).unwrap()[..], short);
    }
    // only the front has arrived: what is missing stays in the length
    let bytes = b"\x30\xe4\x00\0\x01t";
    let head = Head::parse(bytes).unwrap().unwrap();
    assert_eq!(&normalise(head, bytes).unwrap()[..], b"\x30\x64\0\x01t");
}
