//! Valid packets of all types, versions and directions, with all properties.

use mproxy_codec::{Direction, Kind, Place, Version};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::model::{Body, Connect, Packet, Props, Publish, Value, Will};
use super::table::{Row, TABLE, Type};

/// A character that every string may hold, and topics too.
fn plain_char() -> impl Strategy<Value = char> {
    prop_oneof![
        12 => proptest::char::range('a', 'e'),
        2 => select(vec!['0', '$', ' ', '~', '!', '"']),
        2 => select(vec!['é', '\u{feff}', '€', '\u{a0}', '\u{fffd}', '𝄞', '\u{10fffd}']),
    ]
}

fn joined(levels: Vec<Vec<char>>) -> String {
    let levels: Vec<String> = levels.into_iter().map(String::from_iter).collect();
    levels.join("/")
}

/// A string without control characters; often empty, sometimes longer than 127 bytes.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => vec(plain_char(), 0..8),
        1 => vec(plain_char(), 120..260),
    ]
    .prop_map(String::from_iter)
}

/// Any string that the standard allows.
fn text() -> impl Strategy<Value = String> {
    let control = select(vec![
        '\u{1}', '\n', '\u{7f}', '\u{9f}', '\u{ffff}', '+', '#', '/',
    ]);
    vec(prop_oneof![6 => plain_char(), 1 => control], 0..10).prop_map(String::from_iter)
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..12), 1 => vec(any::<u8>(), 100..300)]
}

/// A topic name; empty levels included.
pub(crate) fn topic_name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => vec(vec(plain_char(), 0..5), 1..6),
        1 => vec(vec(plain_char(), 0..40), 1..12),
    ]
    .prop_map(joined)
    .prop_filter("empty", |topic| !topic.is_empty())
}

/// A topic filter, shared or not.
pub(crate) fn topic_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![4 => vec(plain_char(), 0..5), 1 => Just(vec!['+'])];
    let shared = option::weighted(0.2, vec(proptest::char::range('a', 'e'), 1..4));
    (vec(level, 0..5), any::<bool>(), shared)
        .prop_map(|(mut levels, open, shared)| {
            if open {
                levels.push(vec!['#']);
            }
            (joined(levels), shared)
        })
        // what the strategy itself makes of `$share` must not be malformed
        .prop_filter("empty or $share", |(filter, _)| {
            !filter.is_empty() && !filter.starts_with("$share")
        })
        .prop_map(|(filter, shared)| match shared {
            Some(group) => format!("$share/{}/{filter}", String::from_iter(group)),
            None => filter,
        })
}

fn value(row: Row) -> BoxedStrategy<Value> {
    match (row.ty, row.id) {
        (Type::Byte, _) => (0..=1u8).prop_map(Value::Byte).boxed(),
        // Receive Maximum, Topic Alias: 0 is not allowed
        (Type::U16, 0x21 | 0x23) => (1..=u16::MAX).prop_map(Value::U16).boxed(),
        (Type::U16, _) => any::<u16>().prop_map(Value::U16).boxed(),
        // Maximum Packet Size: 0 is not allowed
        (Type::U32, 0x27) => (1..=u32::MAX).prop_map(Value::U32).boxed(),
        (Type::U32, _) => any::<u32>().prop_map(Value::U32).boxed(),
        // Subscription Identifier: 0 is not allowed
        (Type::Varint, _) => prop_oneof![1..200u32, 1..=268_435_455u32]
            .prop_map(Value::Varint)
            .boxed(),
        // Response Topic
        (Type::Str, 0x08) => topic_name().prop_map(Value::Str).boxed(),
        (Type::Str, _) => text().prop_map(Value::Str).boxed(),
        (Type::Binary, _) => binary().prop_map(Value::Binary).boxed(),
        (Type::Pair, _) => (text(), text())
            .prop_map(|(name, value)| Value::Pair(name, value))
            .boxed(),
    }
}

