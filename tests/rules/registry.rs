//! Which test holds the proxy to which rule, known without running any.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use mproxy_tests::tools::root;
use mproxy_tests::wire::Version;

use crate::above::CHOICES;
use crate::catalogue::{ELSEWHERE, RULES};
use crate::found::INPUTS;

/// Declares the tests of a module and registers them: `name [rules] in versions;`, where versions
/// are `all`, `v3`, `v5` or a list. Each name is that of a function that takes the version. Each is
/// run with both values of the key `conformance`, which [`Ground`](crate::ground::Ground) sets.
/// `by [keys]` behind the versions names the other keys of which the test tries every value.
macro_rules! tests {
    ($($name:ident [$($rule:ident)+] in $versions:tt $(by [$($key:ident)+])?;)+) => {
        /// The tests of this module.
        pub(crate) const TESTS: &[crate::registry::Registered] = &[$(
            crate::registry::Registered {
                module: module_path!(),
                name: stringify!($name),
                rules: &[$(stringify!($rule)),+],
                versions: tests!(@versions $versions),
                keys: &[$($(stringify!($key)),+)?],
                source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../", file!())),
            }
        ),+];
        $(mod $name {
            use super::*;
            tests!(@nest $name [$($rule)+] $versions);
        })+
    };
    (@versions all) => { tests!(@versions [v31 v311 v5]) };
    (@versions v3) => { tests!(@versions [v31 v311]) };
    (@versions v5) => { tests!(@versions [v5]) };
    (@versions [$($version:ident)+]) => { &[$(stringify!($version)),+] };
    (@nest $name:ident [$rule:ident $($rest:ident)*] $versions:tt) => {
        mod $rule {
            use super::*;
            tests!(@nest $name [$($rest)*] $versions);
        }
    };
    (@nest $name:ident [] all) => { tests!(@nest $name [] [v31 v311 v5]); };
    (@nest $name:ident [] v3) => { tests!(@nest $name [] [v31 v311]); };
    (@nest $name:ident [] v5) => { tests!(@nest $name [] [v5]); };
    (@nest $name:ident [] [$($version:ident)+]) => {
        tests!(@run $name tolerant Tolerant [$($version)+]);
        tests!(@run $name strict Strict [$($version)+]);
    };
    (@run $name:ident $conformance:ident $value:ident [$($version:ident)+]) => {
        mod $conformance {
            use super::*;
            $(
                #[tokio::test]
                async fn $version() {
                    crate::ground::Conformance::$value.choose();
                    let version = crate::registry::version(stringify!($version));
                    $name(version).await;
                }
            )+
        }
    };
}

/// A test as its module declares it.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [&'static str],
    pub(crate) versions: &'static [&'static str],
    /// Keys of which it tries every value, beside `conformance`.
    pub(crate) keys: &'static [&'static str],
    /// The file that it is in.
    pub(crate) source: &'static str,
}

impl Registered {
    /// `module::name`.
    fn path(&self) -> String {
        let (_, module) = self.module.split_once("::").unwrap_or_default();
        format!("{module}::{}", self.name)
    }

    /// The rules among what it is for.
    fn numbers(&self) -> impl Iterator<Item = u8> {
        self.rules.iter().filter_map(|rule| number(rule))
    }
}

/// All modules with tests.
const MODULES: [&[Registered]; 16] = [
    crate::framing::TESTS,
    crate::life::TESTS,
    crate::connect::TESTS,
    crate::publish::TESTS,
    crate::alias::TESTS,
    crate::subscribe::TESTS,
    crate::deliver::TESTS,
    crate::sizes::TESTS,
    crate::auth::TESTS,
    crate::websocket::TESTS,
    crate::found::ends::TESTS,
    crate::found::limits::TESTS,
    crate::found::messages::TESTS,
    crate::found::requests::TESTS,
    crate::found::slips::TESTS,
    crate::found::told::TESTS,
];

