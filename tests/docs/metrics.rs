//! What the documents say about metrics is about metrics that there are.

use std::collections::BTreeSet;

use mproxy_admin::Action;
use mproxy_tests::tools::root;

use crate::log_tables::after;
use crate::markdown::{quoted, read, table};

fn document(name: &str) -> String {
    read(&root().join(name))
}

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
    for file in ["docs/operating.md", "docs/logs.md", "deploy/README.md"] {
        for name in names(&document(file)) {
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
    let operating = document("docs/operating.md");
    let dashboard = names(&document("deploy/grafana/mproxy.json"));
    let shown = |name: &str| {
        let bucket = format!("{name}_bucket");
        dashboard.contains(name) || dashboard.contains(&bucket)
    };
    let rows = table(&operating, "question");
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
    let rows = table(&document("docs/operating.md"), "action");
    let actions = rows.iter().flat_map(|row| quoted(&row[0]));
    let explained: BTreeSet<_> = actions.map(str::to_owned).collect();
    let all = Action::ALL.iter().map(|it| it.as_str().to_owned());
    assert_eq!(explained, all.collect());
}
