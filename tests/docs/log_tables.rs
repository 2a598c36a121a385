//! The tables of docs/logs.md are those of the sources: no target, event or reason is missing, and
//! none is invented.

use std::collections::BTreeSet;

use mproxy_admin::{Reason, RefuseReason};
use mproxy_tests::tools::root;

use crate::markdown::{quoted, read, table};
use crate::repository::texts;

/// The macros that write a line.
const MACROS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];

pub(crate) fn logs() -> String {
    read(&root().join("docs/logs.md"))
}

/// What is in backticks in a column of the table whose first column has this name.
pub(crate) fn column(first: &str, number: usize) -> Vec<String> {
    let rows = table(&logs(), first);
    let cells = rows.iter().map(|row| row[number].as_str());
    cells.flat_map(quoted).map(str::to_owned).collect()
}

fn set(names: Vec<String>) -> BTreeSet<String> {
    names.into_iter().collect()
}

/// The code of the program and of the crates, without comments and unit tests.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for (path, text) in texts() {
        let path = path.to_string_lossy().into_owned();
        let is_code = path.starts_with("crates/") || path.starts_with("bins/");
        if !is_code || !path.contains("/src/") || path.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next();
        let code: String = code
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        sources.push((path, code));
    }
    assert!(sources.len() > 100, "{} files", sources.len());
    sources
}

/// What follows `start` in the sources, up to a quote.
pub(crate) fn after(starts: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, code) in sources() {
        for start in starts {
            let names = code.split(start).skip(1);
            found.extend(names.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
        }
    }
    found
}

#[test]
fn every_target_is_in_the_table_and_is_used() {
    let found = after(&["\"mproxy::"]);
    let found: BTreeSet<_> = found.iter().map(|name| format!("mproxy::{name}")).collect();
    assert_eq!(found, set(column("target", 0)));
}

/// Two crates logged with the paths of their modules as targets, which nobody could know.
#[test]
fn every_line_names_its_target() {
    let mut count = 0;
    for (path, code) in sources() {
        for name in MACROS {
            for (place, _) in code.match_indices(name) {
                let is_longer =
                    code[..place].ends_with(|it: char| it.is_alphanumeric() || it == '_');
                if is_longer {
                    continue;
                }
                let arguments = code[place + name.len()..].trim_start();
                let shown = arguments.lines().next().unwrap_or_default();
                assert!(arguments.starts_with("target:"), "{path}: {name}{shown}");
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count} lines");
}

/// The documents told operators to set a level for the name of a crate, which is not a target: it
/// changed nothing.
#[test]
fn no_document_names_another_target() {
    let targets = column("target", 0);
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    for (path, text) in texts() {
        let shown = path.display();
        // the load generator has a module of that name
        let is_load = path.starts_with("tests/load");
        for rest in text.split("mproxy::").skip(1).filter(|_| !is_load) {
            let name: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            let target = format!("mproxy::{name}");
            assert!(
                name.is_empty() || targets.contains(&target),
                "{shown}: {target}"
            );
        }
        for level in levels {
            for (place, _) in text.match_indices(&format!("={level}")) {
                let word = |it: char| it.is_ascii_lowercase() || it == '_' || it == ':';
                let before = text[..place].trim_end_matches(word).len();
                let name = &text[before..place];
                assert!(!name.starts_with("mproxy_"), "{shown}: {name}={level}");
            }
        }
    }
}

#[test]
fn every_event_is_in_the_table_and_is_written() {
    let found = after(&["event = \"", "\"event\", \""]);
    assert_eq!(found, set(column("event", 0)));
}

#[test]
fn every_event_has_targets_levels_and_fields_that_there_are() {
    let targets = column("target", 0);
    let fields = column("field", 0);
    for row in table(&logs(), "event") {
        for target in quoted(&row[2]) {
            assert!(targets.iter().any(|it| it == target), "{target} in {row:?}");
        }
        for level in row[1].split(", ") {
            assert!(
                ["error", "warn", "info"].contains(&level),
                "{level} in {row:?}"
            );
        }
        for field in quoted(&row[4]) {
            assert!(fields.iter().any(|it| it == field), "{field} in {row:?}");
        }
    }
}

#[test]
fn every_field_is_one_that_a_line_has() {
    let sources = sources();
    let names = |code: &str, field: &str| {
        code.split(|it: char| !it.is_alphanumeric() && it != '_')
            .any(|word| word == field)
    };
    for field in column("field", 0) {
        let mut logging = sources
            .iter()
            .filter(|(_, code)| code.contains("\"mproxy::"));
        assert!(logging.any(|(_, code)| names(code, &field)), "{field}");
    }
}

#[test]
fn every_reason_is_explained() {
    let reasons = read(&root().join("crates/mproxy-session/src/summary.rs"));
    let reasons = reasons
        .split("pub enum CloseReason {")
        .nth(1)
        .expect("the reasons");
    let reasons = reasons.split("\n}").next().unwrap_or_default();
    let reasons = reasons.lines().filter_map(|line| line.split('"').nth(1));
    let reasons: BTreeSet<_> = reasons.map(str::to_owned).collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    let explained = set(column("reason", 0));
    let missing: Vec<_> = reasons.difference(&explained).collect();
    assert!(missing.is_empty(), "not in docs/logs.md: {missing:?}");
    for other in explained.difference(&reasons) {
        // of connections that were refused before a session began
        let known = RefuseReason::ALL.iter().any(|it| it.as_str() == other);
        assert!(known, "{other} is no reason");
    }
}

/// `idle` of the metrics was in no document: an operator who was paged for it found no line with it.
#[test]
fn every_reason_is_a_label_of_the_metrics_or_has_one() {
    let reasons = column("reason", 0);
    let coarser = table(&logs(), "in the metrics");
    assert!(!coarser.is_empty());
    let is_label = |name: &str| Reason::ALL.iter().any(|it| it.as_str() == name);
    for row in &coarser {
        for label in quoted(&row[0]) {
            assert!(is_label(label), "{label} is not a label");
        }
        for reason in quoted(&row[1]) {
            assert!(reasons.iter().any(|it| it == reason), "{reason}");
        }
    }
    for reason in &reasons {
        let is_refusal = RefuseReason::ALL.iter().any(|it| it.as_str() == reason);
        let is_coarser = coarser
            .iter()
            .any(|row| quoted(&row[1]).iter().any(|it| it == reason));
        assert!(is_label(reason) || is_refusal || is_coarser, "{reason}");
    }
}