/// The versions by the names that tests have.
const VERSIONS: [(&str, Version); 3] = [
    ("v31", Version::V31),
    ("v311", Version::V311),
    ("v5", Version::V5),
];

/// The variable that has [`the_table_is_up_to_date`] write the table.
const WRITE: &str = "MPROXY_WRITE_RULES";

pub(crate) fn version(name: &str) -> Version {
    let found = VERSIONS.iter().find(|(known, _)| *known == name);
    found.expect("a version of the list").1
}

/// Something that is tested, in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Duty {
    rule: u8,
    version: &'static str,
}

/// The number of a rule; `None` for an input of [`INPUTS`].
fn number(rule: &str) -> Option<u8> {
    if INPUTS.iter().any(|input| input.id == rule) {
        return None;
    }
    let digits = rule.strip_prefix('r').and_then(|it| it.parse().ok());
    Some(digits.unwrap_or_else(|| panic!("`{rule}` is not called like a rule or an input")))
}

/// What is tested and where.
fn tested() -> BTreeMap<Duty, Vec<String>> {
    let mut tested = BTreeMap::<_, Vec<_>>::new();
    for test in MODULES.into_iter().flatten() {
        for (rule, &version) in test
            .numbers()
            .flat_map(|rule| test.versions.iter().map(move |version| (rule, version)))
        {
            let tests = tested.entry(Duty { rule, version }).or_default();
            tests.push(test.path());
        }
    }
    for test in ELSEWHERE {
        for &rule in test.rules {
            for &version in test.versions {
                let tests = tested.entry(Duty { rule, version }).or_default();
                tests.push(test.path());
            }
        }
    }
    tested
}

#[test]
fn the_rules_are_numbered_without_a_gap() {
    let numbers = RULES.iter().map(|rule| rule.number);
    assert!(numbers.eq(1..=127));
    for rule in RULES {
        assert!(!rule.versions.is_empty(), "R{} never applies", rule.number);
        let known = |version| VERSIONS.iter().any(|(known, _)| known == version);
        assert!(rule.versions.iter().all(known), "R{}", rule.number);
        assert!(!rule.text.contains('|'), "R{}", rule.number);
    }
}

