//! The topic algebra against independent answers: a recursive matcher, mqtt-protocol's, and brute
//! force.

use mproxy_codec::topic::{
    TopicError, TopicFilter, TopicName, has_control, is_plain_name, validate_name,
};
use mqtt::{TopicFilterRef, TopicNameRef};
use proptest::prelude::*;

/// The definition of matching, level by level and without any thought of speed.
fn oracle(filter: &[&str], name: &[&str], first: bool) -> bool {
    match (filter, name) {
        ([], []) => true,
        (["#"], _) => !(first && name.first().is_some_and(|level| level.starts_with('$'))),
        (["+", filter @ ..], [level, name @ ..]) => {
            !(first && level.starts_with('$')) && oracle(filter, name, false)
        }
        ([expected, filter @ ..], [level, name @ ..]) => {
            expected == level && oracle(filter, name, false)
        }
        _ => false,
    }
}

fn oracle_matches(filter: &str, name: &str) -> bool {
    oracle(
        &filter.split('/').collect::<Vec<_>>(),
        &name.split('/').collect::<Vec<_>>(),
        true,
    )
}

/// All sequences of 1 to `depth` levels, without the one that is the empty string.
fn sequences(alphabet: &[&str], depth: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut longest: Vec<String> = alphabet.iter().map(|level| (*level).to_owned()).collect();
    for _ in 1..depth {
        let longer = longest
            .iter()
            .flat_map(|prefix| {
                alphabet
                    .iter()
                    .map(move |level| format!("{prefix}/{level}"))
            })
            .collect();
        all.append(&mut std::mem::replace(&mut longest, longer));
    }
    all.append(&mut longest);
    all.retain(|sequence| !sequence.is_empty());
    all
}

fn all_filters(depth: usize) -> Vec<String> {
    let alphabet = ["a", "", "$x", "+"];
    let mut filters = sequences(&alphabet, depth);
    let open: Vec<_> = filters
        .iter()
        .filter(|filter| filter.split('/').count() < depth)
        .map(|filter| format!("{filter}/#"))
        .collect();
    filters.extend(open);
    filters.extend(["#".to_owned(), "/#".to_owned()]);
    filters
}

/// Every pair of filters of up to four levels is compared on every name of up to five levels: one
/// level more than the filters have, and two levels (`z`, `$z`) that no filter names, tell any two
/// filters apart.
#[test]
fn relations_agree_with_brute_force() {
    let names = sequences(&["a", "", "$x", "z", "$z"], 5);
    let filters = all_filters(4);
    // One bit a name.
    let matched: Vec<Vec<u64>> = filters
        .iter()
        .map(|filter| {
            let filter = TopicFilter::new(filter).expect("a valid filter");
            let bit = |name: &String| filter.matches(TopicName::new(name).expect("a valid name"));
            names
                .chunks(64)
                .map(|names| {
                    names
                        .iter()
                        .fold(0, |bits, name| bits << 1 | u64::from(bit(name)))
                })
                .collect()
        })
        .collect();

    let (mut covered, mut overlapped) = (0_u32, 0_u32);
    for (one, one_matches) in filters.iter().zip(&matched) {
        let one = TopicFilter::new(one).expect("a valid filter");
        for (other, other_matches) in filters.iter().zip(&matched) {
            let other = TopicFilter::new(other).expect("a valid filter");
            let covers = one_matches
                .iter()
                .zip(other_matches)
                .all(|(one, other)| other & !one == 0);
            let overlaps = one_matches
                .iter()
                .zip(other_matches)
                .any(|(one, other)| one & other != 0);
            assert_eq!(one.covers(other), covers, "{one} covers {other}");
            assert_eq!(one.overlaps(other), overlaps, "{one} overlaps {other}");
            covered += u32::from(covers);
            overlapped += u32::from(overlaps);
        }
    }
    // The alphabet is rich enough for the answers to differ.
    assert!(
        covered > 5_000 && overlapped > covered,
        "{covered} {overlapped}"
    );
}

