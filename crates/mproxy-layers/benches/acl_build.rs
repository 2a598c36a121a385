//! What it costs to compile the rules of an `acl`, by their number: twice the rules should take twice
//! the time.
//!
//! `cargo bench -p mproxy-layers --bench acl_build`. divan prints rules a second.

use divan::Bencher;
use divan::counter::ItemsCount;
use mproxy_layers::acl::{Acl, Actions, Rule};

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

fn build(bencher: Bencher<'_, '_>, count: usize, rule: impl Fn(usize) -> Rule + Sync) {
    let rules = || (0..count).map(&rule).collect::<Vec<_>>();
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(rules)
        .bench_values(|rules| {
            let mut builder = Acl::builder();
            for rule in rules {
                builder.rule(rule).expect("a rule that is right");
            }
            builder.build()
        });
}

fn allow() -> Rule {
    Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE)
}

#[divan::bench(args = SIZES)]
fn literal(bencher: Bencher<'_, '_>, count: usize) {
    build(bencher, count, |n| {
        allow().topic(format!("site/{}/dev/{n}", n % 100))
    });
}

#[divan::bench(args = SIZES)]
fn wildcards(bencher: Bencher<'_, '_>, count: usize) {
    build(bencher, count, |n| {
        allow().topic(format!("site/+/dev/{n}/#"))
    });
}

#[divan::bench(args = SIZES)]
fn placeholders(bencher: Bencher<'_, '_>, count: usize) {
    build(bencher, count, |n| {
        allow().topic(format!("t{n}/${{client_id}}/#"))
    });
}

#[divan::bench(args = SIZES)]
fn usernames(bencher: Bencher<'_, '_>, count: usize) {
    build(bencher, count, |n| {
        allow()
            .topic("devices/${client_id}/#")
            .usernames([format!("u{n}")])
    });
}
