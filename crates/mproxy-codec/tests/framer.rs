//! Frames of a stream: cut alike however it arrives, and refused as soon as it is known why.

#[allow(dead_code)] // each test binary uses a part of it
mod support;

use mproxy_codec::{
    ConnectBuilder, ConnectPacket, DecodeError, Direction, Foreign, Frame, Framer, Kind, Version,
    View, encode_connack,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use support::model::{Body, Packet};
use support::{from_view, strategies};

/// No limit.
const NO_LIMIT: usize = usize::MAX;

/// Pushes pieces and takes all frames after each; what came before an error, and the error.
fn frames<'a>(
    framer: &mut Framer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<DecodeError>) {
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// The pieces of `stream` between `cuts`.
fn pieces<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
}

fn connect(version: Version) -> ConnectPacket {
    let builder = ConnectBuilder::new(version).client_id("c");
    builder.build().expect("a valid CONNECT")
}

/// What a client sends: CONNECT, and then anything else.
fn client() -> impl Strategy<Value = Vec<Packet>> {
    strategies::version().prop_flat_map(|version| {
        let direction = Direction::ToServer;
        let others = vec(strategies::packet_of(version, direction), 0..8);
        (strategies::connect(version), others).prop_map(move |(connect, others)| {
            let first = Packet {
                version,
                direction,
                body: Body::Connect(connect),
            };
            let is_other = |packet: &Packet| !matches!(packet.body, Body::Connect(_));
            let others = others.into_iter().filter(is_other);
            core::iter::once(first).chain(others).collect()
        })
    })
}

/// What a broker sends.
fn broker() -> impl Strategy<Value = Vec<Packet>> {
    let packets = |version| vec(strategies::packet_of(version, Direction::ToClient), 1..8);
    strategies::version().prop_flat_map(packets)
}

