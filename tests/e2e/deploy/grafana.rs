//! The dashboard: it is sound as a document, and a Prometheus that scrapes mproxy answers each of
//! its queries.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use mproxy_admin::{
    Action, Admin, BuildInfo, ConnectionLimit, Decision, DialResult, Direction, Health, LogMetrics,
    Metrics, PacketType, Reason, RefuseReason, Side, Traffic, Version,
};
use serde_json::Value;

use super::read;
use crate::prometheus::{Prometheus, get};
use crate::tools::Run;

/// Asserts that a running proxy's metrics are as Prometheus wants them, and that each query of the
/// dashboard has an answer once a Prometheus scrapes it.
///
/// `unused` are the metrics that this proxy had no occasion to count: families of layers and of
/// errors appear with their first event. Queries for them must be valid, but may be empty.
pub(crate) async fn assert_monitored(admin: SocketAddr, unused: &[&str]) {
    let scrape = get(admin, "/metrics").await;
    Run::on_input("promtool", &["check", "metrics"], &scrape).accepts();

    let prometheus = Prometheus::scraping(admin).await;
    let (optional, required): (BTreeSet<_>, BTreeSet<_>) = queries(&dashboard())
        .into_iter()
        .partition(|query| unused.iter().any(|metric| query.contains(metric)));
    let unanswered = prometheus.unanswered(&required).await;
    assert!(
        unanswered.is_empty(),
        "no data for {unanswered:#?} in\n{scrape}"
    );
    for query in optional {
        prometheus.query(&query).await;
    }
    // That there is data for the others is no accident.
    let typo = prometheus.query("sum(mproxy_conections)").await;
    assert!(typo.is_empty(), "{typo:?}");
    prometheus.stop().await;
}

#[tokio::test]
async fn every_query_has_data() {
    let (build, health) = (BuildInfo::new("mproxy-server", "0.1.0"), Health::new());
    let metrics = Metrics::new(&build, &health, NonZeroUsize::MIN);
    count_one_of_each(&health, &metrics);
    let port = mproxy_admin::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("a free port");
    let addr = port.local_addr().expect("it is bound");
    let serve = mproxy_admin::serve(
        port,
        Admin::new(build, health, metrics),
        std::future::pending(),
    );
    tokio::select! {
        () = serve => panic!("the admin port ended"),
        () = assert_monitored(addr, &[]) => {}
    }
}

#[test]
fn metrics_checker_refuses_what_prometheus_does() {
    let check = |text| Run::on_input("promtool", &["check", "metrics"], text);
    check("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n").accepts();
    check("# HELP a A.\n# TYPE a counter\na 1\n").refuses("counter metrics should have \"_total\"");
}

#[test]
fn dashboard_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "mproxy");
    assert!(
        dashboard["id"].is_null(),
        "the id belongs to the Grafana that imports it"
    );
    assert_eq!(dashboard["__inputs"][0]["name"], "DS_PROMETHEUS");
    let variables: Vec<_> = items(&dashboard["templating"]["list"])
        .iter()
        .map(|variable| variable["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(variables, ["datasource", "job", "instance", "listener"]);

    let mut ids = BTreeSet::new();
    for panel in items(&dashboard["panels"]) {
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{} is there twice",
            panel["id"]
        );
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{}",
            panel["title"]
        );
        assert!(
            panel["description"].is_string(),
            "{} explains itself",
            panel["title"]
        );
        for target in items(&panel["targets"]) {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            let expr = target["expr"].as_str().expect("a query");
            // Without them, the choice at the head of the page would be without effect.
            assert!(
                expr.contains("job=~\"$job\", instance=~\"$instance\""),
                "{expr}"
            );
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    let mut taken = BTreeSet::new();
    for panel in items(&dashboard()["panels"]) {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a position");
        assert!(at("x") + at("w") <= 24, "{} is too wide", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(
                    taken.insert((x, y)),
                    "{} covers another panel",
                    panel["title"]
                );
            }
        }
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/mproxy.json")).expect("the dashboard is JSON")
}

/// Every query of the dashboard, as Grafana would send it with everything chosen.
fn queries(dashboard: &Value) -> BTreeSet<String> {
    let panels = items(&dashboard["panels"])
        .iter()
        .flat_map(|panel| items(&panel["targets"]));
    let queries: BTreeSet<_> = panels
        .map(|target| target["expr"].as_str().expect("a query"))
        .map(|expr| {
            // Ten scrapes of the test's Prometheus.
            let expr = expr.replace("$__rate_interval", "10s");
            let expr = ["$job", "$instance", "$listener"]
                .iter()
                .fold(expr, |expr, variable| expr.replace(variable, ".*"));
            assert!(!expr.contains('$'), "an unknown variable in {expr}");
            expr
        })
        .collect();
    assert!(queries.len() > 30, "{}", queries.len());
    queries
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Makes every family of metrics appear.
fn count_one_of_each(health: &Health, metrics: &Metrics) {
    health.listener("mqtt").ok();
    health.upstream("broker").ok();

    let listener = metrics.listener("mqtt");
    let mut connection = listener.accepted();
    connection.opened(Version::V5);
    connection.connack(Version::V5, "success");
    connection.closed(Side::Client, Reason::Disconnect);
    listener.accepted().refused(RefuseReason::ConnectionLimit);
    let upstream = metrics.upstream("broker");
    upstream.dialled(DialResult::Success, Duration::ZERO);
    upstream.connack(Duration::ZERO);
    upstream.publish_answered(Duration::ZERO);
    metrics.set_capacity(500);
    metrics.overload().level(ConnectionLimit::OverloadLag, 1);
    metrics.memory().watch(|| (4096, 8192));
    metrics.worker_lagged(Duration::ZERO);

    let traffic = Traffic::default();
    metrics.worker(0).add(Direction::ClientToBroker, &traffic);
    metrics.packet_error(Direction::ClientToBroker, Reason::Malformed);

    metrics.log(&LogMetrics::default());

    let layer = metrics.layer("acl");
    layer.decision(Action::Publish, Decision::Deny);
    layer.modified(PacketType::Publish);
    layer.dropped(PacketType::Publish, Reason::AclDenied);
    layer.injected(PacketType::Puback);
}
