//! Transcripts: what is in them must not depend on the moment.

use std::collections::BTreeMap;

/// Sorted, because the order of things that happen at the same time says nothing. Of many messages to
/// `.../burst` it has the number only.
pub(super) fn summary(seen: Vec<String>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut bursts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in seen {
        let mut words = line.split(' ');
        match words.find(|word| word.ends_with("/burst")) {
            Some(topic) => bursts.entry(topic.to_owned()).or_default().push(line),
            None => lines.push(line),
        }
    }
    for (topic, mut messages) in bursts {
        let all = messages.len();
        messages.sort();
        messages.dedup();
        let different = messages.len();
        lines.push(format!("{topic}: {all} messages, {different} different"));
    }
    if lines.is_empty() {
        lines.push("-".to_owned());
    }
    lines.sort();
    lines
}

/// Both transcripts, with a mark at what is only in one of them.
pub(super) fn side_by_side(direct: &[String], through: &[String]) -> String {
    let mut lines = Vec::new();
    for (way, mark, own, other) in [
        ("direct ", "-", direct, through),
        ("through", "+", through, direct),
    ] {
        for line in own {
            let mark = if other.contains(line) { " " } else { mark };
            lines.push(format!("{mark} {way}  {line}"));
        }
    }
    lines.join("\n")
}
