//! What `/metrics` says.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mproxy_admin::{
    Action, Certificate, ConnectionLimit, Decision, DialResult, Direction, FetchedList, ListFile,
    LogMetrics, Metrics, OcspResult, PacketType, Reason, RefuseReason, ShedStage, Side, TlsSide,
    Traffic, Version,
};

use crate::support::Port;

const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n";

#[tokio::test]
async fn every_family_in_the_classic_format() {
    let port = Port::start().await;
    feed(&port);
    let answer = port.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );

    assert_eq!(families(&answer.body), documented());
    for (name, _) in documented() {
        assert!(answer.body.contains(&format!("# HELP {name} ")), "{name}");
    }
    assert!(!answer.body.contains("# EOF"));
    assert!(answer.body.ends_with('\n'));
}

#[tokio::test]
async fn samples_say_what_happened() {
    let port = Port::start().await;
    feed(&port);
    let body = port.get("/metrics").await.body;
    for sample in SAMPLES {
        assert!(
            body.lines().any(|line| line == *sample),
            "missing {sample} in\n{body}"
        );
    }
}

#[tokio::test]
async fn openmetrics_on_request() {
    let port = Port::start().await;
    feed(&port);
    let answer = port.request("GET", "/metrics", OPENMETRICS).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.body.ends_with("# EOF\n"));
    assert!(answer.body.contains("# TYPE mproxy_packets counter\n"));
    for sample in SAMPLES {
        assert!(answer.body.lines().any(|line| line == *sample), "{sample}");
    }
}

#[tokio::test]
async fn label_values_are_escaped() {
    let port = Port::start().await;
    drop(port.metrics.upstream("a\"b\\c\nd"));
    let body = port.get("/metrics").await.body;
    assert!(
        body.contains("{upstream=\"a\\\"b\\\\c\\nd\"} 0\n"),
        "{body}"
    );
}

/// Whoever connects, and however often, does not make the scrape grow.
#[tokio::test]
async fn size_does_not_follow_the_connections() {
    let port = Port::start().await;
    feed(&port);
    let lines = |body: &str| body.lines().count();
    let before = lines(&port.get("/metrics").await.body);
    for _ in 0..100_000 {
        one_connection(&port.metrics);
    }
    let after = port.get("/metrics").await.body;
    assert_eq!(lines(&after), before);
    assert!(after.contains("mproxy_connections_accepted_total{listener=\"mqtt\"} 100004\n"));
}

/// A connection is pending from accept to its CONNECT, or to its end if that is earlier.
#[tokio::test]
async fn pending_until_connect() {
    let port = Port::start().await;
    let listener = port.metrics.listener("mqtt");
    let mut first = listener.accepted();
    let second = listener.accepted();
    let pending = async |expected: u32| {
        let body = port.get("/metrics").await.body;
        let sample = format!("mproxy_connections_pending{{listener=\"mqtt\"}} {expected}");
        assert!(body.lines().any(|line| line == sample), "{sample}\n{body}");
    };
    pending(2).await;
    first.connect();
    first.connect();
    pending(1).await;
    second.closed(Side::Proxy, Reason::Evicted);
    first.closed(Side::Client, Reason::Eof);
    pending(0).await;
    listener.accepted().limited(ConnectionLimit::ConnectionRate);
    pending(0).await;
}

/// A session that panics is counted in, out, and as a panic, wherever its counter lived.
#[test]
fn panic_is_counted_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let port = runtime.block_on(Port::start());
    let listener = port.metrics.listener("mqtt");
    let inside = catch_unwind(AssertUnwindSafe(|| {
        let mut connection = listener.accepted();
        connection.opened(Version::V5);
        // Unlike `panic!`, prints nothing into the test's output.
        std::panic::resume_unwind(Box::new("hook"));
    }));
    assert!(inside.is_err());
    let mut outside = listener.accepted();
    outside.opened(Version::V5);
    outside.panicked();
    drop(listener.accepted());

    let body = runtime.block_on(port.get("/metrics")).body;
    for sample in [
        "mproxy_session_panics_total{listener=\"mqtt\"} 2",
        "mproxy_connections{listener=\"mqtt\",version=\"5\"} 0",
        "mproxy_connections_closed_total{listener=\"mqtt\",side=\"proxy\",reason=\"internal\"} 3",
    ] {
        assert!(body.lines().any(|line| line == sample), "{sample}\n{body}");
    }
}

