//! A session's turn is bounded in work, whatever its client sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::{KindSet, Version};
use mproxy_session::{
    BoxError, CloseReason, Forward, Hooks, Limits, Order, Packet, Peer, Session, Tap, Verdict,
    new_hooks,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, join, sink};

use crate::support::{Frames, Setup, admit, admit_all, assert_bytes};

const F: Frames = Frames(Version::V311);

/// Packets that hooks see in a turn at most, if they are forwarded, and if they are refused.
const FORWARDED: usize = 1024;
const REFUSED: usize = 256;

/// Goes behind everything that is ready to run.
async fn turn() {
    tokio::task::yield_now().await;
}

/// How many packets hooks saw in each turn of a session that got all of `flood` at once.
async fn turns(flood: &[u8], refuse: bool) -> Vec<usize> {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let judge = move |packet: Packet| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, BoxError>(match refuse {
            true => Verdict::refuse(mproxy_codec::ReasonCode::NOT_AUTHORIZED),
            false => Verdict::Forward(packet),
        }))
    };
    let kinds = KindSet::ALL;
    let hooks = tower::service_fn(judge);
    let stage = admit(move |_| Hooks::new(Tap::only(kinds, hooks.clone()), Tap::none()));
    let setup = Setup::new().limits(|limits| limits.max_denials = None);
    let pair = setup.connected(Version::V311, stage).await;
    pair.client.send(flood);
    let mut turns = Vec::new();
    let (mut before, mut quiet) = (0, 0);
    while quiet < 3 {
        turn().await;
        let now = seen.load(Ordering::Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        turns.push(now - before);
        before = now;
    }
    assert_eq!(pair.client.unread(), 0, "all of it was read");
    pair.end().await;
    turns
}

/// A client whose packets are judged, and one whose packets are refused, kept all other sessions of its
/// thread waiting for a quarter of a second, time and again.
#[tokio::test(start_paused = true)]
async fn hooks_are_asked_so_often_and_then_others_have_their_turn() {
    // topics that no memory of verdicts helps with
    let publishes: Vec<u8> = (0..5000)
        .flat_map(|n| F.publish(&format!("t/{n}"), 0, 0, b""))
        .collect();
    let turns_of_pings = turns(&F.pingreq().repeat(5000), true).await;
    assert!(turns_of_pings.iter().all(|asked| *asked <= FORWARDED));
    assert_eq!(turns_of_pings.iter().sum::<usize>(), 5000);
    for (refuse, most) in [(false, FORWARDED), (true, REFUSED)] {
        for flood in [&publishes, &F.subscribe(1, &["f"]).repeat(2000)] {
            let turns = turns(flood, refuse).await;
            let largest = turns.iter().max().copied().unwrap_or_default();
            assert!(largest <= most, "{largest} in a turn, refused: {refuse}");
            assert!([5000, 2000].contains(&turns.iter().sum()), "{turns:?}");
        }
    }
}

/// A large request is work as well: only a few of them make a turn.
#[tokio::test(start_paused = true)]
async fn large_requests_are_taken_few_at_a_time() {
    let filters: Vec<String> = (0..3000).map(|n| format!("f/{n}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let flood = F.subscribe(1, &filters).repeat(5);
    let turns = turns(&flood, true).await;
    assert!(turns.iter().all(|asked| *asked <= 2), "{turns:?}");
    assert_eq!(turns.iter().sum::<usize>(), 5);
}

/// Other sessions of the thread get their turn between two of a flood.
#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_leaves_turns_for_others() {
    let refuse = tower::service_fn(|_: Packet| async {
        Ok::<_, BoxError>(Verdict::refuse(mproxy_codec::ReasonCode::NOT_AUTHORIZED))
    });
    let stage = admit(move |_| Hooks::new(Tap::only(KindSet::PUBLISH, refuse), Tap::none()));
    let setup = Setup::new().limits(|limits| limits.max_denials = None);
    let flooded = setup.connected(Version::V311, stage).await;
    let quiet = Setup::new().connected(Version::V311, admit_all()).await;
    flooded
        .client
        .send(&F.publish("t", 0, 0, b"").repeat(20_000));
    let mut rounds = 0;
    while flooded.client.unread() > 0 {
        quiet.client.send(&F.pingreq());
        turn().await;
        turn().await;
        assert_eq!(quiet.broker.drain(), F.pingreq(), "in round {rounds}");
        rounds += 1;
    }
    assert!(rounds >= 20_000 / REFUSED / 4, "{rounds} rounds");
}

/// A client that always has something to say, and never takes what it is told.
struct Babbler {
    connect: Vec<u8>,
    written: usize,
}

impl AsyncRead for Babbler {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connect.is_empty() {
            let room = buffer.remaining().min(64);
            buffer.put_slice(&F.pingreq().repeat(32)[..room]);
        } else {
            buffer.put_slice(&std::mem::take(&mut self.connect));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Babbler {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = F.connack().len() - self.written;
        if room == 0 {
            return Poll::Pending;
        }
        let len = room.min(bytes.len());
        self.written += len;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a broker says that lets the client in and delivers something.
struct Source(Vec<u8>);

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        buffer.put_slice(&std::mem::take(&mut self.0));
        Poll::Ready(Ok(()))
    }
}

/// The deadlines were looked at when a session had nothing to do: who sent without a pause had none.
#[tokio::test]
async fn who_is_always_busy_has_deadlines_too() {
    let client = Babbler {
        connect: F.connect("c"),
        written: 0,
    };
    let deliveries = [F.connack(), F.publish("t", 0, 0, &[0; 1000])].concat();
    let limits = Limits::default()
        .write_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(1));
    let session = Session::new(Peer::new("test")).limits(Arc::new(limits));
    let stage = new_hooks(|_| Hooks::<Forward, Forward>::none());
    let summary = session
        .run(client, stage, |_| {
            std::future::ready(Ok::<_, io::Error>(join(Source(deliveries), sink())))
        })
        .await;
    assert_eq!(summary.reason, CloseReason::WriteTimeout);
}

/// A client whose bytes come one at a time, and always another.
struct Dribbler {
    connect: Vec<u8>,
    reads: Arc<AtomicUsize>,
}

impl AsyncRead for Dribbler {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let byte = self.connect.remove(0);
        buffer.put_slice(&[byte]);
        Poll::Ready(Ok(()))
    }
}

