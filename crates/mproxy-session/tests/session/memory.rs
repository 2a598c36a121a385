//! One budget of bytes for all sessions.

use std::sync::Arc;

use mproxy_codec::{KindSet, PropertyId, Value, Version};
use mproxy_session::{CloseReason, Hooks, MemoryBudget, Order, Side, Tap};

use crate::support::frames::{ConnectParts, properties};
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Pair, Setup, admit, admit_all, settle};

const F: Frames = Frames(Version::V311);
const MIB: usize = 1 << 20;

/// What a connection draws by being there.
const CONNECTION: usize = 4096;

/// What the last reads before the limit may bring beyond it: a batch of each thread's counting, and a
/// session's turn.
const BEYOND: usize = 512 * 1024;

fn half(packet: &[u8]) -> &[u8] {
    &packet[..packet.len() - 1]
}

/// Thousands of sockets that each sent all but a byte of the largest CONNECT killed a pod in three
/// seconds, and nobody had authenticated.
#[tokio::test(start_paused = true)]
async fn half_connects_end_where_the_budget_does() {
    let memory = MemoryBudget::new(4 * MIB);
    let client_id = "c".repeat(60_000);
    let connect = F.connect(&client_id);
    let mut pairs = Vec::new();
    for _ in 0..200 {
        let pair = Setup::new().memory(&memory).start(admit_all());
        pair.client.send(half(&connect));
        settle().await;
        assert!(memory.used() <= 4 * MIB + BEYOND, "{}", memory.used());
        pairs.push(pair);
    }
    let (held, ended): (Vec<_>, Vec<_>) = pairs.into_iter().partition(Pair::is_running);
    assert!(held.len() >= 3 * MIB / 70_000, "{} are held", held.len());
    assert!(!ended.is_empty());
    for pair in &held {
        assert!(pair.handle.held() >= 60_000, "{}", pair.handle.held());
        assert!(!pair.handle.is_established());
    }
    for pair in ended {
        assert_eq!(pair.client.drain(), b"", "the client is not told");
        let summary = pair.summary().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Proxy, CloseReason::Overload)
        );
        assert_eq!(summary.limit, Some("memory"));
        assert_eq!(summary.to_server.bytes, half(&connect).len() as u64);
    }
    for pair in held {
        pair.end().await;
    }
    assert_eq!(memory.used(), 0, "all of it is given back");
}

/// After CONNECT a request may be a mebibyte, and waits for its last byte as long.
#[tokio::test(start_paused = true)]
async fn who_would_hold_more_than_is_left_ends_and_nobody_else() {
    let memory = MemoryBudget::new(4 * MIB);
    let connected = || {
        Setup::new()
            .memory(&memory)
            .connected(Version::V311, admit_all())
    };
    let quiet = connected().await;
    let filter = "f".repeat(60_000);
    let subscribe = F.subscribe(1, &[&*filter; 16]);
    let mut pairs = Vec::new();
    while memory.used() + subscribe.len() < 3 * MIB {
        let pair = connected().await;
        pair.client.send(half(&subscribe));
        settle().await;
        assert!(pair.handle.held() > 900_000, "{}", pair.handle.held());
        assert!(pair.handle.is_established());
        pairs.push(pair);
    }
    let mut last = Vec::new();
    while memory.used() < 4 * MIB - BEYOND / 2 {
        let pair = connected().await;
        pair.client.send(half(&subscribe));
        settle().await;
        last.push(pair);
        assert!(last.len() < 10);
        if !last[last.len() - 1].is_running() {
            break;
        }
    }
    let pair = last.pop().unwrap();
    assert_eq!(pair.broker.drain(), b"", "nothing of it was forwarded");
    assert_eq!(pair.summary().await.reason, CloseReason::Overload);
    // the rest is undisturbed
    quiet.client.send(&F.pingreq());
    quiet.broker.expect(&F.pingreq()).await;
    for pair in pairs.into_iter().chain(last) {
        pair.client.send(&subscribe[subscribe.len() - 1..]);
        pair.broker.expect(&subscribe).await;
        assert_eq!(pair.handle.held(), 0, "it is forwarded, and held no longer");
        pair.end().await;
    }
    assert_eq!(memory.used(), CONNECTION);
    quiet.end().await;
    assert_eq!(memory.used(), 0);
}

