//! The tables beside the tests name tests that there are: of the ways around rules (`bypass`), of the
//! defects of the Go original (`defects`), and of faults (`FAULTS.md`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mproxy_tests::tools::root;

/// Where tests are.
const FOLDERS: [&str; 3] = ["crates", "bins", "tests/e2e"];

/// A row of a table: its number, and the tests in its last column.
struct Row<'a> {
    number: &'a str,
    tests: Vec<&'a str>,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').split(" |");
            let number = cells.next().unwrap_or_default().trim();
            let tests = cells.last().unwrap_or_default();
            Row {
                number,
                tests: tests.split('`').skip(1).step_by(2).collect(),
            }
        })
        .collect();
    let numbers: BTreeSet<_> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers.len(), rows.len(), "a number is there twice");
    assert!(rows.len() > 20, "{}", rows.len());
    rows
}

#[test]
fn every_defect_has_tests_that_exist() {
    let tests = tests(&FOLDERS);
    for Row {
        number,
        tests: names,
    } in rows(include_str!("defects/README.md"))
    {
        assert!(!names.is_empty(), "{number}");
        for name in names {
            assert!(tests.contains(name), "{number}: there is no test {name}");
        }
    }
}

#[test]
fn every_fault_has_tests_that_exist() {
    let tests = tests(&["crates", "bins", "tests"]);
    for row in rows(include_str!("../FAULTS.md")) {
        for name in row.tests {
            assert!(
                tests.contains(name),
                "{}: there is no test {name}",
                row.number
            );
        }
    }
}

#[test]
fn every_way_around_has_its_tests_and_no_other() {
    let mut missing = tests(&["tests/e2e/bypass"]);
    missing.retain(|name| {
        name.starts_with('a') && name[1..].starts_with(|it: char| it.is_ascii_digit())
    });
    assert!(missing.len() > 20, "{missing:?}");
    let elsewhere = tests(&FOLDERS);
    for row in rows(include_str!("bypass/README.md")) {
        for name in row.tests {
            if !missing.remove(name) {
                assert!(
                    elsewhere.contains(name),
                    "{}: there is no test {name}",
                    row.number
                );
                continue;
            }
            let number = name.split('_').next().unwrap_or_default();
            assert_eq!(number.to_uppercase(), row.number, "{name}");
        }
    }
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

/// The names of all functions below folders that a test attribute is above.
fn tests(folders: &[&str]) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for folder in folders {
        collect(&root().join(folder), &mut tests);
    }
    tests
}

fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).expect("source is text");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[") {
                    is_test |= line.contains("test]") || line.contains("test(");
                } else if let Some((_, rest)) = line.split_once("fn ") {
                    let name = rest.split(['(', '<']).next().unwrap_or_default();
                    if std::mem::take(&mut is_test) {
                        tests.insert(name.to_owned());
                    }
                }
            }
        }
    }
}
