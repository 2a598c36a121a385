//! A packet is refused, or means the same in its own bytes, in canonical form and normalised; and
//! slips are repaired so that nothing valid changes.
#![no_main]

#[allow(dead_code, unreachable_pub)] // each target uses a part of it
mod support;

use libfuzzer_sys::fuzz_target;
use mproxy_codec::{
    ConnectGlimpse, ConnectPacket, Head, PublishLayout, Version, View, normalise, tolerance,
};
use support::{read, select};

fuzz_target!(|data: &[u8]| {
    let Some((version, direction, bytes)) = select(data) else {
        return;
    };
    let whole = read(version, direction, bytes);
    if let Ok(Some((seen, len))) = &whole {
        let canonical = seen.bytes();
        let again = read(seen.version, direction, &canonical).expect("canonical form");
        assert_eq!(again.as_ref().map(|(again, _)| again), Some(seen));
        let view = View::parse(version, direction, bytes)
            .expect("read")
            .expect("whole");
        let forwarded = if let View::Connect(connect) = &view {
            connect.as_bytes().to_vec()
        } else {
            let head = Head::parse(bytes).expect("read").expect("whole");
            normalise(head, &bytes[..*len])
                .expect("as long as it was")
                .to_vec()
        };
        let again = read(seen.version, direction, &forwarded).expect("forwarded");
        assert_eq!(again.as_ref().map(|(again, _)| again), Some(seen));
    }
    if let Some(&first) = bytes.first() {
        let repaired = tolerance::first_byte(first, version);
        // DUP of a request of MQTT 3.1 is allowed, and not passed on
        let dup = version == Version::V31 && first & 0x0f == 0x0a && first >> 4 != 3;
        assert!(repaired == first || dup || whole.is_err());
        assert_eq!(tolerance::first_byte(repaired, version), repaired);
        let connect = tolerance::connect(bytes.to_vec().into());
        assert!(connect == bytes || ConnectPacket::parse(bytes.to_vec().into()).is_err());
        assert_eq!(tolerance::connect(connect.clone()), connect);
        let _ = ConnectGlimpse::of(bytes);
    }
    // what a prefix says is what the whole says
    let end = bytes.len().min(64);
    for len in 0..end {
        match read(version, direction, &bytes[..len]) {
            Ok(None) => {}
            early => assert_eq!(early, whole),
        }
    }
    if matches!(bytes.first(), Some(0x30..=0x3f))
        && Head::check_first_byte(bytes[0], version, direction).is_ok()
    {
        let layout = |bytes: &[u8]| match Head::parse(bytes) {
            Ok(Some(head)) => PublishLayout::parse(head, version, direction, bytes),
            _ => Ok(None),
        };
        let last = layout(bytes);
        // the short way comes to the same
        if let Some(ordinary) = PublishLayout::ordinary(bytes, version) {
            assert_eq!(last, Ok(Some(ordinary)));
            assert!(!ordinary.has_control());
        }
        for len in 0..end {
            match layout(&bytes[..len]) {
                Ok(None) => {}
                early => assert_eq!(early, last),
            }
        }
    }
});