/// Everything that can be fed, at least once.
fn feed(port: &Port) {
    let sides = [
        TlsSide::Listener("mqtts".to_owned()),
        TlsSide::Upstream("broker".to_owned()),
    ];
    let certificates = sides.clone().map(|side| Certificate {
        side,
        name: "broker.example.com".to_owned(),
        not_before: 1_700_000_000,
        not_after: 4_000_000_000,
    });
    port.metrics.set_certificates(certificates.into());
    port.metrics.set_fetched_lists(vec![FetchedList {
        url: "http://pki.example.com:80/ca.crl".to_owned(),
        successes: 7,
        failures: 1,
        next_update: Some(4_000_000_000),
    }]);
    let responder = port.metrics.ocsp("http://ocsp.example.com:80/");
    responder.asked(OcspResult::Revoked);
    responder.knew();
    let files = sides.map(|side| ListFile {
        side,
        file: "/ca.crl".to_owned(),
        next_update: 5,
    });
    port.metrics.set_list_files(files.into());
    port.health.listener("mqtt").ok();
    port.health.upstream("broker").fail("connection refused");

    let metrics = &port.metrics;
    one_connection(metrics);
    let listener = metrics.listener("mqtt");
    listener.accepted().limited(ConnectionLimit::MaxPending);
    listener.accepted().limited(ConnectionLimit::ServerMemory);
    listener
        .accepted()
        .refused(RefuseReason::WebsocketHandshake);
    metrics.set_capacity(500);

    let upstream = metrics.upstream("broker");
    upstream.publish_answered(Duration::from_millis(3));
    metrics.overload().level(ConnectionLimit::OverloadLag, 1);
    let memory = metrics.memory();
    memory.watch(|| (4096, 8192));
    memory.shed(ShedStage::Session);
    memory.shed(ShedStage::Session);
    metrics.worker_lagged(Duration::from_millis(40));
    upstream.connack(Duration::from_millis(4));
    upstream.dialled(DialResult::Success, Duration::from_micros(700));
    drop(upstream.opened());
    upstream.dialled(DialResult::Refused, Duration::from_micros(90));

    let layer = metrics.layer("acl");
    layer.decision(Action::Publish, Decision::Deny);
    layer.decision(Action::Publish, Decision::Deny);
    layer.modified(PacketType::Publish);
    layer.dropped(PacketType::Publish, Reason::AclDenied);
    layer.injected(PacketType::Puback);
    metrics.packet_error(Direction::ClientToBroker, Reason::Malformed);

    let log = LogMetrics::default();
    log.suppressed();
    metrics.log(&log);
    log.suppressed();
    log.sink(1);

    let mut traffic = Traffic::default();
    traffic.packets[PacketType::Publish as usize] = 5;
    traffic.bytes = 1_000;
    traffic.publishes = [3, 2, 0];
    traffic.stalls = 1;
    metrics.worker(0).add(Direction::ClientToBroker, &traffic);
    metrics.worker(1).add(Direction::ClientToBroker, &traffic);
    metrics.worker(1).add(Direction::BrokerToClient, &traffic);
}

fn one_connection(metrics: &Metrics) {
    let mut connection = metrics.listener("mqtt").accepted();
    connection.connect();
    connection.opened(Version::V3_1_1);
    connection.connack(Version::V3_1_1, "success");
    connection.closed(Side::Client, Reason::Disconnect);
}