/// What waits for a slow side, for a hook, and for an answer is held like what is not whole.
#[tokio::test(start_paused = true)]
async fn everything_that_grows_is_counted() {
    let memory = MemoryBudget::new(64 * MIB);
    let gate = Gate::new();
    let hooks = by_topic(&gate, &Seen::default());
    let stage = admit(move |_| Hooks::new(Tap::only(KindSet::ALL, hooks.clone()), Tap::none()));
    let f = Frames(Version::V5);
    let pair = Setup::new().memory(&memory).start(stage);
    let alias = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(10))]);
    let connect = f.connect_with(&ConnectParts {
        client_id: &"c".repeat(10_000),
        user_name: Some(&"u".repeat(10_000)),
        ..ConnectParts::default()
    });
    pair.client.send(&connect);
    settle().await;
    pair.broker.take().await;
    pair.broker.send(&f.connack_with(0, &alias));
    pair.client.take().await;
    let names = pair.handle.held();
    assert!((20_000..30_000).contains(&names), "{names} for the names");
    assert_eq!(memory.used(), CONNECTION + names);

    let grown = |what: &str, least: usize| {
        let held = pair.handle.held();
        assert!(
            (least..3 * least + 10_000).contains(&(held - names)),
            "{what}: {held}"
        );
        assert_eq!(memory.used(), CONNECTION + held, "{what}");
    };
    let held = f.publish("held/t", 1, 1, &[0; 40_000]);
    pair.client.send(&held);
    settle().await;
    grown("a packet that a hook has", 40_000);
    let behind = f.publish("t", 1, 2, &[0; 30_000]);
    pair.client.send(&behind[..30_000]);
    settle().await;
    gate.open(1);
    pair.broker.expect(&held).await;
    grown("the beginning of the next", 29_000);
    pair.client.send(&behind[30_000..]);
    pair.broker.expect(&behind).await;
    assert_eq!(pair.handle.held(), names);

    let topic = "a".repeat(30_000);
    let aliased = f.aliased(&topic, 1, b"");
    pair.client.send(&aliased);
    pair.broker.expect(&aliased).await;
    grown("the name behind an alias", 30_000);
    let before = pair.handle.held();
    let request = f.subscribe(3, &[&*"s".repeat(20_000)]);
    pair.client.send(&request);
    pair.broker.expect(&request).await;
    let after = pair.handle.held();
    assert!(
        (20_000..30_000).contains(&(after - before)),
        "a request without an answer: {after}"
    );
    pair.broker.send(&f.suback(3, &[0]));
    pair.client.expect(&f.suback(3, &[0])).await;
    assert_eq!(pair.handle.held(), before);

    pair.client.set_capacity(0);
    let delivery = f.publish("t", 0, 0, &[0; 30_000]);
    pair.broker.send(&delivery);
    settle().await;
    let stuck = pair.handle.held();
    assert!(
        (30_000..70_000).contains(&(stuck - before)),
        "a slow client: {stuck}"
    );
    pair.client.set_capacity(usize::MAX);
    pair.client.expect(&delivery).await;
    assert_eq!(pair.handle.held(), before);
    let control = pair.handle.clone();
    pair.end().await;
    drop(control);
    assert_eq!(memory.used(), 0);
}

/// A reader that takes all but the last bytes of what waits for it, and stops, kept the whole buffer.
#[tokio::test(start_paused = true)]
async fn what_is_read_slowly_is_given_back_as_it_goes() {
    let memory = MemoryBudget::new(64 * MIB);
    let pair = Setup::new()
        .memory(&memory)
        .connected(Version::V311, admit_all())
        .await;
    pair.client.set_capacity(0);
    let delivery = F.publish("t", 0, 0, &[0; 60_000]);
    pair.broker.send(&delivery);
    settle().await;
    let mut left = delivery.len();
    assert!(pair.handle.held() >= left);
    while left > 1000 {
        pair.client.set_capacity(1000);
        settle().await;
        left -= pair.client.drain_up_to(1000).len();
        let held = pair.handle.held();
        assert!(held <= 4 * left + 8192, "{held} are held for {left}");
    }
}

/// An order at once does not wait for the rest of a packet, nor for a client that does not read.
#[tokio::test(start_paused = true)]
async fn an_order_at_once_throws_away_what_waits() {
    let memory = MemoryBudget::new(64 * MIB);
    let pair = Setup::new()
        .memory(&memory)
        .connected(Version::V311, admit_all())
        .await;
    let large = F.publish("t", 0, 0, &[0; 200_000]);
    pair.client.send(&large[..100_000]);
    pair.client.set_capacity(0);
    pair.broker.send(&F.publish("t", 0, 0, &[0; 50_000]));
    settle().await;
    let control = pair.handle.clone();
    assert!(control.held() > 50_000);
    control.close(Order::drain(false));
    settle().await;
    assert!(pair.is_running(), "an order that waits");
    control.close(Order::overload());
    settle().await;
    assert!(!pair.is_running(), "no wait for a time-out");
    let summary = pair.summary().await;
    assert_eq!(
        (summary.reason, summary.reason_code),
        (CloseReason::Overload, None)
    );
    drop(control);
    assert_eq!(memory.used(), 0);
}

/// A budget that is lowered, because the pod got less memory, wakes who is to make room.
#[tokio::test(start_paused = true)]
async fn a_lower_limit_wakes_and_ends_no_idle_session() {
    let memory = MemoryBudget::new(64 * MIB);
    let pairs = futures(&memory).await;
    let woken = tokio::spawn({
        let memory = Arc::clone(&memory);
        async move { memory.pressed().await }
    });
    settle().await;
    assert!(!woken.is_finished());
    memory.set_limit(100_000);
    woken.await.unwrap();
    assert!(memory.percent() > 100);
    for pair in &pairs {
        pair.client.send(&F.pingreq());
        pair.broker.expect(&F.pingreq()).await;
    }
}

async fn futures(memory: &Arc<MemoryBudget>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for _ in 0..40 {
        pairs.push(
            Setup::new()
                .memory(memory)
                .connected(Version::V311, admit_all())
                .await,
        );
    }
    pairs
}

/// The request that opened a WebSocket is kept for as long as the connection, also before its CONNECT.
#[tokio::test(start_paused = true)]
async fn an_upgrade_request_counts_before_connect() {
    let memory = MemoryBudget::new(MIB);
    let control = mproxy_session::SessionHandle::with_memory(&memory);
    let mut request = mproxy_session::UpgradeRequest::new("/".repeat(60_000));
    request.headers.push(("host".into(), "h".repeat(1000)));
    let peer = mproxy_session::Peer::new("ws").with_upgrade(request);
    let (socket, wire) = crate::support::memory::connection();
    let session = mproxy_session::Session::new(peer).handle(control.clone());
    let running = tokio::spawn(session.run(socket, admit_all(), |_| {
        std::future::pending::<Result<crate::support::memory::Socket, std::io::Error>>()
    }));
    settle().await;
    assert!(
        (61_000..70_000).contains(&control.held()),
        "{}",
        control.held()
    );
    wire.finish();
    running.await.unwrap();
    assert_eq!(memory.used(), 0);
}