/// One WebSocket whose CONNECT came byte by byte, behind hundreds of empty frames each, kept its thread
/// for half a second at a time: each byte was a read, and each read was followed by the next.
#[tokio::test(start_paused = true)]
async fn who_sends_connect_byte_by_byte_leaves_turns_for_others() {
    let reads = Arc::new(AtomicUsize::new(0));
    let client = Dribbler {
        connect: F.connect(&"c".repeat(5000)),
        reads: Arc::clone(&reads),
    };
    let stage = new_hooks(|_| Hooks::<Forward, Forward>::none());
    let session = Session::new(Peer::new("test"));
    let client = join(client, sink());
    let running = tokio::spawn(session.run(client, stage, |_| {
        std::future::ready(Err::<DuplexStream, io::Error>(
            io::ErrorKind::NotFound.into(),
        ))
    }));
    let mut before = 0;
    while !running.is_finished() {
        turn().await;
        let now = reads.load(Ordering::Relaxed);
        assert!(now - before <= 2 * 4, "{} reads in a turn", now - before);
        before = now;
    }
    assert!(before > 5000);
}

/// The largest that a session reads in a turn: four times the thread's buffer. So many have one between two looks
/// at the sockets.
const TURN: usize = 4 * 64 * 1024;
const TURNS: usize = 4;

/// What a session may read before it needs a turn.
const AT_ONCE: usize = 96 * 1024;

/// A thousand clients sent a mebibyte each. All of them had turns before the next message of another client, which
/// waited for a third of a second, more than once. A client of another address waits for one turn of theirs.
#[tokio::test(start_paused = true)]
async fn few_of_those_who_send_a_lot_have_turns_between_two_looks_at_the_sockets() {
    let filter = "f".repeat(60_000);
    let subscribe = F.subscribe(1, &[&*filter; 16]);
    let half = &subscribe[..subscribe.len() - 1];
    let connected = |address| {
        let setup = Setup::new().address(address);
        setup.connected(Version::V311, admit_all())
    };
    let mut pairs = Vec::new();
    for _ in 0..40 {
        pairs.push(connected([192, 0, 2, 1]).await);
    }
    let other = connected([192, 0, 2, 2]).await;
    let small = connected([192, 0, 2, 1]).await;
    let publish = F.publish("a", 0, 0, &[0; 40_000]);
    for pair in &pairs {
        pair.client.send(half);
    }
    let left = || pairs.iter().map(|it| it.client.unread()).sum::<usize>();
    let mut before = left();
    let mut looks = 0;
    while before > 0 {
        turn().await;
        let now = left();
        let most = match looks {
            0 => pairs.len() * AT_ONCE + TURNS * TURN,
            _ => TURNS * TURN,
        };
        assert!(now < before, "look {looks}");
        assert!(before - now <= most, "{} at look {looks}", before - now);
        (before, looks) = (now, looks + 1);
        // when they wait for each other
        match looks {
            3 => other.client.send(&subscribe),
            // without a turn
            10 => small.client.send(&publish),
            12 => assert_eq!(small.broker.drain().len(), publish.len()),
            20 => assert_eq!(other.broker.drain().len(), subscribe.len()),
            _ => {}
        }
    }
    assert!(looks > 25, "{looks}");
}

/// Or it would hold up who is behind it, and an order would wait for those in front of it.
#[tokio::test(start_paused = true)]
async fn a_session_that_waits_for_its_turn_ends_when_it_is_told_to() {
    let flood = F.publish("a", 0, 0, &[0; 1000]).repeat(2000);
    let mut pairs = Vec::new();
    for _ in 0..40 {
        pairs.push(Setup::new().connected(Version::V311, admit_all()).await);
    }
    for pair in &pairs {
        pair.client.send(&flood);
    }
    turn().await;
    turn().await;
    let last = pairs.pop().expect("forty");
    assert!(last.client.unread() > 0);
    last.handle.close(Order::kick());
    for _ in 0..3 {
        turn().await;
    }
    assert!(last.client.is_ended(), "it waits for others");
    for pair in pairs {
        assert_bytes(&pair.broker.take().await, &flood, "all of it");
    }
}