const SAMPLES: &[&str] = &[
    "mproxy_build_info{version=\"1.2.3\",revision=\"abc123\"} 1",
    "mproxy_draining 0",
    "mproxy_listener_up{listener=\"mqtt\"} 1",
    "mproxy_log_lines_dropped_total{reason=\"suppressed\"} 2",
    "mproxy_log_lines_dropped_total{reason=\"sink\"} 1",
    "mproxy_upstream_up{upstream=\"broker\"} 0",
    "mproxy_connections{listener=\"mqtt\",version=\"3.1.1\"} 0",
    "mproxy_connections_capacity 500",
    "mproxy_connections_pending{listener=\"mqtt\"} 0",
    "mproxy_connections_accepted_total{listener=\"mqtt\"} 4",
    "mproxy_connections_refused_total{listener=\"mqtt\",reason=\"connection_limit\",limit=\"max_pending\"} 1",
    "mproxy_connections_refused_total{listener=\"mqtt\",reason=\"rate_limited\",limit=\"connection_rate_per_ip\"} 0",
    "mproxy_connections_refused_total{listener=\"mqtt\",reason=\"overload\",limit=\"server.memory\"} 1",
    "mproxy_connections_refused_total{listener=\"mqtt\",reason=\"websocket_handshake\",limit=\"\"} 1",
    "mproxy_connections_closed_total{listener=\"mqtt\",side=\"client\",reason=\"disconnect\"} 1",
    "mproxy_connection_duration_seconds_count{listener=\"mqtt\"} 1",
    "mproxy_connection_duration_seconds_bucket{le=\"2592000.0\",listener=\"mqtt\"} 1",
    "mproxy_connect_duration_seconds_bucket{le=\"10.0\",listener=\"mqtt\"} 1",
    "mproxy_connacks_total{listener=\"mqtt\",version=\"3.1.1\",reason_code=\"success\"} 1",
    "mproxy_packets_total{direction=\"client_to_broker\",type=\"publish\"} 10",
    "mproxy_packets_total{direction=\"broker_to_client\",type=\"publish\"} 5",
    "mproxy_packets_total{direction=\"broker_to_client\",type=\"auth\"} 0",
    "mproxy_packet_bytes_total{direction=\"client_to_broker\"} 2000",
    "mproxy_publishes_total{direction=\"client_to_broker\",qos=\"0\"} 6",
    "mproxy_publishes_total{direction=\"client_to_broker\",qos=\"2\"} 0",
    "mproxy_backpressure_stalls_total{direction=\"client_to_broker\"} 2",
    "mproxy_packet_errors_total{direction=\"client_to_broker\",reason=\"malformed\"} 1",
    "mproxy_packets_modified_total{layer=\"acl\",type=\"publish\"} 1",
    "mproxy_packets_dropped_total{layer=\"acl\",type=\"publish\",reason=\"acl_denied\"} 1",
    "mproxy_packets_injected_total{layer=\"acl\",type=\"puback\"} 1",
    "mproxy_auth_decisions_total{layer=\"acl\",action=\"publish\",decision=\"deny\"} 2",
    "mproxy_upstream_connections{upstream=\"broker\"} 0",
    "mproxy_upstream_connects_total{upstream=\"broker\",result=\"success\"} 1",
    "mproxy_upstream_connects_total{upstream=\"broker\",result=\"timeout\"} 0",
    "mproxy_upstream_connect_duration_seconds_count{upstream=\"broker\"} 2",
    "mproxy_publish_ack_duration_seconds_count{upstream=\"broker\"} 1",
    "mproxy_upstream_connack_duration_seconds_bucket{le=\"0.0025\",upstream=\"broker\"} 0",
    "mproxy_upstream_connack_duration_seconds_bucket{le=\"0.005\",upstream=\"broker\"} 1",
    "mproxy_worker_lag_seconds_bucket{le=\"0.025\"} 0",
    "mproxy_worker_lag_seconds_bucket{le=\"0.05\"} 1",
    "mproxy_tls_crl_fetches_total{url=\"http://pki.example.com:80/ca.crl\",result=\"success\"} 7",
    "mproxy_tls_crl_fetches_total{url=\"http://pki.example.com:80/ca.crl\",result=\"failure\"} 1",
    "mproxy_tls_crl_next_update_timestamp_seconds{url=\"http://pki.example.com:80/ca.crl\"} 4000000000",
    "mproxy_tls_crl_next_update_timestamp_seconds{listener=\"mqtts\",file=\"/ca.crl\"} 5",
    "mproxy_tls_crl_next_update_timestamp_seconds{upstream=\"broker\",file=\"/ca.crl\"} 5",
    "mproxy_overload_level{source=\"server.overload_lag\"} 1",
    "mproxy_memory_used_bytes 4096",
    "mproxy_memory_limit_bytes 8192",
    "mproxy_memory_shed_total{stage=\"pending\"} 0",
    "mproxy_memory_shed_total{stage=\"session\"} 2",
];

/// Type and labels of a family.
type Family = (String, BTreeSet<String>);

/// The families of a scrape.
fn families(scrape: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in scrape.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap();
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, labels)) = line.split_once('{') {
            let is_part = |name: &&String| {
                let part = sample.strip_prefix(name.as_str());
                part.is_some_and(|it| matches!(it, "" | "_bucket" | "_sum" | "_count"))
            };
            let name = families.keys().find(is_part).unwrap().clone();
            let (_, found) = families.get_mut(&name).unwrap();
            // no value in these tests has a quote
            let labels = labels.split('"').step_by(2);
            let labels = labels.filter_map(|it| it.trim_start_matches(',').strip_suffix('='));
            let labels = labels.filter(|it| *it != "le");
            found.extend(labels.map(str::to_owned));
        }
    }
    families
}

/// The families that the page for operators describes.
fn documented() -> BTreeMap<String, Family> {
    let page = include_str!("../../../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let families = rows.filter_map(|row| {
        let mut cells = row.split('|').map(|it| it.trim().trim_matches('`'));
        let (name, kind, labels) = (cells.next()?, cells.next()?, cells.next()?);
        let labels = labels.split(", ").map(|it| it.trim_matches('`').to_owned());
        let labels = labels.filter(|it| !it.is_empty()).collect();
        let is_family = matches!(kind, "gauge" | "counter" | "histogram");
        is_family.then(|| (name.to_owned(), (kind.to_owned(), labels)))
    });
    families.collect()
}

/// Series of listeners that no configuration had any more were shown for as long as the process ran, and a
/// fleet that names its listeners by date had more of them every day.
#[tokio::test]
async fn a_listener_that_is_gone_is_not_shown() {
    let port = Port::start().await;
    feed(&port);
    let has = async |name: &str| {
        let label = format!("listener=\"{name}\"");
        let body = port.get("/metrics").await.body;
        // whether it is up is a matter of health
        let mut lines = body
            .lines()
            .filter(|it| !it.starts_with("mproxy_listener_up"));
        lines.any(|it| it.contains(&label))
    };
    let other = port.metrics.listener("other").accepted();
    other.closed(Side::Client, Reason::Eof);
    assert!(has("mqtt").await);
    port.metrics
        .forget_listener("mqtt", ["success", "not_authorized", "banned"].into_iter());
    assert!(!has("mqtt").await && has("other").await);
}