/// A framer for these packets, told the version where it cannot learn it.
fn framer_for(packets: &[Packet], max_packet_size: usize) -> Framer {
    let first = &packets[0];
    match first.body {
        Body::Connect(_) => Framer::before_connect(max_packet_size),
        _ => Framer::new(first.version, first.direction, max_packet_size),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_a_stream_gives_the_same_frames(
        packets in prop_oneof![client(), broker()],
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let stream: Vec<u8> = packets.iter().flat_map(Packet::bytes).collect();
        let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
        for pieces in [vec![&stream[..]], pieces(&stream, &cuts), one_by_one] {
            let mut framer = framer_for(&packets, NO_LIMIT);
            let (frames, error) = frames(&mut framer, pieces);
            prop_assert_eq!(error, None);
            prop_assert!(framer.unread().is_empty());
            prop_assert_eq!(framer.version(), Some(packets[0].version));
            prop_assert_eq!(frames.len(), packets.len());
            for (frame, packet) in frames.iter().zip(&packets) {
                prop_assert_eq!(&frame.as_bytes()[..], &packet.bytes()[..]);
                let view = frame.view().unwrap();
                prop_assert_eq!(view.kind(), frame.kind());
                let seen = from_view::packet(frame.version(), packet.direction, &view);
                prop_assert_eq!(&seen, packet);
            }
        }
    }

    /// Noise, and streams with a byte changed: the same frames before the same error, whatever the
    /// pieces are. And a framer that is told the version agrees with `View::parse_prefix`.
    #[test]
    fn any_split_of_a_broken_stream_gives_the_same_error(
        packets in prop_oneof![client(), broker()],
        noise in vec((any::<Index>(), any::<u8>()), 0..3),
        tail in vec(any::<u8>(), 0..8),
        cuts in vec(any::<Index>(), 0..12),
        max_packet_size in prop_oneof![Just(NO_LIMIT), 2..200usize],
    ) {
        let mut stream: Vec<u8> = packets.iter().flat_map(Packet::bytes).collect();
        for (at, byte) in noise {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.extend(tail);
        let mut whole = framer_for(&packets, max_packet_size);
        let expected = frames(&mut whole, [&stream[..]]);
        let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
        for pieces in [pieces(&stream, &cuts), one_by_one] {
            let mut framer = framer_for(&packets, max_packet_size);
            prop_assert_eq!(&frames(&mut framer, pieces), &expected);
            prop_assert_eq!(framer.version(), whole.version());
            prop_assert!(whole.unread().starts_with(framer.unread()));
        }
        // what is held is less than a packet, or than a fixed header
        let mut framer = framer_for(&packets, max_packet_size);
        for byte in stream.chunks(1) {
            framer.push(byte);
            if framer.next_frame().is_err() {
                break;
            }
            prop_assert!(framer.unread().len() < max_packet_size.max(5));
        }
        let (frames, error) = expected;
        prop_assert!(frames.iter().all(|frame| frame.as_bytes().len() <= max_packet_size));
        let taken: Vec<u8> = frames.iter().flat_map(|frame| frame.as_bytes().to_vec()).collect();
        prop_assert_eq!([&taken, whole.unread()].concat(), stream.clone());

        let (version, direction) = (packets[0].version, packets[0].direction);
        if max_packet_size < NO_LIMIT || matches!(packets[0].body, Body::Connect(_)) {
            return Ok(());
        }
        let mut rest = &stream[..];
        for frame in &frames {
            match (View::parse_prefix(version, direction, rest), frame.view()) {
                (Ok(Some((view, len))), Ok(seen)) => {
                    prop_assert_eq!(len, frame.as_bytes().len());
                    prop_assert_eq!(format!("{view:?}"), format!("{seen:?}"));
                }
                (Err(error), seen) => prop_assert_eq!(seen.map(|_| ()), Err(error)),
                (other, seen) => prop_assert!(false, "{other:?} and {seen:?}"),
            }
            rest = &rest[frame.as_bytes().len()..];
        }
        let last = View::parse_prefix(version, direction, rest).map(|it| it.map(|(_, len)| len));
        prop_assert_eq!(last, error.map_or(Ok(None), Err));
    }
}

#[test]
fn the_version_is_that_of_connect() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut framer = Framer::before_connect(NO_LIMIT);
        let bytes = connect(version).as_bytes().clone();
        let (before, last) = bytes.split_at(bytes.len() - 1);
        framer.push(before);
        assert_eq!((framer.next_frame(), framer.version()), (Ok(None), None));
        framer.push(last);
        let frame = framer.next_frame().unwrap().unwrap();
        assert_eq!((frame.kind(), frame.version()), (Kind::Connect, version));
        assert_eq!(frame.into_bytes(), bytes);
        assert_eq!(framer.version(), Some(version));
        // AUTH exists in MQTT 5.0 only
        framer.push(b"\xf0\0");
        match framer.next_frame() {
            Ok(Some(frame)) => assert_eq!((version, frame.kind()), (Version::V5, Kind::Auth)),
            other => {
                assert_eq!(other, Err(DecodeError::ReservedType));
                assert!(!version.is_v5());
            }
        }
    }
}

/// MQTT 3.1 uses no flags of the fixed header and forbids none, and neither MQTT 3.1 nor 3.1.1 forbids
/// an over-long length: the frame has the bytes as they came, the view those that go on.
#[test]
fn a_lax_connect_is_a_frame() {
    for (version, first) in [(Version::V31, 0x1f), (Version::V311, 0x10)] {
        let plain = connect(version).as_bytes().clone();
        let lax = [&[first, plain[1] | 0x80, 0][..], &plain[2..]].concat();
        let mut framer = Framer::before_connect(NO_LIMIT);
        framer.push(&lax);
        let frame = framer.next_frame().unwrap().unwrap();
        assert_eq!(&frame.as_bytes()[..], lax);
        let Ok(View::Connect(seen)) = frame.view() else {
            panic!("{frame:?}")
        };
        assert_eq!(seen.as_bytes(), &plain);
    }
    for version in [Version::V311, Version::V5] {
        let mut flagged = connect(version).as_bytes().to_vec();
        flagged[0] = 0x11;
        let mut framer = Framer::before_connect(NO_LIMIT);
        framer.push(&flagged);
        assert_eq!(framer.next_frame(), Err(DecodeError::ReservedFlags));
    }
}

