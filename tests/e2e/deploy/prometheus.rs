//! Scrape configurations and rules.

use std::path::Path;

use super::{Copy, deployed};
use crate::tools::Run;

#[test]
fn scrape_configuration_is_valid() {
    check_config(&deployed("prometheus/scrape.yml")).accepts();
    let typo = Copy::of("prometheus").with("scrape.yml", "static_configs", "static_confs");
    check_config(&typo.path("scrape.yml")).refuses("static_confs");
}

/// Debian's Prometheus has no Kubernetes discovery; all but the line that asks for it is checked.
#[test]
fn kubernetes_scrape_configuration_is_valid() {
    let without_discovery = || {
        let (pods, nothing) = (
            "kubernetes_sd_configs:\n      - role: pod\n",
            "static_configs: []\n",
        );
        Copy::of("prometheus").with(KUBERNETES, pods, nothing)
    };
    check_config(&without_discovery().path(KUBERNETES)).accepts();
    let typo = without_discovery().with(KUBERNETES, "action: keep", "action: kepe");
    check_config(&typo.path(KUBERNETES)).refuses("kepe");
}

#[test]
fn rules_are_valid() {
    let check = |file: &Path| {
        Run::on_file(
            "promtool",
            &["check", "rules", "--lint=all", "--lint-fatal"],
            file,
        )
    };
    check(&deployed("prometheus").join(RULES)).accepts();
    let typo = Copy::of("prometheus").with(RULES, "sum by (job) (rate(", "sum by (job) (rte(");
    check(&typo.path(RULES)).refuses("unknown function");
}

#[test]
fn rules_fire_when_they_should() {
    let test = |file: &Path| Run::on_file("promtool", &["test", "rules"], file);
    test(&deployed("prometheus").join(RULES_TEST)).accepts();
    // Each rule is in a case: without its condition, some case fails.
    for (from, to, alert) in [
        (
            "mproxy_upstream_up == 0",
            "mproxy_upstream_up == 2",
            "MproxyUpstreamDown",
        ),
        (
            "{reason=\"upstream_unreachable\"}",
            "",
            "MproxyClientsUnanswered",
        ),
        (
            "{reason_code!=\"success\"}",
            "{reason_code=\"not_authorized\"}",
            "MproxyConnacksRefused",
        ),
        (
            " unless on (job, instance) mproxy_draining == 1",
            "",
            "MproxyListenerDown",
        ),
        (
            "unless mproxy_packet_errors_total",
            "and mproxy_packet_errors_total",
            "MproxyBroker",
        ),
        (
            "worker_lag_seconds:p99_5m > 0.1",
            "worker_lag_seconds:p99_5m > 0.001",
            "MproxyWorkersLate",
        ),
        (
            "mproxy_memory_limit_bytes > 0.8",
            "mproxy_memory_limit_bytes > 0.05",
            "MproxyMemoryScarce",
        ),
    ] {
        let broken = Copy::of("prometheus").with(RULES, from, to);
        test(&broken.path(RULES_TEST)).refuses(alert);
    }
}

#[test]
fn every_alert_has_a_case() {
    let rules = super::read("prometheus/mproxy.rules.yml");
    let cases = super::read("prometheus/mproxy.rules.test.yml");
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(
            cases.contains(&format!("alertname: {alert}\n")),
            "{alert} has no case"
        );
    }
}

fn check_config(file: &Path) -> Run {
    Run::on_file("promtool", &["check", "config"], file)
}

const KUBERNETES: &str = "scrape-kubernetes.yml";
const RULES: &str = "mproxy.rules.yml";
const RULES_TEST: &str = "mproxy.rules.test.yml";
