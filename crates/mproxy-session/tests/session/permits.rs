//! Waiting for a permit is not hanging: time in `poll_ready` is not the hook's time.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mproxy_codec::{ConnectBuilder, KindSet, Version};
use mproxy_session::{
    Admission, AuthorizeLayer, BoxError, CloseReason, Connect, ConnectRefusal, Forward, Handler,
    HandlerLayer, Hooks, Packet, PacketService, Peer, Tap, new_hooks,
};
use tokio::sync::Notify;
use tokio_test::task;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::frames::ConnectParts;
use crate::support::hooks::{Gate, Seen, by_topic};
use crate::support::{Frames, Setup, admit, admit_all, hex, settle};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const F: Frames = Frames(Version::V5);

/// Two packets a minute.
fn limited<S: PacketService>(inner: S) -> impl PacketService {
    ServiceBuilder::new()
        .rate_limit(2, Duration::from_secs(60))
        .service(inner)
}

/// `rate_limit(100, 60 s)` closed the session after the five seconds that a hook has for one packet: a
/// client that was too fast was thrown out with 0x83 instead of being slowed down.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_of_a_minute_pauses_reading_and_closes_nothing() {
    for version in VERSIONS {
        for up in [true, false] {
            let f = Frames(version);
            let pair = Setup::new()
                .connected(
                    version,
                    admit(|_| {
                        let tap = || Tap::only(KindSet::PUBLISH, limited(Forward));
                        Hooks::new(tap(), tap())
                    }),
                )
                .await;
            let (from, to) = if up {
                (&pair.client, &pair.broker)
            } else {
                (&pair.broker, &pair.client)
            };
            let sent: Vec<_> = (0..5).map(|n| f.publish("a", 0, 0, &[n])).collect();
            from.send(&sent.concat());
            to.expect(&sent[..2].concat()).await;
            // what comes now is not read: the sender's socket fills up
            from.send(&f.publish("a", 0, 0, b"later"));
            settle().await;
            assert!(from.unread() > 0, "{version} up {up}");
            for more in sent[2..].chunks(2) {
                tokio::time::advance(Duration::from_secs(59)).await;
                to.expect(b"").await;
                // the other direction goes on, and keeps the connection alive
                let ping = if up { f.pingresp() } else { f.pingreq() };
                to.send(&ping);
                from.expect(&ping).await;
                tokio::time::advance(Duration::from_secs(2)).await;
                let mut wanted = more.concat();
                if more.len() == 1 {
                    wanted.extend(f.publish("a", 0, 0, b"later"));
                }
                to.expect(&wanted).await;
            }
            assert!(pair.is_running());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permit_timeout_closes_and_names_itself() {
    for up in [true, false] {
        let setup = Setup::new().limits(|l| l.permit_timeout = Some(Duration::from_secs(20)));
        let pair = setup
            .connected(
                Version::V5,
                admit(|_| {
                    let tap = || Tap::only(KindSet::PUBLISH, limited(Forward));
                    Hooks::new(tap(), tap())
                }),
            )
            .await;
        let from = if up { &pair.client } else { &pair.broker };
        from.send(&F.publish("a", 0, 0, b"x").repeat(3));
        settle().await;
        tokio::time::advance(Duration::from_secs(19)).await;
        settle().await;
        assert!(pair.is_running());
        tokio::time::advance(Duration::from_secs(2)).await;
        let summary = pair.summary().await;
        assert_eq!(summary.reason, CloseReason::HookFailed);
        assert_eq!(summary.limit, Some("permit_timeout"));
        let detail = summary.detail.as_deref();
        assert_eq!(detail, Some("the hooks had no permit for a packet in time"));
    }
}

/// The clock of a hook starts when it has the packet, and stops it as before.
#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_in_its_future_is_closed_after_hook_timeout() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let stack = limited(by_topic(&Gate::new(), &Seen::default()));
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    let fast = F.publish("a", 0, 0, b"x").repeat(2);
    pair.client
        .send(&[&fast[..], &F.publish("never", 0, 0, b"x")].concat());
    pair.broker.expect(&fast).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    settle().await;
    assert!(pair.is_running(), "it waits for its permit");
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(pair.is_running(), "it has been asked for a second");
    tokio::time::advance(Duration::from_secs(5)).await;
    let summary = pair.summary().await;
    assert_eq!(summary.limit, Some("hook_timeout"));
    assert_eq!(summary.detail.as_deref(), Some("a hook took too long"));
}

/// A CONNECT, and a will, wait for their permit alike: not as long as a packet may, because a client that
/// waits for CONNACK cannot be seen to be gone, and would be dialled for when its permit comes.
#[tokio::test(start_paused = true)]
async fn connect_and_will_wait_for_a_permit_as_long_as_for_connect() {
    let gate = Gate::new();
    let held = gate.clone();
    let stage = ServiceBuilder::new()
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(1))
        .service(service_fn(move |connect: Connect| {
            let gate = held.clone();
            async move {
                let first = connect.packet().client_id() == "first";
                if first {
                    gate.pass().await;
                }
                Ok::<_, BoxError>(Admission::admit(connect, Hooks::none()))
            }
        }));
    let patient = || Setup::new().limits(|l| l.hook_timeout = Duration::from_secs(100));
    let first = patient().start(stage.clone());
    first.client.send(&F.connect("first"));
    settle().await;
    let second = Setup::new()
        .limits(|l| l.connect_timeout = Duration::from_secs(1000))
        .start(stage.clone());
    second.client.send(&F.connect("second"));
    let impatient = Setup::new().start(stage.clone());
    impatient.client.send(&F.connect("fourth"));
    let limited = Setup::new()
        .limits(|l| l.permit_timeout = Some(Duration::from_secs(7)))
        .start(stage);
    limited.client.send(&F.connect("third"));
    settle().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    settle().await;
    assert!(second.is_running());
    let summary = limited.summary().await;
    assert_eq!(summary.limit, Some("permit_timeout"));
    let summary = impatient.summary().await;
    assert_eq!(summary.limit, Some("connect_timeout"));
    gate.open(1);
    first.broker.expect(&F.connect("first")).await;
    second.broker.expect(&F.connect("second")).await;

    // the hooks of each session: one permit is used up before the will comes
    let will = |client_id| {
        F.connect_with(&ConnectParts {
            client_id,
            will: Some(("a", b"x")),
            ..Default::default()
        })
    };
    for limit in [None, Some(Duration::from_secs(20))] {
        let setup = Setup::new().limits(|l| {
            l.permit_timeout = limit;
            l.connect_timeout = Duration::from_secs(50);
        });
        let pair = setup.start(admit(|_| {
            Hooks::new(Tap::only(KindSet::PUBLISH, NotBefore::new(40)), Tap::none())
        }));
        pair.client.send(&will("c"));
        settle().await;
        tokio::time::advance(Duration::from_secs(30)).await;
        settle().await;
        tokio::time::advance(Duration::from_secs(11)).await;
        if limit.is_some() {
            pair.client.expect_plain(&hex("20 03 00 83 00")).await;
            assert_eq!(pair.dials(), 0);
            assert_eq!(pair.end().await.limit, Some("permit_timeout"));
        } else {
            pair.broker.expect(&will("c")).await;
        }
    }
}