/// [MQTT-3.1.0-1], [MQTT-3.1.0-2]. The first byte is enough to say so.
#[test]
fn one_connect_comes_first_and_no_other() {
    for first in 0..=255u8 {
        let mut framer = Framer::before_connect(NO_LIMIT);
        framer.push(&[first]);
        let expected = match first >> 4 {
            1 => Ok(None),
            _ => Err(DecodeError::NotConnect),
        };
        assert_eq!(framer.next_frame(), expected, "{first:02x}");
    }
    let bytes = connect(Version::V5).as_bytes().clone();
    let mut framer = Framer::before_connect(NO_LIMIT);
    let (taken, error) = frames(&mut framer, [&bytes[..], b"\x10"]);
    assert_eq!((taken.len(), error), (1, Some(DecodeError::SecondConnect)));
    let mut told = Framer::new(Version::V5, Direction::ToServer, NO_LIMIT);
    told.push(&bytes);
    assert_eq!(told.next_frame(), Err(DecodeError::SecondConnect));
    let mut of_broker = Framer::new(Version::V5, Direction::ToClient, NO_LIMIT);
    of_broker.push(&bytes);
    assert_eq!(of_broker.next_frame(), Err(DecodeError::WrongDirection));
}

/// The size counts the fixed header [MQTT-3.1.2-24]; a length that is too large is refused before
/// its bytes arrive.
#[test]
fn the_maximum_packet_size_is_the_last_that_passes() {
    let bytes = connect(Version::V311).as_bytes().clone();
    let mut framer = Framer::before_connect(bytes.len());
    framer.push(&bytes);
    assert!(framer.next_frame().unwrap().is_some());
    let mut framer = Framer::before_connect(bytes.len() - 1);
    framer.push(&bytes[..2]);
    assert_eq!(framer.next_frame(), Err(DecodeError::PacketTooLarge));

    let mut framer = Framer::new(Version::V5, Direction::ToServer, 4);
    framer.push(b"\x40\x02\0\x01\x40\x03");
    assert!(framer.next_frame().unwrap().is_some());
    framer.set_max_packet_size(5);
    assert_eq!(framer.next_frame(), Ok(None));
    framer.push(b"\0\x01\x10\x30\xff\xff\xff\x7f");
    assert!(framer.next_frame().unwrap().is_some());
    assert_eq!(framer.next_frame(), Err(DecodeError::PacketTooLarge));
}

/// Where a packet is broken nobody knows where the next one begins.
#[test]
fn an_error_is_the_last_word() {
    let mut framer = Framer::before_connect(NO_LIMIT);
    let bytes = b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\x01c";
    framer.push(bytes);
    assert_eq!(framer.next_frame(), Err(DecodeError::ProtocolLevel));
    framer.push(connect(Version::V5).as_bytes());
    assert_eq!(framer.next_frame(), Err(DecodeError::ProtocolLevel));
    // what is left says how to answer
    assert_eq!(framer.unread(), bytes);
    assert_eq!(
        ConnectPacket::version_of(framer.unread()),
        Some(Version::V5)
    );
    let mut framer = Framer::before_connect(NO_LIMIT);
    framer.push(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(framer.next_frame(), Err(DecodeError::NotConnect));
    assert!(Foreign::recognise(framer.unread()).is_some());
}

#[test]
fn what_a_broker_sends_is_told_the_version() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let connack = encode_connack(version, false, mproxy_codec::ReasonCode::SUCCESS, &[]);
        let mut framer = Framer::new(version, Direction::ToClient, NO_LIMIT);
        framer.push(&connack.unwrap());
        let frame = framer.next_frame().unwrap().unwrap();
        assert!(matches!(frame.view(), Ok(View::Connack(connack)) if connack.is_success()));
    }
}

/// A logger of packets printed the bytes of a PUBLISH.
#[test]
fn debug_of_a_publish_shows_no_payload() {
    let frame = [&[0x30, 9, 0, 1, b'a'][..], b"secret"].concat();
    let view = View::parse(Version::V311, Direction::ToServer, &frame).unwrap();
    let shown = format!("{view:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("115, 101"),
        "{shown}"
    );
    assert!(shown.contains("payload_len: 6"), "{shown}");
}

#[test]
fn debug_shows_no_secret() {
    let builder = ConnectBuilder::new(Version::V5)
        .user_name("u")
        .password(b"hunter2");
    let bytes = builder.build().unwrap().as_bytes().clone();
    let mut framer = Framer::before_connect(NO_LIMIT);
    framer.push(&bytes);
    let before = format!("{framer:?}");
    let frame = framer.next_frame().unwrap().unwrap();
    for shown in [before, format!("{frame:?}")] {
        assert!(
            !shown.contains("hunter2") && !shown.contains("104, 117"),
            "{shown}"
        );
    }
}
