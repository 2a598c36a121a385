//! Properties that hold for all packets: valid ones of every kind, mutated ones, and noise.

#[allow(dead_code)] // each test binary uses a part of it
mod support;

use bytes::Bytes;
use mproxy_codec::{
    ConnectBuilder, ConnectGlimpse, ConnectPacket, DecodeError, Direction, EncodeError, Head, Kind,
    Place, Properties, PublishEdit, PublishLayout, QoS, Version, View, Will, encode_ack,
    encode_auth, encode_connack, encode_disconnect, encode_publish, encode_refusal, encode_suback,
    encode_subscribe, encode_unsuback, encode_unsubscribe, normalise, tolerance,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
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

/// Builds a CONNECT anew from what another says.
fn rebuild_connect(connect: &ConnectPacket) -> Result<ConnectPacket, EncodeError> {
    let mut builder = ConnectBuilder::new(connect.version())
        .client_id(connect.client_id())
        .clean_start(connect.clean_start())
        .keep_alive(connect.keep_alive())
        .properties(connect.properties().as_bytes());
    if let Some(will) = connect.will() {
        builder = builder.will(will);
    }
    if let Some(name) = connect.user_name() {
        builder = builder.user_name(name);
    }
    if let Some(password) = connect.password() {
        builder = builder.password(password);
    }
    builder.build()
}

/// What a proxy writes when it rebuilds a packet from its view, where there is an encoder.
fn rebuild(version: Version, view: &View<'_>) -> Option<Vec<u8>> {
    let bytes = match view {
        View::Connect(connect) => {
            rebuild_connect(connect).map(|connect| connect.as_bytes().clone())
        }
        View::Connack(connack) => {
            let (reason, block) = (connack.reason(version), connack.properties.as_bytes());
            let made = encode_connack(version, connack.session_present, reason, block);
            if version.is_v5() {
                assert_eq!(made, connack.with_properties(version, block));
            }
            if !connack.is_success() {
                assert_eq!(made, encode_refusal(version, reason, block));
            }
            made
        }
        View::Publish(publish) if !publish.dup() && !publish.topic().is_empty() => {
            let made = encode_publish(
                version,
                publish.topic(),
                publish.qos(),
                publish.packet_id().unwrap_or_default(),
                publish.properties().as_bytes(),
                publish.payload()?,
            );
            made.map(|made| {
                let mut made = made.to_vec();
                made[0] |= u8::from(publish.retain());
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
        View::Publish(_) | View::Pingreq | View::Pingresp => return None,
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

/// A packet with the first byte that a tolerant receiver reads in its place.
fn with_repaired_first_byte(version: Version, bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    repaired[0] = tolerance::first_byte(bytes[0], version);
    repaired
}

/// True for what MQTT 3.1 allows and nobody passes on: DUP of a repeated request. To repair it is no
/// more than to normalise it.
fn is_dup_of_a_request(version: Version, first: u8) -> bool {
    let kind = Kind::from_first_byte(first);
    let requests = [Kind::Pubrel, Kind::Subscribe, Kind::Unsubscribe];
    version == Version::V31
        && first & 0x0f == 0x0a
        && kind.is_some_and(|kind| requests.contains(&kind))
}

/// What is repaired is valid afterwards, or not valid for a reason that has nothing to do with the
/// slip; what is valid is not touched; and a second repair finds nothing.
fn check_repairs(version: Version, direction: Direction, bytes: &[u8]) {
    let before = View::parse(version, direction, bytes);
    let repaired = with_repaired_first_byte(version, bytes);
    let after = View::parse(version, direction, &repaired);
    if before.is_ok() && !is_dup_of_a_request(version, bytes[0]) {
        assert_eq!(repaired, bytes);
    }
    assert_eq!(with_repaired_first_byte(version, &repaired), repaired);
    assert_ne!(after.as_ref().err(), Some(&DecodeError::DupQosZero));
    if version == Version::V31 {
        assert_ne!(after.as_ref().err(), Some(&DecodeError::ReservedFlags));
    }

    let frame = Bytes::copy_from_slice(bytes);
    let before = ConnectPacket::parse(frame.clone());
    let repaired = tolerance::connect(frame.clone());
    if before.is_ok() {
        assert_eq!(repaired, frame);
    }
    assert_eq!(tolerance::connect(repaired.clone()), repaired);
    if repaired != frame {
        let slips = [
            DecodeError::WillQosWithoutWill,
            DecodeError::WillRetainWithoutWill,
        ];
        let before = before.map(drop).expect_err("it was repaired");
        let after = ConnectPacket::parse(repaired).map(drop);
        if slips.contains(&before) {
            assert!(after.is_ok() || after.is_err_and(|error| !slips.contains(&error)));
        } else {
            assert_eq!(after, Err(before));
        }
    }

    if direction == Direction::ToServer || Kind::from_first_byte(bytes[0]) != Some(Kind::Connack) {
        return;
    }
    let before = View::parse(version, direction, bytes).map(|view| view.is_some());
    assert!(before != Ok(true) || tolerance::connack(bytes, false).is_none());
    for clean in [false, true] {
        let Some(repaired) = tolerance::connack(bytes, clean) else {
            continue;
        };
        assert_eq!(tolerance::connack(&repaired, clean), None);
        let after = View::parse(version, direction, &repaired);
        match (before, after) {
            (Ok(true), Ok(Some(View::Connack(connack)))) => assert!(!connack.session_present),
            (Ok(false), Ok(None)) => {}
            (Ok(_), after) => panic!("no error before, and then {after:?}"),
            (Err(DecodeError::SessionPresentOnFailure), after) => {
                assert_ne!(after.err(), Some(DecodeError::SessionPresentOnFailure));
            }
            (Err(error), after) => assert_eq!(after.map(drop), Err(error)),
        }
    }
}

/// A valid packet in which only what is repaired is wrong, with whether anything is.
fn slipped() -> impl Strategy<Value = (Packet, Vec<u8>)> {
    (strategies::packet(), any::<u8>()).prop_map(|(packet, noise)| {
        let mut bytes = packet.bytes();
        match (&packet.body, packet.version) {
            (Body::Publish(publish), _) if publish.qos == 0 => bytes[0] |= noise & 0x08,
            (Body::Publish(_), _) => {}
            (Body::Connect(connect), Version::V31) => {
                let flags = Head::parse(&bytes).unwrap().unwrap().len() + 9;
                if connect.will.is_none() {
                    bytes[flags] |= noise & 0x38;
                }
            }
            (_, Version::V31) => bytes[0] = bytes[0] & 0xf0 | noise & 0x0f,
            _ => {}
        }
        (packet, bytes)
    })
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
                let retain = publish.retain();
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

    /// What a log line says of a client that was not let in: as much as has come, and nothing else.
    #[test]
    fn a_glimpse_says_what_the_packet_says(
        (version, connect) in strategies::version().prop_flat_map(|version| {
            (Just(version), strategies::connect(version))
        }),
        noise in any::<(Index, u8)>(),
    ) {
        let direction = Direction::ToServer;
        let packet = Packet { version, direction, body: Body::Connect(connect) };
        let bytes = packet.bytes();
        let Body::Connect(connect) = &packet.body else { unreachable!() };
        for len in 0..=bytes.len() {
            let glimpse = ConnectGlimpse::of(&bytes[..len]);
            prop_assert!(glimpse.level.is_none_or(|level| level == version.level()));
            prop_assert!(glimpse.client_id.is_none_or(|id| id == connect.client_id));
            prop_assert!(glimpse.user_name.is_none() || glimpse.user_name == connect.user_name.as_deref());
            prop_assert_eq!(glimpse.field, None);
        }
        let whole = ConnectGlimpse::of(&bytes);
        prop_assert_eq!(whole.client_id, Some(&*connect.client_id));
        prop_assert_eq!(whole.user_name, connect.user_name.as_deref());
        // a field is named for what is whole and wrong, and for nothing else
        let mut broken = bytes.clone();
        broken[noise.0.index(bytes.len())] ^= noise.1;
        let head = Head::parse(&broken).ok().flatten();
        if head.is_some_and(|head| head.kind() == Kind::Connect && head.total_len() == broken.len()) {
            let has_flags = broken[0] != 0x10;
            let parsed = ConnectPacket::parse(broken.clone().into());
            let named = ConnectGlimpse::of(&broken).field.is_some();
            prop_assert!(named == parsed.is_err() || has_flags, "{broken:02x?}");
        }
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
            ConnectPacket::parse(of(&before).bytes().into()).unwrap();
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

/// A CONNECT whose fields need not go together.
fn any_connect() -> impl Strategy<Value = (Version, support::model::Connect)> {
    (strategies::version(), strategies::version())
        .prop_flat_map(|(version, other)| (Just(version), strategies::connect(other)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    /// The builder accepts what the parser accepts, and refuses the rest for the same reason.
    #[test]
    fn a_connect_is_built_or_refused_as_it_would_be_read(
        (version, connect) in any_connect(),
        client_id in prop_oneof![2 => Just(None), 1 => Just(Some("")), 1 => Just(Some("a\u{1}"))],
        will_topic in prop_oneof![3 => Just(None), 1 => select(vec!["", "+", "a/#", "a\0"]).prop_map(Some)],
        no_name in any::<bool>(),
    ) {
        let mut connect = connect;
        if let Some(id) = client_id {
            id.clone_into(&mut connect.client_id);
        }
        if let (Some(topic), Some(will)) = (will_topic, &mut connect.will) {
            topic.clone_into(&mut will.topic);
        }
        if no_name {
            connect.user_name = None;
        }
        let block = support::model::properties(&connect.props);
        let will_block = connect.will.as_ref().map(|will| support::model::properties(&will.props));
        let mut builder = ConnectBuilder::new(version)
            .client_id(&connect.client_id)
            .clean_start(connect.clean)
            .keep_alive(connect.keep_alive)
            .properties(&block);
        if let (Some(will), Some(block)) = (&connect.will, &will_block) {
            builder = builder.will(
                Will::new(&will.topic, &will.payload)
                    .qos(QoS::from_bits(will.qos).unwrap())
                    .retain(will.retain)
                    .properties(Properties::parse(block, Place::Will).unwrap()),
            );
        }
        if let Some(name) = &connect.user_name {
            builder = builder.user_name(name);
        }
        if let Some(password) = &connect.password {
            builder = builder.password(password);
        }
        let built = builder.build();
        let has_properties = !block.is_empty() || will_block.is_some_and(|block| !block.is_empty());
        if has_properties && !version.is_v5() {
            prop_assert_eq!(built, Err(EncodeError::NoSuchField));
            return Ok(());
        }
        let packet = Packet { version, direction: Direction::ToServer, body: Body::Connect(connect) };
        match ConnectPacket::parse(packet.bytes().into()) {
            Ok(read) if read.has_control() => {
                prop_assert_eq!(built, Err(DecodeError::ControlCharacter.into()));
            }
            Ok(read) => prop_assert_eq!(built, Ok(read)),
            Err(error) => prop_assert_eq!(built, Err(EncodeError::Invalid(error))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn mutated_packets_are_refused_or_mean_one_thing((version, direction, bytes) in mutated()) {
        check_accepted(version, direction, &bytes);
    }

    #[test]
    fn a_slip_is_repaired_and_the_packet_means_what_was_meant((packet, bytes) in slipped()) {
        let (version, direction) = (packet.version, packet.direction);
        let repaired = with_repaired_first_byte(version, &bytes);
        let repaired = tolerance::connect(repaired.into());
        prop_assert_eq!(&repaired[..], &packet.bytes()[..]);
        // the head of the bytes as they came writes the same
        let head = Head::parse(&bytes).unwrap().unwrap();
        let first = tolerance::first_byte(bytes[0], version);
        let head = head.with_first_byte(first);
        prop_assert_eq!(head.is_verbatim(), first == bytes[0]);
        if head.kind() != Kind::Connect {
            prop_assert_eq!(&normalise(head, &bytes).unwrap()[..], &packet.bytes()[..]);
        }
        check_repairs(version, direction, &bytes);
    }

    #[test]
    fn what_is_repaired_is_valid_or_wrong_in_another_way((version, direction, bytes) in mutated()) {
        check_repairs(version, direction, &bytes);
    }

    #[test]
    fn repaired_noise_is_valid_or_wrong_in_another_way(
        front in select(vec![
            &b""[..],
            b"\0\x06MQIsdp\x03",
            b"\0\x06MQIsdp\x83",
            b"\0\x04MQTT\x04",
        ]),
        first in prop_oneof![any::<u8>(), Just(0x10), Just(0x20)],
        bytes in vec(prop_oneof![0..8u8, any::<u8>()], 0..40),
        version in strategies::version(),
        direction in strategies::direction(),
    ) {
        let body = [front, &bytes].concat();
        let packet = [&[first, body.len() as u8], &body[..]].concat();
        check_repairs(version, direction, &packet);
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
