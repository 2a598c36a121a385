//! Every property in every place.

use mproxy_codec::{
    DecodeError, Direction, Kind, Place, Properties, PropertyId, PropertyWriter, Value,
};

use crate::support::table::{Row, TABLE, Type, name, places};

/// A valid property of a row.
fn valid(row: &Row) -> Vec<u8> {
    let mut bytes = vec![row.id];
    bytes.extend(match row.ty {
        Type::Byte => &b"\x01"[..],
        Type::U16 => b"\x01\x02",
        Type::U32 => b"\x01\x02\x03\x04",
        Type::Varint => b"\x81\x01",
        Type::Str => b"\0\x01s",
        Type::Binary => b"\0\x02\0\xff",
        Type::Pair => b"\0\x01k\0\x01v",
    });
    bytes
}

/// The block that holds a property, with the method that Authentication Data needs.
fn block(row: &Row, bytes: &[u8]) -> Vec<u8> {
    let method: &[u8] = if row.id == 0x16 { b"\x15\0\x01m" } else { b"" };
    [bytes, method].concat()
}

#[test]
fn each_where_table_2_4_lists_it() {
    let mut allowed = 0;
    for row in &TABLE {
        let id = PropertyId::from_u8(row.id).expect(row.name);
        for place in places() {
            let block = block(row, &valid(row));
            let expected = if row.stands_in(place) {
                allowed += 1;
                Ok(())
            } else if place == Place::Packet(Kind::Publish, Direction::ToServer) && row.id == 0x0b {
                Err(DecodeError::SubscriptionIdFromClient)
            } else {
                Err(DecodeError::PropertyNotAllowed)
            };
            let seen = Properties::parse(&block, place).map(|_| ());
            assert_eq!(seen, expected, "{} in {}", row.name, name(place));
            assert_eq!(
                id.is_allowed_in(place),
                row.stands_in(place),
                "{} {}",
                row.name,
                name(place)
            );
        }
    }
    // the number of marks in the table, directions counted apart
    assert_eq!(allowed, 85);
}

#[test]
fn each_once() {
    for row in &TABLE {
        for place in places().into_iter().filter(|place| row.stands_in(*place)) {
            let twice = block(row, &[valid(row), valid(row)].concat());
            let expected = if row.repeats_in(place) {
                Ok(())
            } else {
                Err(DecodeError::DuplicateProperty)
            };
            let seen = Properties::parse(&twice, place).map(|_| ());
            assert_eq!(seen, expected, "{} in {}", row.name, name(place));
        }
    }
}

/// No property hides another: each pair of different properties may stand together.
#[test]
fn each_beside_each_other() {
    for place in places() {
        for one in TABLE.iter().filter(|row| row.stands_in(place)) {
            for two in TABLE.iter().filter(|row| row.stands_in(place)) {
                if one.id == two.id {
                    continue;
                }
                let mut bytes = [valid(one), valid(two)].concat();
                if (one.id == 0x16 || two.id == 0x16) && one.id != 0x15 && two.id != 0x15 {
                    bytes.extend(b"\x15\0\x01m");
                }
                let seen = Properties::parse(&bytes, place);
                assert!(seen.is_ok(), "{} {} in {}", one.name, two.name, name(place));
            }
        }
    }
}

#[test]
fn cut_anywhere() {
    for row in &TABLE {
        for place in places().into_iter().filter(|place| row.stands_in(*place)) {
            let bytes = valid(row);
            for len in 1..bytes.len() {
                assert_eq!(
                    Properties::parse(&bytes[..len], place).map(|_| ()),
                    Err(DecodeError::Truncated),
                    "{} cut at {len}",
                    row.name
                );
            }
        }
    }
}

fn some_place(row: &Row) -> Place {
    let mut places = places().into_iter();
    places.find(|place| row.stands_in(*place)).expect(row.name)
}

/// Every value of every byte property; the limits of the numbers.
#[test]
fn ranges() {
    for row in &TABLE {
        let place = some_place(row);
        let read = |value: &[u8]| {
            let bytes = [&[row.id], value].concat();
            Properties::parse(&bytes, place).map(|properties| {
                let id = PropertyId::from_u8(row.id).expect(row.name);
                properties.number(id).expect(row.name)
            })
        };
        match row.ty {
            Type::Byte => {
                for value in 0..=255u8 {
                    let expected = match value {
                        0 | 1 => Ok(value.into()),
                        _ => Err(DecodeError::PropertyValue),
                    };
                    assert_eq!(read(&[value]), expected, "{} {value}", row.name);
                }
            }
            Type::U16 => {
                let zero = match row.name {
                    "Receive Maximum" => Err(DecodeError::PropertyValue),
                    "Topic Alias" => Err(DecodeError::TopicAliasZero),
                    _ => Ok(0),
                };
                assert_eq!(read(b"\0\0"), zero, "{}", row.name);
                assert_eq!(read(b"\0\x01"), Ok(1));
                assert_eq!(read(b"\xff\xff"), Ok(65_535));
            }
            Type::U32 => {
                let zero = match row.name {
                    "Maximum Packet Size" => Err(DecodeError::PropertyValue),
                    _ => Ok(0),
                };
                assert_eq!(read(b"\0\0\0\0"), zero, "{}", row.name);
                assert_eq!(read(b"\0\0\0\x01"), Ok(1));
                assert_eq!(read(b"\xff\xff\xff\xff"), Ok(u32::MAX));
            }
            Type::Varint => {
                assert_eq!(read(b"\0"), Err(DecodeError::PropertyValue));
                assert_eq!(read(b"\x01"), Ok(1));
                assert_eq!(read(b"\xff\xff\xff\x7f"), Ok(268_435_455));
                assert_eq!(read(b"\x81\x00"), Err(DecodeError::NotMinimal));
                assert_eq!(read(b"\xff\xff\xff\xff"), Err(DecodeError::RemainingLength));
            }
            Type::Str | Type::Binary | Type::Pair => {}
        }
    }
}

