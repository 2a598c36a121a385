//! Attacks on the real program: what no clock decides. Who was cut and who was let in, what is held,
//! what the log says. A good client is served meanwhile, however slowly the machine is.

mod costs;
mod leaks;

use std::process::Command;

use mproxy_attacks::attack::{ACL, Attack, Kind, Memory};
use mproxy_attacks::{Attackers, GoodClient, Report, Rig, raise_descriptor_limit};
use mproxy_tests::{Mproxy, memory, until};
use serde_json::Value;

/// Runs an attack beside a good client until `enough` has come, and hands both results out. An attack on
/// TLS is over TLS.
async fn under_attack<T>(
    attack: Attack,
    enough: impl AsyncFnOnce(&Mproxy, &Attackers) -> T,
) -> (Rig, Report, T) {
    over(attack, attack.kind.is_for_tls(), enough).await
}

/// The same, over TLS if `secure` says so.
async fn over<T>(
    attack: Attack,
    secure: bool,
    enough: impl AsyncFnOnce(&Mproxy, &Attackers) -> T,
) -> (Rig, Report, T) {
    raise_descriptor_limit().expect("the limit of open files can be raised");
    let rig = Rig::start(&attack, secure, None).await;
    let good = GoodClient::start(&rig.target);
    let attackers = Attackers::start(attack, &rig.target);
    let seen = enough(&rig.mproxy, &attackers).await;
    drop(attackers.stop());
    let report = good.stop();
    (rig, report, seen)
}

const fn attack(kind: Kind, toml: &'static str, keys: &'static [(&str, &str)]) -> Attack {
    Attack {
        name: "test",
        what: "a test",
        toml,
        keys,
        memory: Memory::Unlimited,
        kind,
    }
}

/// The good client noticed nothing that is not a matter of time.
fn assert_served(report: &Report) {
    assert_eq!(report.publishes.failures, 0, "{report:?}");
    assert_eq!(report.connects.failures, 0, "{report:?}");
    assert!(report.publishes.served() > 0, "{report:?}");
    assert!(report.connects.served() > 0, "{report:?}");
}

/// Waits until mproxy has ended this many sessions of attackers, and returns the line about one.
async fn cut(mproxy: &Mproxy, count: usize, wanted: impl Fn(&Value) -> bool) -> Value {
    until(format!("{count} ends"), async || {
        let events = mproxy.events();
        let mut ends = events.into_iter().filter(|event| wanted(event));
        ends.nth(count - 1)
    })
    .await
}

/// A third of what the attackers send would be more than the process may have: without a budget it is
/// ended, and everybody's session with it.
const SCARCE: &str = "[server]\nmemory = \"32MiB\"\n";
/// What threads may count late.
const BATCHES: f64 = 1e6;
const SYSTEM: Memory = Memory::Data(96 << 20);

/// One address, nobody authenticated, and a process that the kernel would have killed after three
/// seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_connects_are_held_to_the_budget() {
    let kind = Kind::HalfConnects {
        sockets: 1_500,
        size: 64 << 10,
    };
    let attack = Attack {
        memory: SYSTEM,
        ..attack(kind, SCARCE, &[])
    };
    for secure in [false, true] {
        assert_held_to_the_budget(attack, secure).await;
    }
}

/// What TLS holds counts: the beginning of a handshake, and of a record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_handshakes_and_half_records_are_held_to_the_budget() {
    for kind in [
        Kind::HalfHellos { sockets: 2_000 },
        Kind::HalfRecords {
            sockets: 1_500,
            are_let_in: false,
        },
    ] {
        let attack = Attack {
            memory: SYSTEM,
            ..attack(kind, SCARCE, &[])
        };
        assert_held_to_the_budget(attack, true).await;
    }
}