/// Ready after so many seconds.
struct NotBefore(std::pin::Pin<Box<tokio::time::Sleep>>, bool);

impl NotBefore {
    fn new(seconds: u64) -> Self {
        Self(
            Box::pin(tokio::time::sleep(Duration::from_secs(seconds))),
            false,
        )
    }
}

impl Service<Packet> for NotBefore {
    type Response = mproxy_session::Verdict;
    type Error = BoxError;
    type Future = std::future::Ready<Result<mproxy_session::Verdict, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.1 {
            std::task::ready!(self.0.as_mut().poll(cx));
            self.1 = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        std::future::ready(Ok(mproxy_session::Verdict::Forward(packet)))
    }
}

struct Nothing;

impl Handler for Nothing {}

/// tower's `RateLimit` is not `Clone`: inside `AuthorizeLayer` and `HandlerLayer` it did not compile, and a
/// clone of another limit would have lost its permit.
#[tokio::test(start_paused = true)]
async fn layers_that_wait_stand_around_limits() {
    fn authorized() -> impl PacketService {
        let ask = AuthorizeLayer::new(|packet: Packet| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(packet)
        });
        ask.layer(limited(Forward))
    }
    let publishes: Vec<_> = (0..3).map(|n| F.publish("a", 1, n + 1, b"x")).collect();
    let in_authorize = Setup::new()
        .connected(
            Version::V5,
            admit(|_| Hooks::new(Tap::only(KindSet::PUBLISH, authorized()), Tap::none())),
        )
        .await;
    let in_handler = Setup::new()
        .connected(
            Version::V5,
            HandlerLayer::new(Nothing).layer(new_hooks(|_| {
                Hooks::new(Tap::only(KindSet::PUBLISH, limited(Forward)), Tap::none())
            })),
        )
        .await;
    for pair in [in_authorize, in_handler] {
        pair.client.send(&publishes.concat());
        tokio::time::sleep(Duration::from_millis(100)).await;
        pair.broker.expect(&publishes[..2].concat()).await;
        tokio::time::advance(Duration::from_secs(58)).await;
        pair.broker.expect(b"").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        pair.broker.expect(&publishes[2]).await;
    }
    // and at the CONNECT stage
    let stage = HandlerLayer::new(Nothing).layer(
        ServiceBuilder::new()
            .rate_limit(1, Duration::from_secs(60))
            .service(admit_all()),
    );
    let pair = Setup::new().connected(Version::V5, stage).await;
    assert!(pair.is_running());
}