/// Strings are UTF-8 without U+0000, binary data is anything; both may be empty, except a topic.
#[test]
fn contents() {
    for row in &TABLE {
        let place = some_place(row);
        for (bad, error) in crate::common::BAD_STRINGS {
            let field = crate::common::field(bad);
            let blocks: Vec<Vec<u8>> = match row.ty {
                Type::Str => vec![[&[row.id], &field[..]].concat()],
                Type::Pair => vec![
                    [&[row.id], &field[..], b"\0\0"].concat(),
                    [&[row.id], &b"\0\0"[..], &field].concat(),
                ],
                Type::Binary => {
                    let bytes = block(row, &[&[row.id], &field[..]].concat());
                    assert!(Properties::parse(&bytes, place).is_ok(), "{}", row.name);
                    continue;
                }
                Type::Byte | Type::U16 | Type::U32 | Type::Varint => continue,
            };
            for bytes in blocks {
                let seen = Properties::parse(&bytes, place).map(|_| ());
                assert_eq!(seen, Err(*error), "{} {bad:x?}", row.name);
            }
        }
        if matches!(row.ty, Type::Str | Type::Binary) {
            let bytes = block(row, &[row.id, 0, 0]);
            let expected = match row.name {
                "Response Topic" => Err(DecodeError::EmptyTopic),
                _ => Ok(()),
            };
            assert_eq!(
                Properties::parse(&bytes, place).map(|_| ()),
                expected,
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn unknown_identifiers() {
    for id in 0..=255u8 {
        let known = TABLE.iter().any(|row| row.id == id);
        assert_eq!(PropertyId::from_u8(id).is_some(), known, "{id:02x}");
        if !known {
            for place in places() {
                // an identifier is a variable byte integer: 0x91 0x00 is not 0x11
                let seen = Properties::parse(&[id, 0, 0, 0, 0], place).map(|_| ());
                assert_eq!(seen, Err(DecodeError::UnknownProperty), "{id:02x}");
            }
        }
    }
}

#[test]
fn authentication_data_needs_a_method() {
    for kind in [Kind::Connect, Kind::Connack, Kind::Auth] {
        let direction = match kind {
            Kind::Connack => Direction::ToClient,
            _ => Direction::ToServer,
        };
        let place = Place::Packet(kind, direction);
        assert_eq!(
            Properties::parse(b"\x16\0\x01d", place).map(|_| ()),
            Err(DecodeError::AuthDataWithoutMethod)
        );
        assert!(Properties::parse(b"\x16\0\x01d\x15\0\0", place).is_ok());
        assert!(Properties::parse(b"\x15\0\0\x16\0\x01d", place).is_ok());
    }
}

#[test]
fn reading_and_writing() {
    let place = Place::Packet(Kind::Publish, Direction::ToClient);
    let mut writer = PropertyWriter::new();
    let written = [
        (PropertyId::PayloadFormatIndicator, Value::Byte(1)),
        (PropertyId::UserProperty, Value::Pair("k", "1")),
        (PropertyId::MessageExpiryInterval, Value::U32(0)),
        (PropertyId::TopicAlias, Value::U16(7)),
        (PropertyId::UserProperty, Value::Pair("k", "2")),
        (PropertyId::SubscriptionIdentifier, Value::Varint(128)),
        (PropertyId::CorrelationData, Value::Binary(b"\0\xff")),
        (PropertyId::ContentType, Value::Str("text/plain")),
        (PropertyId::SubscriptionIdentifier, Value::Varint(1)),
    ];
    for (id, value) in written {
        writer.push(id, value).unwrap();
    }
    let properties = Properties::parse(writer.as_bytes(), place).unwrap();
    let read: Vec<_> = properties
        .iter()
        .map(|property| (property.id, property.value))
        .collect();
    assert_eq!(read, written);
    assert_eq!(
        properties.number(PropertyId::MessageExpiryInterval),
        Some(0)
    );
    assert_eq!(
        properties.number(PropertyId::SubscriptionIdentifier),
        Some(128)
    );
    assert_eq!(properties.number(PropertyId::ContentType), None);
    assert_eq!(properties.str(PropertyId::ContentType), Some("text/plain"));
    assert_eq!(properties.str(PropertyId::TopicAlias), None);
    assert_eq!(properties.get(PropertyId::ResponseTopic), None);
    let pairs: Vec<_> = properties.user_properties().collect();
    assert_eq!(pairs, [("k", "1"), ("k", "2")]);
    let mut copy = PropertyWriter::new();
    for property in &properties {
        copy.copy(&property);
    }
    assert_eq!(copy.as_bytes(), properties.as_bytes());
    assert!(!properties.is_empty() && Properties::default().is_empty());
}