/// Each takes a step of the handshake again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_updates_and_long_chains_of_certificates_hurt_nobody() {
    let kind = Kind::KeyUpdates { clients: 10 };
    let (_, report, ()) = under_attack(attack(kind, "", &[]), async |mproxy, _| {
        until("key updates", async || {
            let pings = "mproxy_packets_total{direction=\"client_to_broker\",type=\"pingreq\"}";
            (mproxy.metrics().await.sum(pings) >= 60.0).then_some(())
        })
        .await;
    })
    .await;
    assert_served(&report);
    let kind = Kind::LongChains {
        tasks: 4,
        certificates: 60,
    };
    let keys = &[("tls.client_auth", "\"optional\"")];
    let (_, report, line) = under_attack(attack(kind, "", keys), async |mproxy, _| {
        cut(mproxy, 10, |event| event["reason"] == "tls_error").await
    })
    .await;
    let remedy = line["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("too many certificates"), "{line}");
    assert_served(&report);
}

/// The same from clients that were let in. They took all there was between two looks at who holds most, and
/// those who were not let in yet were closed for it, although they held nothing: a third of the good clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_subscribes_are_held_to_the_budget() {
    let kind = Kind::HalfSubscribes {
        clients: 150,
        size: 1_000_000,
    };
    let attack = Attack {
        memory: SYSTEM,
        ..attack(kind, SCARCE, &[])
    };
    for secure in [false, true] {
        let report = assert_held_to_the_budget(attack, secure).await;
        assert_eq!(report.connects.failures, 0, "{report:?}");
    }
}

async fn assert_held_to_the_budget(attack: Attack, secure: bool) -> Report {
    let (rig, report, ()) = over(attack, secure, async |mproxy, _| {
        let shed = "mproxy_memory_shed_total";
        until("holders to be closed", async || {
            let metrics = mproxy.metrics().await;
            let used = metrics.sum("mproxy_memory_used_bytes");
            let limit = metrics.sum("mproxy_memory_limit_bytes");
            assert!(used <= limit + BATCHES, "{used} of {limit} bytes");
            (metrics.sum(shed) >= 10.0).then_some(())
        })
        .await;
    })
    .await;
    // Who cannot be let in while memory is short is refused; who was in, and holds nothing, stays.
    assert_eq!(report.publishes.failures, 0, "{report:?}");
    let named = rig.mproxy.event("a line that names the attacker", |event| {
        let peer = event["peer"].as_str().unwrap_or_default();
        event["level"] == "WARN" && peer.starts_with("127.0.0.2")
    });
    named.await;
    // And it is given back.
    until("the memory to be free", async || {
        let used = rig.mproxy.metrics().await.sum("mproxy_memory_used_bytes");
        (used < 1e6).then_some(())
    })
    .await;
    // To the system, too: the C library's allocator would keep nearly all of it.
    let pid = rig.mproxy.id();
    until("the system to have half of it back", async || {
        (memory::used_kib(pid) < 16 << 10).then_some(())
    })
    .await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_that_send_empty_frames_are_cut() {
    let kind = Kind::EmptyFrames { clients: 10 };
    let (_, report, end) = under_attack(attack(kind, "", &[]), async |mproxy, _| {
        cut(mproxy, 10, |event| {
            let detail = event["detail"].as_str().unwrap_or_default();
            detail.contains("closed with code 1008")
        })
        .await
    })
    .await;
    assert_eq!(end["side"], "proxy", "{end}");
    assert_eq!(end["reason"], "rate_limited", "{end}");
    assert_served(&report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_which_all_is_denied_are_cut() {
    for (kind, wanted) in [
        (Kind::DeniedPublishes { clients: 10 }, "max_denials"),
        (
            Kind::DeniedSubscribes {
                clients: 10,
                slashes: 65_000,
            },
            "max_topic_levels",
        ),
    ] {
        let (_, report, end) = under_attack(attack(kind, ACL, &[]), async |mproxy, _| {
            cut(mproxy, 1, |event| {
                let ended = event["client_id"].as_str().unwrap_or_default();
                let remedy = event["remedy"].as_str().unwrap_or_default();
                ended.starts_with("attacker")
                    && event["side"].is_string()
                    && remedy.contains(wanted)
            })
            .await
        })
        .await;
        assert!(end["reason"].is_string(), "{end}");
        assert_served(&report);
    }
}

/// Before its first byte, a connection costs what its socket costs: it was 11.6 KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_websockets_cost_next_to_nothing() {
    const SOCKETS: usize = 2_000;
    let kind = Kind::IdleWebSockets { sockets: SOCKETS };
    let (_, report, (before, after)) =
        under_attack(attack(kind, "", &[]), async |mproxy, attackers| {
            let before = memory::used_kib(mproxy.id());
            let open = "mproxy_connections_accepted_total{listener=\"ws\"}";
            until("the connections to be open", async || {
                let all = mproxy.metrics().await.sum(open) >= SOCKETS as f64;
                (all && attackers.tally().opened() == SOCKETS).then_some(())
            })
            .await;
            (before, memory::used_kib(mproxy.id()))
        })
        .await;
    let each = after.saturating_sub(before) * 1024 / SOCKETS as u64;
    assert!(each <= 4 * 1024, "{each} bytes a connection");
    assert_served(&report);
}

/// A limit must not become the weapon: what is refused for an address's own maximum used up the rate that
/// all share, and everybody else was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_over_its_own_limit_refuses_nobody_else() {
    const REFUSED: f64 = 3_000.0;
    let kind = Kind::OverOwnLimit { held: 20, tasks: 8 };
    let keys = &[
        ("limits.max_connections_per_ip", "20"),
        ("limits.connection_rate", "500/s"),
    ];
    let (_, report, ()) = under_attack(attack(kind, "", keys), async |mproxy, attackers| {
        until("refusals", async || {
            let refused = "mproxy_connections_refused_total{listener=\"mqtt\"}";
            let refused = mproxy.metrics().await.sum(refused);
            (refused >= REFUSED).then_some(())
        })
        .await;
        assert_eq!(attackers.tally().opened(), 20);
    })
    .await;
    assert_served(&report);
}

/// Silent connections of two addresses took every place, and took it again when they were closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_leave_room_for_clients() {
    let kind = Kind::Silence {
        addresses: 2,
        each: 60,
    };
    let keys = &[
        ("limits.max_connections", "100"),
        ("limits.max_pending_per_ip", "20"),
    ];
    let (_, report, ()) = under_attack(attack(kind, "", keys), async |mproxy, _| {
        until("refusals", async || {
            let refused = "mproxy_connections_refused_total{listener=\"mqtt\"}";
            (mproxy.metrics().await.sum(refused) >= 1_000.0).then_some(())
        })
        .await;
    })
    .await;
    assert_served(&report);
}