#[test]
fn matching_agrees_with_both_oracles_on_all_short_pairs() {
    let names = sequences(&["a", "", "$x", "z"], 4);
    for filter in all_filters(4) {
        let ours = TopicFilter::new(&filter).expect("a valid filter");
        let theirs = TopicFilterRef::new(&filter)
            .expect("a valid filter")
            .get_matcher();
        for name in &names {
            let matches = ours.matches(TopicName::new(name).expect("a valid name"));
            assert_eq!(
                matches,
                oracle_matches(&filter, name),
                "{filter} matches {name}"
            );
            assert_eq!(
                matches,
                theirs.is_match(TopicNameRef::new(name).expect("a valid name")),
                "{filter} matches {name}"
            );
        }
    }
}

/// Levels that are near one another, so that random filters and names meet.
const NEAR: [&str; 9] = ["a", "b", "ab", "", "$", "$SYS", "é", "e\u{301}", "A"];

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(NEAR.to_vec()).prop_map(str::to_owned),
        2 => Just("+".to_owned()),
        1 => Just("#".to_owned()),
        1 => "[ab+#/\\x00$é]{0,3}",
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 0..7).prop_map(|levels| levels.join("/"))
}

fn name() -> impl Strategy<Value = String> {
    topic()
        .prop_map(|topic| topic.replace(['+', '#', '\0'], "b"))
        .prop_filter("not empty", |name| !name.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(prop_oneof![3 => level(), 1 => Just("+".to_owned())], 0..6),
        any::<bool>(),
    )
        .prop_map(|(levels, open)| {
            let mut levels: Vec<String> = levels
                .into_iter()
                .map(|level| {
                    if level == "+" {
                        level
                    } else {
                        level.replace(['+', '#', '\0'], "a")
                    }
                })
                .collect();
            if open {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
        .prop_filter("not empty", |filter| !filter.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn validation_agrees_with_mqtt_protocol_and_adds_the_nul_check(topic in topic()) {
        let nul = topic.contains('\0');
        let name = !nul && TopicNameRef::new(&topic).is_ok();
        prop_assert_eq!(TopicName::new(&topic).is_ok(), name);
        let filter = !nul && TopicFilterRef::new(&topic).is_ok();
        prop_assert_eq!(TopicFilter::new(&topic).is_ok(), filter);
    }

    #[test]
    fn validators_of_bytes_agree_with_the_standard_library(
        name in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let expected = match str::from_utf8(&name) {
            Err(_) => Err(TopicError::IllFormed),
            Ok(text) => TopicName::new(text).map(|_| ()),
        };
        prop_assert_eq!(validate_name(&name), expected);
        prop_assert_eq!(TopicName::from_bytes(&name).map(|_| ()), expected);
    }

    #[test]
    fn a_plain_name_is_a_valid_ascii_name_without_controls(
        name in "[a-z/+#\\x00\\x1f\\x7f é]{0,24}",
    ) {
        let expected = TopicName::new(&name).is_ok() && name.is_ascii() && !has_control(&name);
        prop_assert_eq!(is_plain_name(name.as_bytes()), expected);
    }

    #[test]
    fn matching_agrees_with_both_oracles(filter in filter(), name in name()) {
        let ours = TopicFilter::new(&filter).unwrap().matches(TopicName::new(&name).unwrap());
        prop_assert_eq!(ours, oracle_matches(&filter, &name));
        let theirs = TopicFilterRef::new(&filter).unwrap().get_matcher();
        prop_assert_eq!(ours, theirs.is_match(TopicNameRef::new(&name).unwrap()));
    }

    #[test]
    fn a_covered_filter_matches_nothing_more(one in filter(), other in filter(), name in name()) {
        let (one, other) = (TopicFilter::new(&one).unwrap(), TopicFilter::new(&other).unwrap());
        let name = TopicName::new(&name).unwrap();
        if one.covers(other) && other.matches(name) {
            prop_assert!(one.matches(name));
        }
        if one.matches(name) && other.matches(name) {
            prop_assert!(one.overlaps(other) && other.overlaps(one));
        }
        if one.covers(other) {
            prop_assert!(one.overlaps(other));
        }
        prop_assert!(one.covers(one) && one.overlaps(one));
    }

    #[test]
    fn shared_subscriptions_survive_being_taken_apart(group in "[a-z$é]{1,5}", filter in filter()) {
        let whole = format!("$share/{group}/{filter}");
        let shared = TopicFilter::new(&whole).unwrap().shared().unwrap().unwrap();
        prop_assert_eq!(shared.group(), group);
        prop_assert_eq!(shared.filter().as_str(), filter);
        prop_assert_eq!(shared.to_string(), whole);
    }
}
