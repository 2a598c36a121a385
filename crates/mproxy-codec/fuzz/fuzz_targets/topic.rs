//! Matching, covering and overlapping agree with their definitions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mproxy_codec::topic::{TopicFilter, TopicName, is_plain_name, validate_name};

/// `/#` matches no name of one level: that would be the empty name.
fn levels(text: &str) -> Vec<&str> {
    if text == "/#" {
        return vec!["", "+", "#"];
    }
    text.split('/').collect()
}

fn is_hidden(level: &str) -> bool {
    level.starts_with('$')
}

/// `first`: a wildcard in the first level does not reach names that begin with `$`.
fn matches(filter: &[&str], name: &[&str], first: bool) -> bool {
    match (filter, name) {
        ([], []) => true,
        (["#"], _) => !(first && is_hidden(name[0])),
        (["+", filter @ ..], [level, name @ ..]) => {
            !(first && is_hidden(level)) && matches(filter, name, false)
        }
        ([one, filter @ ..], [level, name @ ..]) => one == level && matches(filter, name, false),
        _ => false,
    }
}

/// Every name that `inner` matches, `outer` matches.
fn covers(outer: &[&str], inner: &[&str], first: bool) -> bool {
    match (outer, inner) {
        (["#"], _) => !(first && is_hidden(inner[0])),
        // in the first level, "anything" is a level and anything behind it
        (_, ["#"]) => first && covers(outer, &["+", "#"], true),
        ([], []) => true,
        (["+", outer @ ..], [level, inner @ ..]) => {
            !(first && is_hidden(level)) && covers(outer, inner, false)
        }
        ([one, outer @ ..], [level, inner @ ..]) => one == level && covers(outer, inner, false),
        _ => false,
    }
}

/// Some name is matched by both.
fn overlaps(one: &[&str], two: &[&str], first: bool) -> bool {
    match (one, two) {
        (["#"], other) | (other, ["#"]) => !(first && is_hidden(other[0])),
        ([], []) => true,
        (["+", one @ ..], [level, two @ ..]) | ([level, two @ ..], ["+", one @ ..]) => {
            !(first && is_hidden(level)) && overlaps(one, two, false)
        }
        ([a, one @ ..], [b, two @ ..]) => a == b && overlaps(one, two, false),
        _ => false,
    }
}

/// Section 4.7 in the words of the standard.
fn is_filter(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let levels = levels(text);
    !text.is_empty()
        && !text.contains('\0')
        && levels.iter().enumerate().all(|(at, level)| match *level {
            "+" => true,
            "#" => at + 1 == levels.len(),
            level => !level.contains(['+', '#']),
        })
}

fn is_name(bytes: &[u8]) -> bool {
    is_filter(bytes) && !bytes.contains(&b'+') && !bytes.contains(&b'#')
}

fuzz_target!(|data: &[u8]| {
    if data.len() > 512 {
        return;
    }
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (one, two, name) = (next(), next(), next());
    for bytes in [one, two, name] {
        assert_eq!(TopicFilter::from_bytes(bytes).is_ok(), is_filter(bytes));
        assert_eq!(validate_name(bytes).is_ok(), is_name(bytes));
        assert!(!is_plain_name(bytes) || is_name(bytes));
    }
    let (Ok(one), Ok(two)) = (TopicFilter::from_bytes(one), TopicFilter::from_bytes(two)) else {
        return;
    };
    let (a, b) = (levels(one.as_str()), levels(two.as_str()));
    assert_eq!(
        one.covers(two),
        covers(&a, &b, true),
        "{one:?} covers {two:?}"
    );
    assert_eq!(
        two.covers(one),
        covers(&b, &a, true),
        "{two:?} covers {one:?}"
    );
    assert_eq!(
        one.overlaps(two),
        overlaps(&a, &b, true),
        "{one:?} overlaps {two:?}"
    );
    assert_eq!(two.overlaps(one), one.overlaps(two));
    assert!(one.covers(one) || one.as_str().is_empty());
    if let Ok(Some(shared)) = one.shared() {
        assert_eq!(shared.to_string(), one.as_str());
        assert!(is_filter(shared.filter().as_str().as_bytes()));
    }
    let Some(name) = str::from_utf8(name)
        .ok()
        .and_then(|name| TopicName::new(name).ok())
    else {
        return;
    };
    let c = levels(name.as_str());
    let (by_one, by_two) = (one.matches(name), two.matches(name));
    assert_eq!(by_one, matches(&a, &c, true), "{one:?} matches {name:?}");
    assert_eq!(by_two, matches(&b, &c, true), "{two:?} matches {name:?}");
    assert!(!(one.covers(two) && by_two) || by_one);
    assert!(!(by_one && by_two) || one.overlaps(two));
});
