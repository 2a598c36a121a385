use x509_parser::{prelude::FromDer, x509::X509Name};

use super::*;

const CN: &[u8] = &[0x55, 4, 3];
const O: &[u8] = &[0x55, 4, 10];

/// An element of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).unwrap();
    let len = if len < 128 {
        vec![len]
    } else {
        vec![0x81, len]
    };
    [&[tag], &*len, content].concat()
}

/// Its type, the tag of the value, and the value.
type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// Each inner list is an RDN.
fn name(rdns: &[&[Attribute<'_>]]) -> Vec<u8> {
    let attribute =
        |(kind, tag, value): &Attribute<'_>| der(0x30, &[der(6, kind), der(*tag, value)].concat());
    let rdns = rdns.iter().map(|rdn| {
        let attributes: Vec<_> = rdn.iter().flat_map(attribute).collect();
        der(0x31, &attributes)
    });
    der(0x30, &rdns.flatten().collect::<Vec<_>>())
}

fn read(der: &[u8]) -> (String, Option<String>) {
    let (_, name) = X509Name::from_der(der).unwrap();
    (text_of(&name), common_name(&name))
}

/// An organisation called `x, CN=admin` was written like an organisation and a common name: its certificate
/// had the subject of another one, and with `username_from = "subject"` its user name.
#[test]
fn no_value_looks_like_another_attribute() {
    let (one, _) = read(&name(&[&[(O, 12, b"x, CN=admin")]]));
    let (two, _) = read(&name(&[&[(O, 12, b"x")], &[(CN, 12, b"admin")]]));
    assert_eq!(one, r"O=x\, CN=admin");
    assert_eq!(two, "CN=admin,O=x");
    // what tells a name from another one, in any attribute and position
    let parts = [
        "", ",", "+", "\\", "CN=", "O=", "a", " ", "#", "\\2C", "\"", "\0",
    ];
    let mut seen = std::collections::HashMap::new();
    for first in parts {
        for second in parts {
            for third in parts {
                let (a, b) = ([first, second].concat(), [second, third].concat());
                for rdns in [
                    name(&[&[(O, 12, [&*a, third].concat().as_bytes())]]),
                    name(&[&[(O, 12, a.as_bytes())], &[(CN, 12, third.as_bytes())]]),
                    name(&[&[(O, 12, a.as_bytes()), (CN, 12, third.as_bytes())]]),
                    name(&[&[(CN, 12, first.as_bytes())], &[(O, 12, b.as_bytes())]]),
                ] {
                    let (text, _) = read(&rdns);
                    let known = seen.entry(text.clone()).or_insert_with(|| rdns.clone());
                    assert_eq!(*known, rdns, "two names are {text}");
                }
            }
        }
    }
}

/// The values are those of `openssl x509 -nameopt RFC2253`.
#[test]
fn values_are_escaped_like_openssl_does() {
    for (value, text) in [
        (&b"device-7"[..], "device-7"),
        (b"Example, Inc", r"Example\, Inc"),
        (b"#1", r"\#1"),
        (b"1#", "1#"),
        (b" a b ", r"\ a b\ "),
        (b" ", r"\ "),
        (b"", ""),
        (b"a=b/c*", "a=b/c*"),
        (br#"+"\<>;"#, r#"\+\"\\\<\>\;"#),
        (b"a\0\r\n\x7f", r"a\00\0D\0A\7F"),
        ("é\u{202e}".as_bytes(), r"\C3\A9\E2\80\AE"),
        (b"not UTF-8: \xff", r"not UTF-8: \FF"),
    ] {
        let (subject, _) = read(&name(&[&[(CN, 12, value)]]));
        assert_eq!(subject, format!("CN={text}"));
    }
}

#[test]
fn the_last_rdn_is_first_and_a_plus_joins_attributes_of_one() {
    let unit: &[u8] = &[0x55, 4, 11];
    let (subject, _) = read(&name(&[
        &[(O, 19, b"Example")],
        &[(unit, 12, b"a"), (CN, 12, b"b")],
        &[(CN, 12, b"c")],
    ]));
    assert_eq!(subject, "CN=c,CN=b+OU=a,O=Example");
    assert_eq!(read(&name(&[])).0, "");
}

/// The value of an unknown type may be anything, and is written as DER.
#[test]
fn what_is_not_a_text_is_written_as_der() {
    let odd: &[u8] = &[0x2a, 3, 4];
    for (kind, tag, value, text) in [
        (odd, 12, &b"z"[..], "1.2.3.4=#0C017A"),
        (CN, 3, b"\0\x01", "CN=#03020001"),
        (CN, 30, b"a", "CN=#1E0161"),
        // half a character
        (CN, 30, b"\xd8\0", "CN=#1E02D800"),
        (CN, 28, b"\0\x11\0\0", "CN=#1C0400110000"),
        (CN, 0x30, b"\x05\0", "CN=#30020500"),
    ] {
        let read = read(&name(&[&[(kind, tag, value)]]));
        assert_eq!(read, (text.to_owned(), None));
    }
}

#[test]
fn a_common_name_is_read_in_each_type_of_string() {
    for (tag, value, text, subject) in [
        (12, "é".as_bytes(), Some("é"), r"\C3\A9"),
        (19, b"a", Some("a"), "a"),
        (20, b"a", Some("a"), "a"),
        (22, b"a", Some("a"), "a"),
        (30, b"\0a\0\xe9", Some("aé"), r"a\C3\A9"),
        (28, b"\0\0\0a\0\0\0\xe9", Some("aé"), r"a\C3\A9"),
        // some write UTF-8 into it, some Latin-1
        (20, b"\xe9", None, r"\C3\A9"),
        (12, b"\xff", None, r"\FF"),
    ] {
        let expected = (format!("CN={subject}"), text.map(str::to_owned));
        assert_eq!(read(&name(&[&[(CN, tag, value)]])), expected);
    }
}

/// The first of several common names was taken, and a CA may check the last: Go's does. A NUL ends the name
/// for programs in C.
#[test]
fn a_common_name_that_can_be_misread_is_none() {
    for rdns in [
        name(&[&[(CN, 12, b"admin")], &[(CN, 12, b"device-7")]]),
        name(&[&[(CN, 12, b"admin"), (CN, 12, b"device-7")]]),
        name(&[&[(CN, 12, b"admin\0.device-7")]]),
        name(&[&[(CN, 30, b"\0a\0\0\0b")]]),
        name(&[&[(CN, 12, b"admin\n")]]),
        name(&[&[(CN, 12, "admin\u{85}".as_bytes())]]),
        name(&[&[(O, 12, b"admin")]]),
    ] {
        assert_eq!(read(&rdns).1, None, "{}", rdns.escape_ascii());
    }
}
