//! Properties that hold for all packets: valid ones of every kind, mutated ones, and noise.

#[allow(dead_code)] // each test binary uses a part of it
mod support;

use mproxy_codec::{
    DecodeError, Direction, Head, Kind, PublishEdit, PublishLayout, QoS, ReasonCode, Version, View,
    encode_ack, encode_auth, encode_disconnect, encode_publish, encode_refusal, encode_suback,
    encode_subscribe, encode_unsuback, encode_unsubscribe, normalise,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use support::model::{Body, Packet};
use support::{from_view, strategies};

/// Reads one whole packet and says what the view says.
fn read(version: Version, direction: Direction, bytes: &[u8]) -> Result<Packet, DecodeError> {
    let view = View::parse(version, direction, bytes)?.expect("a whole packet");
    Ok(from_view::packet(version, direction, &view))
}

/// Cuts packets from a stream that arrives in chunks, as a session does it.
fn read_stream(
    version: Version,
    direction: Direction,
    chunks: impl IntoIterator<Item = Vec<u8>>,
) -> Result<Vec<Packet>, DecodeError> {
    let mut buffer = Vec::new();
    let mut packets = Vec::new();
    for chunk in chunks {
        buffer.extend(chunk);
        while let Some(view) = View::parse(version, direction, &buffer)? {
            packets.push(from_view::packet(version, direction, &view));
            let head = Head::parse(&buffer)?.expect("a view has a head");
            assert!(head.total_len() <= buffer.len());
            buffer.drain(..head.total_len());
        }
    }
    assert!(buffer.is_empty(), "{} bytes left over", buffer.len());
    Ok(packets)
}

/// What a proxy writes when it rebuilds a packet from its view, where there is an encoder.
fn rebuild(version: Version, view: &View<'_>) -> Option<Vec<u8>> {
    let bytes = match view {
        View::Connack(connack) if connack.code != 0 && version.is_v5() => encode_refusal(
            version,
            ReasonCode::new(connack.code),
            connack.properties.as_bytes(),
        ),
        View::Connack(connack) if version.is_v5() => {
            connack.with_properties(version, connack.properties.as_bytes())
        }
        View::Publish(publish) if !publish.layout().dup() && !publish.topic().is_empty() => {
            let made = encode_publish(
                version,
                publish.topic(),
                publish.layout().qos(),
                publish.layout().packet_id().unwrap_or_default(),
                publish.properties().as_bytes(),
                publish.payload()?,
            );
            made.map(|made| {
                let mut made = made.to_vec();
                made[0] |= u8::from(publish.layout().retain());
                made.into()
            })
        }
        View::Ack(ack) => encode_ack(
            version,
            ack.kind,
            ack.packet_id,
            ack.reason,
            ack.properties.as_bytes(),
        ),
        View::Subscribe(subscribe) => encode_subscribe(
            version,
            subscribe.packet_id(),
            subscribe.properties().as_bytes(),
            subscribe
                .subscriptions()
                .map(|entry| (entry.filter, entry.options)),
        ),
        View::Suback(suback) => encode_suback(
            version,
            suback.packet_id,
            suback.properties.as_bytes(),
            suback.codes,
        ),
        View::Unsubscribe(unsubscribe) => encode_unsubscribe(
            version,
            unsubscribe.packet_id(),
            unsubscribe.properties().as_bytes(),
            unsubscribe.filters(),
        ),
        View::Unsuback(unsuback) => encode_unsuback(
            version,
            unsuback.packet_id,
            unsuback.properties.as_bytes(),
            unsuback.codes,
        ),
        View::Disconnect(disconnect) => {
            encode_disconnect(version, disconnect.reason, disconnect.properties.as_bytes())
        }
        View::Auth(auth) => encode_auth(version, auth.reason, auth.properties.as_bytes()),
        View::Connect(_) | View::Connack(_) | View::Publish(_) | View::Pingreq | View::Pingresp => {
            return None;
        }
    };
    Some(bytes.expect("the fields come from a valid packet").to_vec())
}

/// What an accepted packet promises, whatever its bytes are.
fn check_accepted(version: Version, direction: Direction, bytes: &[u8]) {
    let Ok(Some(view)) = View::parse(version, direction, bytes) else {
        return;
    };
    let head = Head::parse(bytes).unwrap().expect("a view has a head");
    assert!(head.total_len() <= bytes.len());
    assert_eq!(head.kind(), view.kind());
    // the canonical form means the same and is accepted too
    let seen = from_view::packet(version, direction, &view);
    assert_eq!(
        read(seen.version, direction, &seen.bytes()),
        Ok(seen.clone())
    );
    if let View::Connect(connect) = &view {
        // what is forwarded means the same to a broker that reads it anew
        assert_eq!(
            read(connect.version(), direction, connect.as_bytes()),
            Ok(seen)
        );
    } else {
        let normal = normalise(head, &bytes[..head.total_len()]).unwrap();
        assert_eq!(read(version, direction, &normal), Ok(seen));
    }
}

/// A valid packet with some bytes overwritten, cut out or put in.
fn mutated() -> impl Strategy<Value = (Version, Direction, Vec<u8>)> {
    let edit = (0..4u8, any::<Index>(), any::<u8>());
    (strategies::packet(), vec(edit, 1..4)).prop_map(|(packet, edits)| {
        let mut bytes = packet.bytes();
        for (what, at, byte) in edits {
            let at = at.index(bytes.len().min(64));
            match what {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte & 7),
                2 => bytes.insert(at, byte),
                _ => {
                    bytes.remove(at);
                }
            }
            if bytes.is_empty() {
                bytes.push(byte);
            }
        }
        (packet.version, packet.direction, bytes)
    })
}

