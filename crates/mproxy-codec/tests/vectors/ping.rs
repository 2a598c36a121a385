//! PINGREQ and PINGRESP.

use mproxy_codec::{DecodeError, PINGREQ, PINGRESP, View};

use crate::common::{ALL, down, refused_down, refused_up, up};

#[test]
fn two_bytes() {
    for version in ALL {
        assert!(matches!(up(version, b"\xc0\x00"), Ok(View::Pingreq)));
        assert!(matches!(down(version, b"\xd0\x00"), Ok(View::Pingresp)));
        assert!(matches!(up(version, &PINGREQ), Ok(View::Pingreq)));
        assert!(matches!(down(version, &PINGRESP), Ok(View::Pingresp)));
    }
}

#[test]
fn no_body() {
    for version in ALL {
        let rows: &[(&str, &[u8], DecodeError)] = &[
            ("a byte", b"\0", DecodeError::TrailingBytes),
            ("a packet", b"\xe0\0", DecodeError::TrailingBytes),
        ];
        refused_up(version, 0xc0, rows);
        refused_down(version, 0xd0, rows);
    }
}