/// A property block for `place`, in any order.
pub(crate) fn props(place: Place) -> BoxedStrategy<Props> {
    let rows: Vec<Row> = TABLE
        .into_iter()
        .filter(|row| row.stands_in(place))
        .flat_map(|row| vec![row; if row.repeats_in(place) { 3 } else { 1 }])
        .collect();
    let most = rows.len();
    (subsequence(rows, 0..=most), 0..3u8)
        .prop_flat_map(|(rows, many)| {
            // most packets in the field carry few properties or none
            let rows = if many == 0 { Vec::new() } else { rows };
            rows.into_iter()
                .map(|row| (Just(row.id), value(row)))
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(|mut props: Props| {
            // Authentication Data needs a method
            if !props.iter().any(|(id, _)| *id == 0x15) {
                props.retain(|(id, _)| *id != 0x16);
            }
            props
        })
        .boxed()
}

fn props_of(version: Version, kind: Kind, direction: Direction) -> BoxedStrategy<Props> {
    if version == Version::V5 {
        props(Place::Packet(kind, direction))
    } else {
        Just(Props::new()).boxed()
    }
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let props = if version == Version::V5 {
        props(Place::Will)
    } else {
        Just(Props::new()).boxed()
    };
    (0..3u8, any::<bool>(), props, topic_name(), binary()).prop_map(
        |(qos, retain, props, topic, payload)| Will {
            qos,
            retain,
            props,
            topic,
            payload,
        },
    )
}

/// A CONNECT.
pub(crate) fn connect(version: Version) -> impl Strategy<Value = Connect> {
    (
        any::<bool>(),
        any::<u16>(),
        props_of(version, Kind::Connect, Direction::ToServer),
        name(),
        option::of(will(version)),
        option::of(name()),
        option::of(binary()),
    )
        .prop_map(
            move |(clean, keep_alive, props, client_id, will, user_name, password)| Connect {
                clean: clean || version == Version::V311 && client_id.is_empty(),
                keep_alive,
                props,
                client_id: match version {
                    Version::V31 if client_id.is_empty() => "id".to_owned(),
                    _ => client_id,
                },
                will,
                password: password.filter(|_| version == Version::V5 || user_name.is_some()),
                user_name,
            },
        )
}

/// A PUBLISH; in MQTT 5.0 sometimes with an alias in place of the topic name.
pub(crate) fn publish(version: Version, direction: Direction) -> impl Strategy<Value = Publish> {
    (
        any::<bool>(),
        0..3u8,
        any::<bool>(),
        topic_name(),
        1..=u16::MAX,
        props_of(version, Kind::Publish, direction),
        binary(),
        0..4u8,
    )
        .prop_map(
            |(dup, qos, retain, topic, id, props, payload, by_alias)| Publish {
                dup: dup && qos > 0,
                qos,
                retain,
                topic: if by_alias == 0 && props.iter().any(|(id, _)| *id == 0x23) {
                    String::new()
                } else {
                    topic
                },
                id: if qos == 0 { 0 } else { id },
                props,
                payload,
            },
        )
}

fn code(version: Version, v5: &[u8], v3: &[u8]) -> impl Strategy<Value = u8> + use<> {
    select(if version == Version::V5 { v5 } else { v3 }.to_vec())
}

fn body(version: Version, kind: Kind, direction: Direction) -> BoxedStrategy<Body> {
    let props = props_of(version, kind, direction);
    let id = 1..=u16::MAX;
    let up = direction == Direction::ToServer;
    match kind {
        Kind::Connect => connect(version).prop_map(Body::Connect).boxed(),
        Kind::Connack => {
            let v5 = [
                0, 0, 0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c,
                0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
            ];
            (
                any::<bool>(),
                code(version, &v5, &[0, 0, 1, 2, 3, 4, 5]),
                props,
            )
                .prop_map(|(session_present, code, props)| Body::Connack {
                    session_present: session_present && code == 0,
                    code,
                    props,
                })
                .boxed()
        }
        Kind::Publish => publish(version, direction).prop_map(Body::Publish).boxed(),
        Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => {
            let v5: &[u8] = if matches!(kind, Kind::Puback | Kind::Pubrec) {
                &[0, 0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
            } else {
                &[0, 0x92]
            };
            (id, code(version, v5, &[0]), props)
                .prop_map(move |(id, reason, props)| Body::Ack {
                    kind,
                    id,
                    reason,
                    props,
                })
                .boxed()
        }
        Kind::Subscribe => {
            let options = (0..3u8, any::<bool>(), any::<bool>(), 0..3u8);
            (id, props, vec((topic_filter(), options), 1..5))
                .prop_map(move |(id, props, entries)| Body::Subscribe {
                    id,
                    props,
                    entries: entries
                        .into_iter()
                        .map(|(filter, (qos, no_local, as_published, handling))| {
                            let no_local = no_local && !filter.starts_with("$share/");
                            let rest = u8::from(no_local) << 2
                                | u8::from(as_published) << 3
                                | handling << 4;
                            (
                                filter,
                                if version == Version::V5 {
                                    qos | rest
                                } else {
                                    qos
                                },
                            )
                        })
                        .collect(),
                })
                .boxed()
        }
        Kind::Suback | Kind::Unsuback => {
            let (v5, v3): (&[u8], &[u8]) = if kind == Kind::Suback {
                (
                    &[
                        0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
                    ],
                    &[0, 1, 2, 0x80],
                )
            } else {
                (&[0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91], &[0])
            };
            let has_codes = kind == Kind::Suback || version == Version::V5;
            (id, props, vec(code(version, v5, v3), 1..6))
                .prop_map(move |(id, props, codes)| Body::Codes {
                    kind,
                    id,
                    props,
                    codes: if has_codes { codes } else { Vec::new() },
                })
                .boxed()
        }
        Kind::Unsubscribe => (id, props, vec(topic_filter(), 1..5))
            .prop_map(|(id, props, filters)| Body::Unsubscribe { id, props, filters })
            .boxed(),
        Kind::Pingreq => Just(Body::Pingreq).boxed(),
        Kind::Pingresp => Just(Body::Pingresp).boxed(),
        Kind::Disconnect => {
            let v5: &[u8] = if up {
                &[
                    0, 0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
                ]
            } else {
                &[
                    0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93,
                    0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0,
                    0xa1, 0xa2,
                ]
            };
            (code(version, v5, &[0]), props)
                .prop_map(move |(reason, props)| Body::Reason {
                    kind,
                    reason,
                    props,
                })
                .boxed()
        }
        Kind::Auth => {
            let codes: &[u8] = if up { &[0x18, 0x19] } else { &[0, 0x18] };
            (select(codes.to_vec()), props, text())
                .prop_map(move |(reason, mut props, method)| {
                    if reason != 0 && !props.iter().any(|(id, _)| *id == 0x15) {
                        props.push((0x15, Value::Str(method)));
                    }
                    Body::Reason {
                        kind,
                        reason,
                        props,
                    }
                })
                .boxed()
        }
    }
}

/// True when `kind` travels in `direction` in `version`.
fn travels(version: Version, direction: Direction, kind: Kind) -> bool {
    let up = direction == Direction::ToServer;
    match kind {
        Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq => up,
        Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => !up,
        Kind::Disconnect => up || version == Version::V5,
        Kind::Auth => version == Version::V5,
        Kind::Publish | Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => true,
    }
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        1 => Just(Version::V31),
        1 => Just(Version::V311),
        3 => Just(Version::V5),
    ]
}

pub(crate) fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::ToServer), Just(Direction::ToClient)]
}

/// A packet that `version` allows in `direction`.
pub(crate) fn packet_of(version: Version, direction: Direction) -> impl Strategy<Value = Packet> {
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| travels(version, direction, *kind))
        .collect();
    select(kinds)
        .prop_flat_map(move |kind| body(version, kind, direction))
        .prop_map(move |body| Packet {
            version,
            direction,
            body,
        })
}

/// Any packet.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    (version(), direction()).prop_flat_map(|(version, direction)| packet_of(version, direction))
}

/// Packets of one connection in one direction, in a row.
pub(crate) fn packets() -> impl Strategy<Value = Vec<Packet>> {
    (version(), direction())
        .prop_flat_map(|(version, direction)| vec(packet_of(version, direction), 1..8))
}
