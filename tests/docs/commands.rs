//! Every command of README.md and of `docs`, a test for each section.

use std::collections::BTreeSet;

use crate::markdown::{Block, blocks, document, for_users};
use crate::shell::{Shell, lines};

/// A file, and a heading in it.
type Section = (&'static str, &'static str);

const INSTALL: Section = ("README.md", "Install");
const QUICK_START: Section = ("README.md", "Quick start");
const IN_FRONT: Section = ("README.md", "In front of your broker");
const ACCESS_CONTROL: Section = ("README.md", "Access control, and a denial explained");
const RELOAD: Section = ("README.md", "Reload");
const EXPLAIN: Section = ("docs/configuration.md", "A key explained");
const CHECK: Section = ("docs/configuration.md", "Check");
const API: Section = ("docs/admin-api.md", "The API");
const BANS: Section = ("docs/limits.md", "Bans");
const MEASURED: Section = ("docs/measured.md", "");

const TESTED: [Section; 10] = [
    INSTALL,
    QUICK_START,
    IN_FRONT,
    ACCESS_CONTROL,
    RELOAD,
    EXPLAIN,
    CHECK,
    API,
    BANS,
    MEASURED,
];

/// Types all commands of a section.
async fn type_all(section: Section) -> (Shell, Vec<Block>) {
    let mut shell = Shell::default();
    let blocks = go_on(&mut shell, section).await;
    (shell, blocks)
}

/// Types all commands of a section, after others.
async fn go_on(shell: &mut Shell, (path, heading): Section) -> Vec<Block> {
    let mut blocks = blocks(&document(path));
    blocks.retain(|block| block.section == heading);
    let commands = blocks.iter().filter(|block| block.language == "console");
    for block in commands {
        for line in lines(&block.text) {
            shell.run(&line).await;
        }
    }
    blocks
}

#[tokio::test]
async fn install() {
    type_all(INSTALL).await;
}

#[tokio::test]
async fn quick_start() {
    type_all(QUICK_START).await;
}

#[tokio::test]
async fn in_front_of_a_broker() {
    let (mut shell, _) = type_all(IN_FRONT).await;
    let round_trip = "$ mosquitto_pub -p 1884 -q 1 -t a/b -r -m hi\n\
                      $ mosquitto_sub -p 1884 -t a/b -v -C 1\n\
                      a/b hi\n";
    for line in lines(round_trip) {
        shell.run(&line).await;
    }
}

#[tokio::test]
async fn access_control_and_reload() {
    let (mut shell, blocks) = type_all(ACCESS_CONTROL).await;
    let log = blocks.iter().find(|block| block.language == "text");
    for line in log.expect("the log is shown").text.lines() {
        shell.sees(line).await;
    }
    go_on(&mut shell, RELOAD).await;
}

#[tokio::test]
async fn explain() {
    type_all(EXPLAIN).await;
}

#[tokio::test]
async fn check() {
    type_all(CHECK).await;
}

#[tokio::test]
async fn api() {
    let mut shell = Shell::default();
    for line in lines("$ mproxy-server --config config/minimal.toml\n") {
        shell.run(&line).await;
    }
    go_on(&mut shell, API).await;
}

#[tokio::test]
async fn bans() {
    let mut shell = Shell::default();
    for line in lines("$ mproxy-server --config config/minimal.toml\n") {
        shell.run(&line).await;
    }
    go_on(&mut shell, BANS).await;
}

#[tokio::test]
async fn measured() {
    type_all(MEASURED).await;
}

#[test]
fn every_section_with_commands_has_a_test() {
    let mut found = BTreeSet::new();
    for (path, text) in for_users() {
        for block in blocks(&text) {
            if block.language == "console" {
                found.insert((path.clone(), block.section));
            }
        }
    }
    let tested = TESTED.map(|(path, heading)| (path.to_owned(), heading.to_owned()));
    assert_eq!(found, tested.into());
}