/// A time-out outside of `AuthorizeLayer` drops its future while the inner service is ready for it. The
/// permit stays with the service: the next packet has it.
#[tokio::test(start_paused = true)]
async fn a_dropped_question_leaves_the_inner_service_usable() {
    let pair = Setup::new()
        .connected(
            Version::V5,
            admit(|_| {
                let ask = AuthorizeLayer::new(|packet: Packet| async move {
                    let topic = packet.publish().map(|publish| publish.topic().to_owned());
                    if topic.as_deref() == Some("never") {
                        std::future::pending::<()>().await;
                    }
                    Ok(packet)
                });
                let stack = ServiceBuilder::new()
                    .layer(mproxy_session::RefuseErrorsLayer::new())
                    .timeout(Duration::from_secs(1))
                    .layer(ask)
                    .concurrency_limit(1)
                    .service(Forward);
                Hooks::new(Tap::only(KindSet::PUBLISH, stack), Tap::none())
            }),
        )
        .await;
    for id in 1..4 {
        pair.client.send(&F.publish("never", 1, id, b"x"));
        settle().await;
        tokio::time::advance(Duration::from_millis(1100)).await;
        pair.client.expect(&hex(&format!("40 03 000{id} 83"))).await;
        let passes = F.publish("a", 1, id, b"x");
        pair.client.send(&passes);
        pair.broker.expect(&passes).await;
    }
}

/// Lets the client `waits` in when it is told to.
struct Doorman(Arc<Notify>);

impl Handler for Doorman {
    async fn auth_connect(&self, connect: &mut Connect) -> Result<(), ConnectRefusal> {
        if connect.packet().client_id() == "waits" {
            self.0.notified().await;
        }
        Ok(())
    }
}

/// The service inside is kept for one client while the handler thinks about it. A client that was called
/// before took that away when its own admission ended, so that a third was let to a limit that had a
/// permit for one.
#[tokio::test(start_paused = true)]
async fn the_end_of_one_call_does_not_free_what_is_kept_for_another() {
    let connect = |client_id: &str| {
        let packet = ConnectBuilder::new(Version::V5).client_id(client_id);
        Connect::new(packet.build().expect("valid"), Peer::new("test"))
    };
    let (door, admission) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let admitted = Arc::clone(&admission);
    let slow = service_fn(move |connect: Connect| {
        let admitted = Arc::clone(&admitted);
        async move {
            admitted.notified().await;
            Ok::<_, BoxError>(Admission::<Forward, Forward>::admit(connect, Hooks::none()))
        }
    });
    let mut stage = HandlerLayer::new(Doorman(Arc::clone(&door))).layer(slow);

    let mut first = task::spawn(stage.ready().await.expect("ready").call(connect("first")));
    assert!(first.poll().is_pending(), "it is inside");
    let mut second = task::spawn(stage.ready().await.expect("ready").call(connect("waits")));
    assert!(second.poll().is_pending(), "the handler has it");
    admission.notify_one();
    assert!(first.poll().is_ready());

    let mut third = task::spawn(stage.ready());
    assert!(
        third.poll().is_pending(),
        "the service is kept for the second"
    );
    door.notify_one();
    assert!(second.poll().is_pending(), "it is inside");
    assert!(third.is_woken());
    assert!(third.poll().is_ready());
}