/// Neither a rule without a test, nor a test for a rule where the catalogue says that it does not
/// apply.
#[test]
fn every_rule_is_tested() {
    let tested = tested();
    let mut wrong = Vec::new();
    for rule in RULES {
        for version in rule.versions {
            let duty = Duty {
                rule: rule.number,
                version,
            };
            if !tested.contains_key(&duty) {
                wrong.push(format!("R{} has no test with {version}", rule.number));
            }
        }
    }
    for (duty, tests) in &tested {
        let rule = RULES.iter().find(|rule| rule.number == duty.rule);
        if !rule.is_some_and(|rule| rule.versions.contains(&duty.version)) {
            wrong.push(format!(
                "no rule R{} with {}: {tests:?}",
                duty.rule, duty.version
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every rule below a choice of the operator is tested with each value, and nobody tests a choice
/// of which the table says nothing. `conformance` needs no look: every test runs with both values.
#[test]
fn every_choice_is_tested() {
    let names = CHOICES.iter().map(|choice| choice.name.to_owned());
    assert!(names.eq((1..=CHOICES.len()).map(|number| format!("T{number}"))));
    let mut wrong = Vec::new();
    for choice in CHOICES {
        assert!(choice.rules.is_sorted(), "{}", choice.name);
        assert_eq!(choice.key.is_none(), choice.other.is_empty());
        for rule in choice.rules {
            let known = RULES.iter().any(|it| it.number == *rule);
            let tests = MODULES.into_iter().flatten();
            let mut of_rule = tests.filter(|test| test.numbers().any(|it| it == *rule));
            let tried = match choice.key {
                None | Some("conformance") => of_rule.next().is_some(),
                Some(key) => of_rule.any(|test| test.keys.contains(&key)),
            };
            if !known || !tried {
                wrong.push(format!("{}: R{rule} is not tested", choice.name));
            }
        }
    }
    for test in MODULES.into_iter().flatten() {
        for key in test.keys {
            let mut choices = CHOICES.iter().filter(|choice| choice.key == Some(key));
            let is_for_rules = test.numbers().next().is_some();
            let told = choices.any(|choice| {
                let mut numbers = test.numbers();
                !is_for_rules || numbers.any(|rule| choice.rules.contains(&rule))
            });
            if !told {
                wrong.push(format!("{} tries {key}: no choice says so", test.path()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The tests of an input, in the order of the modules.
fn tests_of(id: &str) -> Vec<String> {
    let tests = MODULES.into_iter().flatten();
    let here = tests.filter(|test| test.rules.contains(&id));
    here.map(Registered::path).collect()
}

#[test]
fn every_input_is_tested() {
    for input in INPUTS {
        let (id, elsewhere) = (input.id, input.elsewhere);
        assert!(
            !tests_of(id).is_empty() || !elsewhere.is_empty(),
            "{id} has no test"
        );
        for (file, name) in elsewhere {
            let text = fs::read_to_string(root().join(file)).expect("the file");
            let test = format!("#[tokio::test]\nasync fn {name}()");
            assert!(text.contains(&test), "{file} has no test {name}");
        }
    }
}

/// A test that says that it tries every value of a key uses the key by its name.
#[test]
fn keys_are_used_where_they_are_named() {
    for test in MODULES.into_iter().flatten() {
        let name = format!("fn {}(", test.name);
        let (_, body) = test.source.split_once(&name).expect("the function");
        let body = body.split("\n}\n").next().unwrap_or_default();
        for key in test.keys {
            // `WhenUnreachable` sets the key of its name
            let has_type = *key == "when_unreachable" && body.contains("WhenUnreachable::BOTH");
            let named = body.contains(key) || *key == "drain_notice" && body.contains("NOTICES");
            assert!(named || has_type, "{} does not set {key}", test.path());
        }
    }
}

/// Rules that only a library can be held to are tested in its crate: the tests must be there.
#[test]
fn tests_elsewhere_exist() {
    for test in ELSEWHERE {
        let file = root().join(test.file);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let name = format!("fn {}()", test.name);
        let at = lines.iter().position(|line| line.contains(&name));
        let at = at.unwrap_or_else(|| panic!("{} has no test {}", test.file, test.name));
        let above = &lines[at.saturating_sub(3)..at];
        assert!(
            above
                .iter()
                .any(|line| line.starts_with("#[") && line.contains("test")),
            "{} in {} is no test",
            test.name,
            test.file
        );
        assert!(
            !above.iter().any(|line| line.starts_with("#[ignore")),
            "{} in {} is not run",
            test.name,
            test.file
        );
        let (_, body) = text.split_once(&name).expect("it was found");
        let body = body.split("\n}\n").next().unwrap_or_default();
        for version in test.versions {
            let named = format!("Version::{}", version.to_uppercase());
            assert!(
                ["in VERSIONS", "in ALL", &named]
                    .iter()
                    .any(|it| body.contains(*it))
                    || text.contains(&format!("const F: Frames = Frames({named});")),
                "{} in {} says nothing of {named}",
                test.name,
                test.file
            );
        }
    }
}

fn table() -> String {
    let tested = tested();
    let mut table = String::from(
        "# The rules of MQTT for a proxy, and their tests\n\n\
         Written by the tests; see [rules/main.rs](rules/main.rs). After a change:\n\n\
         ```sh\n",
    );
    let _ = writeln!(
        table,
        "{WRITE}=1 cargo nextest run -p mproxy-tests -E 'test(the_table_is_up_to_date)'\n```\n"
    );
    table.push_str(
        "Tests without a file are in [rules](rules), as `module::name`. A version in parentheses\n\
         after a test is the only version that it covers. Every test runs with both values of the key\n\
         `conformance`, and those in the tables below with all values of the key that applies.\n\n",
    );
    choices(&mut table);
    let _ = writeln!(table, "## Rules\n\n{} rules.\n", RULES.len());
    table.push_str("`above` names the choices that stand above a rule: [see there](#choices).\n\n");
    table.push_str(
        "| rule | what a proxy does | above | versions | tests |\n|---|---|---|---|---|\n",
    );
    for rule in RULES {
        let mut tests = BTreeMap::<_, Vec<_>>::new();
        for version in rule.versions {
            let duty = Duty {
                rule: rule.number,
                version,
            };
            for test in tested.get(&duty).into_iter().flatten() {
                tests.entry(test).or_default().push(*version);
            }
        }
        let cells: Vec<_> = tests
            .iter()
            .map(|(test, versions)| {
                if versions == rule.versions {
                    format!("`{test}`")
                } else {
                    format!("`{test}` ({})", shown(versions))
                }
            })
            .collect();
        let (number, text) = (rule.number, rule.text);
        let _ = writeln!(
            table,
            "| R{number} | {text} | {} | {} | {} |",
            above(number),
            shown(rule.versions),
            cells.join("<br>")
        );
    }
    inputs(&mut table);
    table
}

/// The choices above a rule.
fn above(rule: u8) -> String {
    let choices = CHOICES.iter().filter(|it| it.rules.contains(&rule));
    let names: Vec<_> = choices.map(|it| it.name).collect();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}

fn choices(table: &mut String) {
    table.push_str(
        "## Choices\n\n\
         A fleet that worked with its broker yesterday must work through mproxy today. So these override\n\
         the rules: by default mproxy forwards like a cable, and sends packets of its own only when\n\
         a layer refused something, when a side broke the protocol in a way that two readers could\n\
         understand differently, or when an operator configured it.\n\n\
         | | what | default | key | other value | above |\n|---|---|---|---|---|---|\n",
    );
    for choice in CHOICES {
        let rules: Vec<_> = choice.rules.iter().map(|rule| format!("R{rule}")).collect();
        let key = choice
            .key
            .map_or_else(|| "-".to_owned(), |key| format!("`{key}`"));
        let other = if choice.other.is_empty() {
            "-"
        } else {
            choice.other
        };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {key} | {other} | {} |",
            choice.name,
            choice.what,
            choice.default,
            rules.join(", ")
        );
    }
    table.push_str(
        "\nNever tolerated, because a layer and a broker could read it differently: errors of strings and\n\
         lengths, unknown types, wrong directions, bytes left over, reserved bits other than those above,\n\
         errors of properties, wildcards in names, aliases out of range, anything before CONNECT.\n\n",
    );
}

fn inputs(table: &mut String) {
    table.push_str(
        "\n## Found with other programs\n\n\
         What other clients and brokers send, byte by byte, and similar inputs: without a layer\n\
         and behind `acl`, in one write, one byte per write, right behind CONNECT, over WebSocket.\n\n\
         | | input | right | tests |\n|---|---|---|---|\n",
    );
    for input in INPUTS {
        let here = tests_of(input.id).into_iter();
        let elsewhere = input.elsewhere.iter();
        let elsewhere = elsewhere.map(|(file, name)| format!("{file}: {name}"));
        let tests: Vec<_> = here
            .chain(elsewhere)
            .map(|test| format!("`{test}`"))
            .collect();
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} |",
            input.id.to_uppercase(),
            input.what,
            input.right,
            tests.join("<br>")
        );
    }
}

fn shown(versions: &[&str]) -> String {
    let names = versions.iter().map(|version| match *version {
        "v31" => "3.1",
        "v311" => "3.1.1",
        _ => "5.0",
    });
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_is_up_to_date() {
    let file = root().join("tests/RULES.md");
    let table = table();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &table).expect("the repository can be written to");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == table,
        "tests/RULES.md is not what the tests say; write it with {WRITE}=1"
    );
}
