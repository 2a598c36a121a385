//! What is mapped is found again, and nothing else: the map of one client is injective, and stays
//! below its prefix.
//!
//! The input is lines: prefix, client id, user name, two topics or filters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mproxy_codec::topic::{TopicFilter, TopicName, validate_name};
use mproxy_layers::topic_map::PrefixMap;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(5, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (prefix, client_id, username, one, two) = (next(), next(), next(), next(), next());
    let Ok(map) = PrefixMap::new(prefix) else {
        return;
    };
    let Ok(map) = map.for_client(client_id, username.strip_prefix('=')) else {
        return;
    };
    let prefix = map.prefix().to_owned();
    assert!(prefix.ends_with('/') && !prefix.starts_with('$'));
    assert!(validate_name(prefix.as_bytes()).is_ok(), "{prefix:?}");

    // names
    if TopicName::new(one).is_ok() {
        match map.map_name(one) {
            Ok(mapped) => {
                assert!(TopicName::new(&mapped).is_ok(), "{mapped:?}");
                assert_eq!(mapped.strip_prefix(&*prefix), Some(one));
                assert_eq!(map.unmap_name(&mapped), Some(one));
            }
            Err(_) => assert!(one.starts_with('$') || prefix.len() + one.len() > 65_535),
        }
        if let Some(inner) = map.unmap_name(one) {
            assert_eq!(map.map_name(inner).as_deref(), Ok(one));
        }
    }

    // filters
    let mapped = [one, two].map(|filter| map.map_filter(filter));
    for (filter, mapped) in [one, two].into_iter().zip(&mapped) {
        let Ok(mapped) = mapped else {
            continue;
        };
        let parsed = TopicFilter::new(mapped).expect("a filter");
        let before = TopicFilter::new(filter).expect("only filters are mapped");
        let (shared, wanted) = (
            parsed.shared().expect("sound"),
            before.shared().expect("sound"),
        );
        assert_eq!(shared.map(|it| it.group()), wanted.map(|it| it.group()));
        let inner = shared.map_or(parsed, |it| it.filter());
        assert!(inner.as_str().starts_with(&prefix), "{mapped:?}");
        let before = wanted.map_or(before, |it| it.filter());
        // the same topics as before, as the client knows them
        let other = if filter == one { two } else { one };
        if let Ok(name) = TopicName::new(other)
            && let Ok(at_broker) = map.map_name(other)
        {
            let at_broker = TopicName::new(&at_broker).expect("a name");
            assert_eq!(
                inner.matches(at_broker),
                before.matches(name),
                "{filter:?} {other:?}"
            );
        }
        // what it matches at the broker is below the prefix, or the level above it
        if let Ok(name) = TopicName::new(other)
            && inner.matches(name)
        {
            assert!(other.starts_with(&prefix) || *other == prefix[..prefix.len() - 1]);
        }
    }
    if let [Ok(a), Ok(b)] = &mapped {
        assert_eq!(a == b, one == two, "not injective: {one:?} {two:?}");
    }
});
