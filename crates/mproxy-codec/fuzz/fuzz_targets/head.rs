//! A fixed header is incomplete, refused or read, and more bytes do not change that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mproxy_codec::{Direction, Head, MAX_HEAD_LEN, Version, View};

fuzz_target!(|data: &[u8]| {
    let whole = Head::parse(data);
    for len in 0..data.len().min(2 * MAX_HEAD_LEN) {
        match Head::parse(&data[..len]) {
            Ok(None) => {}
            early => assert_eq!(early, whole),
        }
    }
    if let Ok(Some(head)) = whole {
        assert!((2..=MAX_HEAD_LEN).contains(&head.len()) && head.len() <= data.len());
        assert_eq!(head.total_len(), head.len() + head.remaining_len());
        assert_eq!(head.first_byte(), data[0]);
        assert!(head.remaining_len() <= 268_435_455);
    }
    let Some(&first) = data.first() else { return };
    for version in [Version::V31, Version::V311, Version::V5] {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let early = Head::check_first_byte(first, version, direction);
            let view = View::parse(version, direction, &data[..1]);
            assert_eq!(view.map(|view| view.is_none()), early.map(|_| true));
        }
    }
});