/// Connections that were begun and reset wrote 12 MiB a second into the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_resets_leaves_few_lines() {
    const RESETS: usize = 5_000;
    let kind = Kind::Resets { tasks: 32 };
    let keys = &[];
    let toml = "[log]\nmax_rate = \"1/s\"\n";
    let (rig, report, ()) = under_attack(attack(kind, toml, keys), async |mproxy, attackers| {
        until("resets", async || {
            let closed = mproxy
                .metrics()
                .await
                .sum("mproxy_connections_closed_total");
            let enough = closed >= RESETS as f64 && attackers.tally().opened() >= RESETS;
            enough.then_some(())
        })
        .await;
    })
    .await;
    let events = rig.mproxy.events();
    let about = |event: &&Value| {
        let peer = event["peer"].as_str().unwrap_or_default();
        peer.starts_with("127.0.0.2")
    };
    let lines = events.iter().filter(about).count();
    assert!((1..=RESETS / 20).contains(&lines), "{lines} lines");
    assert_served(&report);
}

/// Three hundred addresses of one network had three connections each, where one client may have five. The
/// machine has one address of IPv6 that tests can use: this one has a network of its own.
#[test]
fn the_addresses_of_a_prefix_are_one_client() {
    let script = "ip link set lo up && ip -6 route add local fd00:6d70::/64 dev lo && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script, "sh"])
        .arg(env!("CARGO_BIN_EXE_mproxy-attacks"))
        .args([
            "--seconds",
            "3",
            "--rest",
            "0",
            "--over",
            "plain",
            "one-prefix",
        ])
        .output()
        .expect("unshare is a part of util-linux");
    let table = String::from_utf8_lossy(&output.stdout);
    let row = table.lines().find(|line| line.starts_with("| one-prefix"));
    let cells: Vec<_> = row.unwrap_or_default().split(" | ").collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(cells.get(5), Some(&"5 / 895"), "{table}{errors}");
    for good in &cells[3..5] {
        assert!(good.contains("(0 of "), "{table}");
    }
}
