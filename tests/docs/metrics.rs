//! What the documents say about metrics is about metrics that there are.

use std::collections::BTreeSet;

use mproxy_admin::{Action, ConnectionLimit, Direction, ShedStage, Side, Version};

use crate::log_tables::after;
use crate::markdown::{document, for_users, quoted, table};

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |it: char| it.is_ascii_lowercase() || it == '_';
    let words = text.split(|it| !is_name(it));
    let names = words.filter(|it| it.starts_with("mproxy_") && !it.ends_with('_'));
    names.map(str::to_owned).collect()
}

#[test]
fn every_metric_of_the_documents_exists() {
    // the encoder adds `_total` to counters
    let known: BTreeSet<_> = after(&["\"mproxy_"])
        .into_iter()
        .map(|name| format!("mproxy_{name}"))
        .collect();
    let mut count = 0;
    let mut documents = for_users();
    // it names crates
    documents.retain(|(file, _)| file != "README.md");
    documents.push(("deploy/README.md".to_owned(), document("deploy/README.md")));
    for (file, text) in documents {
        for name in names(&text) {
            let family = name.strip_suffix("_total").unwrap_or(&name);
            assert!(known.contains(family), "{file}: {name}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

/// A number that answers a question and is not in the dashboard is found by nobody.
#[test]
fn what_answers_a_question_is_in_the_dashboard() {
    let page = document("docs/metrics.md");
    let dashboard = names(&document("deploy/grafana/mproxy.json"));
    let shown = |name: &str| {
        let bucket = format!("{name}_bucket");
        dashboard.contains(name) || dashboard.contains(&bucket)
    };
    let rows = table(&page, "question");
    assert!(rows.len() > 5, "{}", rows.len());
    for row in rows {
        let found = names(&row[1]);
        assert!(!found.is_empty(), "{row:?}");
        for name in found {
            assert!(shown(&name), "{name}");
        }
    }
}

#[test]
fn every_action_is_explained() {
    let rows = table(&document("docs/metrics.md"), "action");
    let actions = rows.iter().flat_map(|row| quoted(&row[0]));
    let explained: BTreeSet<_> = actions.map(str::to_owned).collect();
    let all = Action::ALL.iter().map(|it| it.as_str().to_owned());
    assert_eq!(explained, all.collect());
}

/// The words of the labels that have a short list.
#[test]
fn every_word_of_a_label_is_there() {
    fn all<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|it| text(*it)).collect()
    }
    let rows = table(&document("docs/metrics.md"), "label");
    for (label, values) in [
        ("direction", all(Direction::ALL, Direction::as_str)),
        ("version", all(Version::ALL, Version::as_str)),
        ("side", all(Side::ALL, Side::as_str)),
        ("limit", all(ConnectionLimit::ALL, ConnectionLimit::as_str)),
        ("stage", all(ShedStage::ALL, ShedStage::as_str)),
    ] {
        let row = rows.iter().find(|row| quoted(&row[0]) == [label]);
        let row = row.unwrap_or_else(|| panic!("no row for {label}"));
        assert_eq!(quoted(&row[1]), values, "{label}");
    }
}
