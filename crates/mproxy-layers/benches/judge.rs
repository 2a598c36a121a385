//! What it costs to judge a topic or a topic filter, over how deep it is.
//!
//! `cargo bench -p mproxy-layers --bench judge`. The rules are those that cost most: at every level
//! both a name and a wildcard match, as deep as the topic goes. 128 levels are the most that a session
//! has layers look at (`Limits::max_topic_levels`); 1,024 and 16,384 show what that keeps out. The cost
//! grows with the levels and with the rules that still match, and with nothing else.

use divan::Bencher;
use mproxy_layers::acl::{Acl, Actions, Rule};

fn main() {
    divan::main();
}

const LEVELS: [usize; 6] = [4, 16, 64, 128, 1024, 16_384];

/// How deep the rules go: they may have 128 levels, too.
const RULE_LEVELS: usize = 100;

fn joined(level: impl Fn(usize) -> &'static str, levels: usize) -> String {
    (0..levels).map(level).collect::<Vec<_>>().join("/")
}

/// Rules of which as many as can be are still possible at every level of `a/a/a...`.
fn rules() -> Acl {
    let mut acl = Acl::builder();
    let patterns = [
        joined(|_| "a", RULE_LEVELS),
        joined(|_| "+", RULE_LEVELS),
        joined(|level| if level % 2 == 0 { "a" } else { "+" }, RULE_LEVELS),
        joined(|level| if level % 2 == 0 { "+" } else { "a" }, RULE_LEVELS),
        joined(|level| if level % 3 == 0 { "+" } else { "a" }, RULE_LEVELS),
        joined(
            |level| if level < RULE_LEVELS / 2 { "a" } else { "+" },
            RULE_LEVELS,
        ),
    ];
    for pattern in patterns {
        let deny = Rule::deny(Actions::PUBLISH | Actions::SUBSCRIBE).topic(format!("{pattern}/x"));
        acl.rule(deny).expect("a valid rule");
    }
    let allow = Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE).topic("a/#");
    acl.rule(allow).expect("a valid rule");
    acl.build()
}

/// A topic name. That of a PUBLISH is judged alike, and remembered.
#[divan::bench(args = LEVELS)]
fn deliver(bencher: Bencher<'_, '_>, levels: usize) {
    let (acl, topic) = (rules(), joined(|_| "a", levels));
    let client = acl.for_client("c", None);
    bencher.bench_local(|| client.decide_deliver(divan::black_box(&topic)).allowed());
}

#[divan::bench(args = LEVELS)]
fn subscribe(bencher: Bencher<'_, '_>, levels: usize) {
    let (acl, filter) = (rules(), joined(|_| "a", levels));
    let client = acl.for_client("c", None);
    bencher.bench_local(|| client.decide_subscribe(divan::black_box(&filter)).allowed());
}

/// Every level of the filter is a wildcard, which both names and wildcards of the rules may be behind.
#[divan::bench(args = LEVELS)]
fn subscribe_wildcards(bencher: Bencher<'_, '_>, levels: usize) {
    let (acl, filter) = (rules(), format!("a/{}", joined(|_| "+", levels - 1)));
    let client = acl.for_client("c", None);
    bencher.bench_local(|| client.decide_subscribe(divan::black_box(&filter)).allowed());
}

/// Slashes and nothing else: the most levels that 65,535 bytes can have.
#[divan::bench(args = LEVELS)]
fn subscribe_slashes(bencher: Bencher<'_, '_>, levels: usize) {
    let (acl, filter) = (rules(), "/".repeat(levels - 1));
    let client = acl.for_client("c", None);
    bencher.bench_local(|| client.decide_subscribe(divan::black_box(&filter)).allowed());
}