fn publish_layout(
    version: Version,
    direction: Direction,
    bytes: &[u8],
) -> Result<Option<PublishLayout>, DecodeError> {
    match Head::parse(bytes)? {
        Some(head) => PublishLayout::parse(head, version, direction, bytes),
        None => Ok(None),
    }
}

/// Once the layout is known or the packet refused, no further byte changes that.
fn check_layout_of_prefixes(version: Version, direction: Direction, bytes: &[u8]) {
    let last = publish_layout(version, direction, bytes);
    for len in 0..bytes.len() {
        match publish_layout(version, direction, &bytes[..len]) {
            Ok(None) => {}
            early => assert_eq!(early, last, "after {len} of {} bytes", bytes.len()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_view_says_what_was_written(packet in strategies::packet()) {
        let bytes = packet.bytes();
        prop_assert_eq!(read(packet.version, packet.direction, &bytes), Ok(packet));
    }

    #[test]
    fn rebuilding_from_the_view_is_the_identity(packet in strategies::packet()) {
        let bytes = packet.bytes();
        let view = View::parse(packet.version, packet.direction, &bytes).unwrap().unwrap();
        if let Some(rebuilt) = rebuild(packet.version, &view) {
            prop_assert_eq!(rebuilt, bytes);
        }
    }

    #[test]
    fn what_is_not_touched_keeps_its_bytes(packet in strategies::packet()) {
        let bytes = packet.bytes();
        let head = Head::parse(&bytes).unwrap().unwrap();
        prop_assert!(head.is_minimal());
        prop_assert_eq!(&normalise(head, &bytes).unwrap()[..], &bytes[..]);
        match View::parse(packet.version, packet.direction, &bytes).unwrap().unwrap() {
            View::Publish(publish) => {
                let same = publish.edit(packet.version, &PublishEdit::new()).unwrap();
                prop_assert_eq!(&same[..], &bytes[..]);
                let retain = publish.layout().retain();
                let edit = PublishEdit::new()
                    .retain(retain)
                    .payload(publish.payload().unwrap());
                prop_assert_eq!(&publish.edit(packet.version, &edit).unwrap()[..], &bytes[..]);
            }
            View::Connect(connect) => {
                prop_assert_eq!(&connect.as_bytes()[..], &bytes[..]);
                let mut same = (*connect).clone();
                same.set_client_id(connect.client_id()).unwrap();
                same.set_credentials(connect.user_name(), connect.password()).unwrap();
                if packet.version.is_v5() {
                    same.set_properties(connect.properties().as_bytes()).unwrap();
                }
                prop_assert_eq!(&same.as_bytes()[..], &bytes[..]);
            }
            _ => {}
        }
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_packets(
        packets in strategies::packets(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let (version, direction) = (packets[0].version, packets[0].direction);
        let stream: Vec<u8> = packets.iter().flat_map(Packet::bytes).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|cut| stream[cut[0]..cut[1]].to_vec());
        let in_chunks = read_stream(version, direction, chunks);
        prop_assert_eq!(in_chunks.as_ref(), Ok(&packets));
        let bytes = stream.iter().map(|byte| vec![*byte]);
        prop_assert_eq!(read_stream(version, direction, bytes), Ok(packets));
    }

    #[test]
    fn a_prefix_is_incomplete_or_as_wrong_as_the_whole((version, direction, bytes) in mutated()) {
        let whole = View::parse(version, direction, &bytes);
        let whole_len = Head::parse(&bytes).ok().flatten().map_or(usize::MAX, Head::total_len);
        for len in 0..bytes.len().min(whole_len) {
            match View::parse(version, direction, &bytes[..len]) {
                Ok(None) => {}
                Ok(Some(_)) => prop_assert!(false, "a view of {len} bytes of {whole_len}"),
                Err(early) => prop_assert_eq!(Some(early), whole.as_ref().err().copied()),
            }
        }
    }

    #[test]
    fn a_publish_is_laid_out_from_its_front(
        (version, direction, bytes) in mutated(),
        publish in (strategies::version(), strategies::direction()).prop_flat_map(
            |(version, direction)| {
                strategies::publish(version, direction)
                    .prop_map(move |publish| Packet { version, direction, body: Body::Publish(publish) })
            }),
    ) {
        check_layout_of_prefixes(publish.version, publish.direction, &publish.bytes());
        if Head::check_first_byte(bytes[0], version, direction) == Ok(Kind::Publish) {
            check_layout_of_prefixes(version, direction, &bytes);
        }
    }

    #[test]
    fn a_head_is_enough_to_edit_a_publish(
        (version, publish) in strategies::version().prop_flat_map(|version| {
            (Just(version), strategies::publish(version, Direction::ToServer))
        }),
        topic in strategies::topic_name(),
    ) {
        let direction = Direction::ToServer;
        let packet = Packet { version, direction, body: Body::Publish(publish) };
        let bytes = packet.bytes();
        let layout = publish_layout(version, direction, &bytes).unwrap().unwrap();
        let front = mproxy_codec::Publish::new(layout, &bytes[..layout.payload_at()]);
        let moved = front.edit(version, &PublishEdit::new().topic(&topic)).unwrap();
        // the front, and behind it the payload as it comes
        let mut moved = moved.to_vec();
        if front.payload().is_none() {
            moved.extend(&bytes[layout.payload_at()..]);
        }
        let Body::Publish(mut expected) = packet.body else { unreachable!() };
        expected.topic = topic;
        let expected = Packet { version, direction, body: Body::Publish(expected) };
        prop_assert_eq!(moved, expected.bytes());
    }

    #[test]
    fn a_connect_setter_changes_its_field_only(
        (version, before, other) in strategies::version().prop_flat_map(|version| {
            (Just(version), strategies::connect(version), strategies::connect(version))
        }),
    ) {
        let direction = Direction::ToServer;
        let of = |connect: &support::model::Connect| Packet {
            version,
            direction,
            body: Body::Connect(connect.clone()),
        };
        let mut edited =
            mproxy_codec::ConnectPacket::parse(of(&before).bytes().into()).unwrap();
        let mut expected = before.clone();
        let legal = version == Version::V5
            || !other.client_id.is_empty()
            || version == Version::V311 && before.clean;
        prop_assert_eq!(edited.set_client_id(&other.client_id).is_ok(), legal);
        if legal {
            expected.client_id = other.client_id;
        }
        prop_assert_eq!(&edited.as_bytes()[..], &of(&expected).bytes()[..]);

        let name = other.user_name.as_deref();
        edited.set_credentials(name, other.password.as_deref()).unwrap();
        expected.user_name = other.user_name;
        expected.password = other.password;
        prop_assert_eq!(&edited.as_bytes()[..], &of(&expected).bytes()[..]);

        if let (Some(will), Some(new)) = (&mut expected.will, other.will) {
            edited.set_will_topic(&new.topic).unwrap();
            edited.set_will_payload(&new.payload).unwrap();
            will.topic = new.topic;
            will.payload = new.payload;
            if version.is_v5() {
                edited.set_will_properties(&support::model::properties(&new.props)).unwrap();
                will.props = new.props;
            }
            prop_assert_eq!(&edited.as_bytes()[..], &of(&expected).bytes()[..]);
        }
        edited.remove_will().unwrap();
        expected.will = None;
        prop_assert_eq!(&edited.as_bytes()[..], &of(&expected).bytes()[..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn mutated_packets_are_refused_or_mean_one_thing((version, direction, bytes) in mutated()) {
        check_accepted(version, direction, &bytes);
    }

    #[test]
    fn noise_is_refused_or_means_one_thing(
        first in any::<u8>(),
        bytes in vec(prop_oneof![0..8u8, any::<u8>()], 0..40),
        version in strategies::version(),
        direction in strategies::direction(),
    ) {
        // a length that fits, so that the noise reaches the parsers
        let mut packet = vec![first, bytes.len() as u8];
        packet.extend(bytes);
        check_accepted(version, direction, &packet);
    }
}

#[test]
fn qos_is_two_bits() {
    for bits in 0..=255u8 {
        match QoS::from_bits(bits) {
            Ok(qos) => assert_eq!(qos.as_u8(), bits & 3),
            Err(error) => assert_eq!((bits & 3, error), (3, DecodeError::QosThree)),
        }
    }
}
