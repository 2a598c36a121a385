//! Every command of README.md, a test a section.

use std::collections::BTreeSet;

use crate::markdown::{Block, blocks, readme};
use crate::shell::{Shell, lines};

const QUICK_START: &str = "Quick start";
const IN_FRONT: &str = "In front of your broker";
const ACCESS_CONTROL: &str = "Access control, and a denial explained";
const DEPLOYMENT: &str = "Kubernetes, systemd, Prometheus";
const MEASURED: &str = "Measured";

/// Types all commands of a section.
async fn type_all(section: &str) -> (Shell, Vec<Block>) {
    let mut blocks = blocks(&readme());
    blocks.retain(|block| block.section == section);
    let mut shell = Shell::default();
    let commands = blocks.iter().filter(|block| block.language == "console");
    for block in commands {
        for line in lines(&block.text) {
            shell.run(&line).await;
        }
    }
    (shell, blocks)
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
async fn access_control() {
    let (shell, blocks) = type_all(ACCESS_CONTROL).await;
    let log = blocks.iter().find(|block| block.language == "text");
    for line in log.expect("the log is shown").text.lines() {
        shell.sees(line).await;
    }
}

#[tokio::test]
async fn deployment() {
    type_all(DEPLOYMENT).await;
}

#[tokio::test]
async fn measured() {
    type_all(MEASURED).await;
}

#[test]
fn every_section_with_commands_has_a_test() {
    let text = readme();
    let found: BTreeSet<_> = blocks(&text)
        .into_iter()
        .filter(|block| block.language == "console")
        .map(|block| block.section)
        .collect();
    let tested = [QUICK_START, IN_FRONT, ACCESS_CONTROL, DEPLOYMENT, MEASURED];
    assert_eq!(found, tested.map(str::to_owned).into());
}
