//! A session that is judged again because the rules have changed.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mproxy_codec::{Direction, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{
    Admission, BoxError, BoxPacketService, CloseReason, Connect, ConnectRefusal, FilterLayer,
    Forward, Handler, HandlerLayer, Hooks, Identity, MemoryBudget, Order, PublishMut, Refusal,
    SessionHandle, SessionInfo, Side, Summary, Tap, When, renew_all,
};
use tokio::time::{advance, sleep};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::support::frames::{ConnectParts, packet, properties, string};
use crate::support::hooks::{Gate, Seen, by_topic, heads_by_topic};
use crate::support::{Frames, Pair, Setup, admit_all, settle};

const F: Frames = Frames(Version::V5);
pub(crate) const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

pub(crate) type Boxed = Hooks<BoxPacketService, BoxPacketService>;
pub(crate) type Answer = Pin<
    Box<
        dyn Future<Output = Result<Admission<BoxPacketService, BoxPacketService>, BoxError>> + Send,
    >,
>;

pub(crate) type Judge = dyn FnMut(Connect) -> Answer + Send;

/// The rules of now, as a server keeps them.
#[derive(Clone)]
pub(crate) struct Rules(Arc<Mutex<Box<Judge>>>);

impl Rules {
    fn new(rules: impl FnMut(Connect) -> Answer + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(rules))))
    }

    /// Rules that admit everybody with these hooks.
    pub(crate) fn admitting(make: impl FnMut(&Connect) -> Boxed + Send + 'static) -> Self {
        Self::new(admitting(make))
    }

    pub(crate) fn change(&self, rules: impl FnMut(Connect) -> Answer + Send + 'static) {
        *self.0.lock().unwrap() = Box::new(rules);
    }

    pub(crate) fn stage(
        &self,
    ) -> impl Service<
        Connect,
        Response = Admission<BoxPacketService, BoxPacketService>,
        Error = BoxError,
        Future = Answer,
    > + Send
    + use<> {
        let rules = self.clone();
        service_fn(move |connect| rules.0.lock().unwrap()(connect))
    }

    /// A session under these rules, whose CONNACK has reached its client.
    pub(crate) async fn connected(&self, version: Version) -> Pair {
        Setup::new().connected(version, self.stage()).await
    }
}

pub(crate) fn admitting(
    mut make: impl FnMut(&Connect) -> Boxed + Send + 'static,
) -> impl FnMut(Connect) -> Answer + Send + 'static {
    move |connect| {
        let hooks = make(&connect);
        Box::pin(std::future::ready(Ok(Admission::admit(connect, hooks))))
    }
}

fn refusing(refusal: ConnectRefusal) -> impl FnMut(Connect) -> Answer + Send + 'static {
    move |_| Box::pin(std::future::ready(Ok(Admission::Refuse(refusal.clone()))))
}

pub(crate) fn no_hooks() -> Boxed {
    let boxed = |forward: Forward| BoxPacketService::new(forward);
    Hooks::none().map(|tap| tap.convert(boxed), |tap| tap.convert(boxed))
}

/// Hooks that judge PUBLISH by its topic, in both directions.
fn judging(gate: &Gate, seen: &Seen) -> Boxed {
    let tap = || {
        let service = BoxPacketService::new(by_topic(gate, seen));
        Tap::only(KindSet::PUBLISH, service)
    };
    Hooks::new(tap(), tap())
}

pub(crate) fn renew(pair: &Pair) {
    pair.handle.renew(1);
}

/// A tap that had no kinds gets some, and loses them again.
#[tokio::test(start_paused = true)]
async fn a_topic_that_was_allowed_is_denied_from_then_on() {
    for version in VERSIONS {
        let f = Frames(version);
        let rules = Rules::admitting(|_| no_hooks());
        let pair = rules.connected(version).await;
        let (allowed, denied) = (f.publish("a", 0, 0, b"x"), f.publish("denied", 0, 0, b"x"));
        let both = [&denied[..], &allowed].concat();
        pair.client.send(&both);
        pair.broker.expect(&both).await;

        let seen = Seen::default();
        let notes = seen.clone();
        rules.change(admitting(move |_| judging(&Gate::new(), &notes)));
        renew(&pair);
        settle().await;
        pair.client.send(&both);
        pair.broker.expect(&allowed).await;
        // deliveries, whatever rules they were subscribed under
        pair.broker.send(&both);
        pair.client.expect(&allowed).await;
        assert_eq!(seen.take(), ["denied", "a", "denied", "a"]);

        rules.change(admitting(|_| no_hooks()));
        renew(&pair);
        pair.client.send(&both);
        pair.broker.expect(&both).await;
        pair.broker.send(&both);
        pair.client.expect(&both).await;
        let summary = pair.end().await;
        assert_eq!((summary.to_server.denied, summary.to_client.denied), (1, 1));
    }
}

/// The will of a client that stayed was judged by the rules at its CONNECT for as long as it stayed: it
/// was published to a topic that was denied since.
#[tokio::test(start_paused = true)]
async fn a_will_that_the_new_rules_refuse_is_forgotten_by_the_broker() {
    for version in VERSIONS {
        for topic in ["a", "denied"] {
            let rules = Rules::admitting(|_| no_hooks());
            let pair = Setup::new().start(rules.stage());
            pair.client
                .send(&Frames(version).connect_with(&ConnectParts {
                    client_id: "c",
                    will: Some((topic, b"x")),
                    ..Default::default()
                }));
            pair.broker.take().await;
            pair.broker.send(&Frames(version).connack());
            pair.client.take().await;
            let seen = Seen::default();
            let notes = seen.clone();
            rules.change(admitting(move |_| judging(&Gate::new(), &notes)));
            renew(&pair);
            settle().await;
            assert_eq!(seen.take(), [topic]);
            if topic == "a" {
                assert!(pair.is_running());
                continue;
            }
            pair.client.expect(b"").await;
            pair.broker.expect(b"\xe0\0").await;
            let summary = pair.end().await;
            assert_eq!(
                (summary.side, summary.reason, summary.to_server.denied),
                (Side::Proxy, CloseReason::RulesChanged, 1)
            );
            assert!(
                summary
                    .detail
                    .is_some_and(|it| it.contains("the client's will"))
            );
        }
    }
}

/// What is remembered of verdicts is of the old rules.
#[tokio::test(start_paused = true)]
async fn verdicts_that_were_remembered_are_forgotten() {
    let asked = Arc::new(AtomicUsize::new(0));
    let remembering = |denied: bool| {
        let asked = Arc::clone(&asked);
        admitting(move |_| {
            let asked = Arc::clone(&asked);
            let judge = FilterLayer::heads(move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                match denied {
                    true => Err(Refusal::new(ReasonCode::NOT_AUTHORIZED)),
                    false => Ok(()),
                }
            });
            let tap = Tap::none();
            let tap = tap.wrap_remembered(KindSet::PUBLISH, Arc::new(|_| ()), |it| judge.layer(it));
            let none = Tap::none().convert(BoxPacketService::new);
            Hooks::new(tap.convert(BoxPacketService::new), none)
        })
    };
    let rules = Rules::new(remembering(false));
    let pair = rules.connected(Version::V5).await;
    let publish = F.publish("a", 1, 1, b"x");
    pair.client.send(&publish.repeat(5));
    pair.broker.expect(&publish.repeat(5)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1, "the others are repeated");
    rules.change(remembering(true));
    renew(&pair);
    pair.client.send(&publish);
    pair.client
        .expect(&F.ack(mproxy_codec::Kind::Puback, 1, 0x87))
        .await;
    pair.broker.expect(b"").await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_session_with_its_reason() {
    for (reason, told) in [
        (ReasonCode::NOT_AUTHORIZED, 0x87),
        (ReasonCode::ADMINISTRATIVE_ACTION, 0x98),
        (ReasonCode::QUOTA_EXCEEDED, 0x97),
        // a DISCONNECT has no word for these
        (ReasonCode::BAD_USER_NAME_OR_PASSWORD, 0x87),
        (ReasonCode::SUCCESS, 0x87),
    ] {
        for version in VERSIONS {
            let f = Frames(version);
            let rules = Rules::admitting(|_| no_hooks());
            let pair = rules.connected(version).await;
            let refusal = ConnectRefusal::new(reason).with_origin("acl");
            rules.change(refusing(refusal));
            renew(&pair);
            pair.client.expect(&f.farewell(told)).await;
            // its will was judged by the old rules: the broker is told to forget it
            pair.broker.expect(b"\xe0\0").await;
            assert!(pair.client.is_ended() && pair.broker.is_ended());
            let summary = pair.end().await;
            assert_eq!(
                (summary.side, summary.reason, summary.to_server.denied),
                (Side::Proxy, CloseReason::AuthDenied, 1)
            );
            assert_eq!(summary.detail.as_deref(), Some("acl"));
        }
    }
}

/// What the rules of now are told of a client.
fn told(connect: &Connect) -> String {
    let packet = connect.packet();
    format!(
        "{} {} {:?} {} {} {} {}",
        packet.version(),
        packet.client_id(),
        packet.user_name(),
        packet.keep_alive(),
        packet.clean_start(),
        packet.is_bridge(),
        connect.is_renewal(),
    )
}

/// Layers change names: what is judged again is what the client sent, and not what they made of it.
#[tokio::test(start_paused = true)]
async fn what_the_client_sent_is_judged() {
    for prefix in ["", "p-"] {
        for version in VERSIONS {
            let seen = Seen::default();
            let notes = seen.clone();
            let rules = Rules::new(move |mut connect: Connect| {
                notes.push(told(&connect));
                let renewed = connect.renewed().map(|it| it.client_id().to_owned());
                notes.push(format!("{renewed:?}"));
                let packet = connect.packet_mut();
                let id = format!("{prefix}{}", packet.client_id());
                packet.set_client_id(&id).unwrap();
                packet.set_user_name(Some("u")).unwrap();
                Box::pin(std::future::ready(Ok(Admission::admit(
                    connect,
                    no_hooks(),
                ))))
            });
            let pair = rules.connected(version).await;
            let session = pair.handle.info().expect("admitted").clone();
            assert_eq!(session.client_id(), format!("{prefix}c"));
            let at_connect = seen.take();
            assert_eq!(at_connect[1], "None");
            for _ in 0..2 {
                renew(&pair);
                settle().await;
                let again = seen.take();
                let (first, again_first) = (&at_connect[0], &again[0]);
                assert_eq!(
                    first.strip_suffix("false"),
                    again_first.strip_suffix("true")
                );
                assert_eq!(again[1], format!("Some(\"{prefix}c\")"));
            }
            assert!(pair.is_running());
            let publish = Frames(version).publish("a", 0, 0, b"x");
            pair.client.send(&publish);
            pair.broker.expect(&publish).await;
        }
    }
}

/// A CONNECT in bytes, of each shape that cannot be built: a bridge, a control character, no client
/// identifier, a session that is kept.
#[tokio::test(start_paused = true)]
async fn a_connect_of_any_shape_is_judged_as_it_was_sent() {
    for (version, level, flags, id) in [
        (Version::V31, 0x83, 2, "c"),
        (Version::V311, 0x84, 0, "c"),
        (Version::V311, 4, 2, ""),
        (Version::V5, 5, 0, ""),
        (Version::V5, 5, 0x80, "a\u{1}b"),
    ] {
        let name = if version == Version::V31 {
            "MQIsdp"
        } else {
            "MQTT"
        };
        let mut body = [&string(name)[..], &[level, flags, 0, 60]].concat();
        if version.is_v5() {
            body.push(0);
        }
        body.extend(string(id));
        if flags & 0x80 != 0 {
            body.extend(string(&"u".repeat(300)));
        }
        let connect = packet(0x10, &body);
        let seen = Seen::default();
        let notes = seen.clone();
        let rules = Rules::admitting(move |connect| {
            notes.push(told(connect));
            notes.push(format!("{:?}", connect.packet().as_bytes()));
            no_hooks()
        });
        let setup = Setup::new().limits(|limits| {
            limits.control_characters = mproxy_session::ControlCharacters::Pass;
        });
        let pair = setup.start(rules.stage());
        pair.client.send(&connect);
        pair.broker.take().await;
        pair.broker.send(&Frames(version).connack());
        pair.client.take().await;
        renew(&pair);
        settle().await;
        let seen = seen.take();
        let (at_connect, again) = (&seen[0], &seen[2]);
        assert_eq!(at_connect.strip_suffix("false"), again.strip_suffix("true"));
        assert_eq!(seen[3], seen[1], "{version} {level:x}");
        assert!(pair.is_running());
    }
}

/// The broker knows a session by its names: it cannot be called otherwise. The client is not told, and
/// comes back.
#[tokio::test(start_paused = true)]
async fn a_session_that_has_another_name_now_connects_again() {
    for change in ["client", "user"] {
        let rules = Rules::admitting(|_| no_hooks());
        let pair = rules.connected(Version::V5).await;
        rules.change(move |mut connect| {
            let packet = connect.packet_mut();
            match change {
                "client" => packet.set_client_id("other").unwrap(),
                _ => packet.set_user_name(Some("other")).unwrap(),
            }
            Box::pin(std::future::ready(Ok(Admission::admit(
                connect,
                no_hooks(),
            ))))
        });
        renew(&pair);
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended());
        let summary = pair.end().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Proxy, CloseReason::RulesChanged)
        );
        let detail = summary.detail.expect("why");
        assert!(detail.contains("another client identifier"), "{detail}");
    }
}

/// The identity that was established with a password is there where the password is not.
#[tokio::test(start_paused = true)]
async fn an_identity_stays_and_so_does_the_session_information() {
    let seen = Seen::default();
    let notes = seen.clone();
    let rules = Rules::new(move |mut connect: Connect| {
        if !connect.is_renewal() {
            connect.set_identity(Identity::new("device 7"));
        }
        notes.push(format!("{:?}", connect.identity().map(|it| &it.name)));
        let same = connect.renewed() == Some(connect.info());
        notes.push(same.to_string());
        Box::pin(std::future::ready(Ok(Admission::admit(
            connect,
            no_hooks(),
        ))))
    });
    let pair = rules.connected(Version::V311).await;
    renew(&pair);
    settle().await;
    let identity = "Some(\"device 7\")";
    assert_eq!(seen.take(), [identity, "false", identity, "true"]);
}

/// A packet that is with the hooks is decided by those that have it, and the next one by the new ones.
#[tokio::test(start_paused = true)]
async fn a_renewal_waits_for_the_packet_that_is_with_the_hooks() {
    for up in [true, false] {
        let gate = Gate::new();
        let (old, new) = (Seen::default(), Seen::default());
        let (old_gate, notes) = (gate.clone(), old.clone());
        let rules = Rules::admitting(move |_| judging(&old_gate, &notes));
        let pair = rules.connected(Version::V5).await;
        let (from, to) = if up {
            (&pair.client, &pair.broker)
        } else {
            (&pair.broker, &pair.client)
        };
        let held = F.publish("held/1", 0, 0, b"x");
        let behind = [F.publish("held/2", 0, 0, b"x"), F.publish("a", 0, 0, b"x")];
        from.send(&[&held[..], &behind[0], &behind[1]].concat());
        settle().await;
        let (new_gate, notes) = (gate.clone(), new.clone());
        rules.change(admitting(move |_| judging(&new_gate, &notes)));
        renew(&pair);
        to.send(&F.publish("b", 0, 0, b"x"));
        settle().await;
        from.expect(b"").await;
        assert_eq!(
            (old.take(), new.take().len()),
            (vec!["held/1".to_owned()], 0)
        );
        gate.open(1);
        to.expect(&held).await;
        let mut judged = new.take();
        judged.sort();
        assert_eq!(judged, ["b", "held/2"], "one in each direction");
        gate.open(1);
        to.expect(&behind.concat()).await;
        from.expect(&F.publish("b", 0, 0, b"x")).await;
        assert_eq!((old.take().len(), new.take()), (0, vec!["a".to_owned()]));
    }
}

/// A stage that waits for something holds traffic up, and loses none.
#[tokio::test(start_paused = true)]
async fn traffic_waits_for_a_stage_that_waits() {
    let gate = Gate::new();
    let rules = Rules::admitting(|_| no_hooks());
    let pair = rules.connected(Version::V5).await;
    let waits = gate.clone();
    rules.change(move |connect| {
        let gate = waits.clone();
        Box::pin(async move {
            gate.pass().await;
            let hooks = judging(&gate, &Seen::default());
            Ok(Admission::admit(connect, hooks))
        })
    });
    renew(&pair);
    settle().await;
    let (a, denied) = (F.publish("a", 0, 0, b"x"), F.publish("denied", 0, 0, b"x"));
    pair.client.send(&[&denied[..], &a].concat());
    pair.broker.send(&[&a[..], &denied].concat());
    pair.client.expect(b"").await;
    pair.broker.expect(b"").await;
    gate.open(1);
    pair.client.expect(&a).await;
    pair.broker.expect(&a).await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_fails_ends_the_session() {
    for (how, detail) in [
        ("hang", "took too long"),
        ("fail", "failed over CONNECT: on purpose"),
        ("panic", "panicked over CONNECT"),
    ] {
        let rules = Rules::admitting(|_| no_hooks());
        let setup = Setup::new().limits(|limits| limits.hook_timeout = Duration::from_secs(2));
        let pair = setup.connected(Version::V5, rules.stage()).await;
        rules.change(move |_| match how {
            "hang" => Box::pin(std::future::pending()),
            "fail" => Box::pin(std::future::ready(Err("on purpose".into()))),
            _ => Box::pin(async { panic!("on purpose") }),
        });
        renew(&pair);
        sleep(Duration::from_secs(3)).await;
        assert!(pair.client.is_ended(), "{how}");
        pair.client.expect(&F.farewell(0x83)).await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::HookFailed, "{how}");
        assert!(summary.detail.unwrap().contains(detail), "{how}");
        assert_eq!(summary.panicked, how == "panic");
    }
}

/// A kick comes through, and a drain waits: what was read is still to be judged.
#[tokio::test(start_paused = true)]
async fn orders_come_while_a_session_is_judged_again() {
    for when in [When::Border, When::Now] {
        let gate = Gate::new();
        let rules = Rules::admitting(|_| no_hooks());
        let pair = rules.connected(Version::V5).await;
        let waits = gate.clone();
        rules.change(move |connect| {
            let gate = waits.clone();
            Box::pin(async move {
                gate.pass().await;
                Ok(Admission::admit(connect, no_hooks()))
            })
        });
        renew(&pair);
        settle().await;
        pair.handle.close(Order::kick().when(when));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(pair.client.is_ended(), when == When::Now);
        gate.open(1);
        pair.client.expect(&F.farewell(0x98)).await;
        assert_eq!(pair.end().await.reason, CloseReason::Kicked);
    }
}

/// Hooks that have CONNACK to see are not replaced before they have seen it.
#[tokio::test(start_paused = true)]
async fn nothing_is_judged_again_before_connack() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let rules = Rules::admitting(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        no_hooks()
    });
    let pair = Setup::new().start(rules.stage());
    renew(&pair);
    pair.client.send(&F.connect("c"));
    pair.broker.take().await;
    renew(&pair);
    settle().await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    pair.broker.send(&F.connack());
    pair.client.expect(&F.connack()).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    settle().await;
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once");
}

/// A generation that a session was judged by already is no news to it.
#[tokio::test(start_paused = true)]
async fn a_session_is_judged_once_by_a_generation() {
    let asked = Arc::new(AtomicUsize::new(0));
    let generation = Arc::new(AtomicUsize::new(3));
    let (count, now) = (Arc::clone(&asked), Arc::clone(&generation));
    let rules = Rules::admitting(move |connect| {
        count.fetch_add(1, Ordering::Relaxed);
        let now = now.load(Ordering::Relaxed);
        connect.handle().set_policy(now.try_into().unwrap());
        no_hooks()
    });
    let pair = rules.connected(Version::V5).await;
    assert_eq!(pair.handle.policy(), 3);
    for (told, wanted) in [(2, 1), (3, 1), (4, 2), (4, 2), (5, 3)] {
        generation.fetch_max(told, Ordering::Relaxed);
        pair.handle.renew(told.try_into().unwrap());
        settle().await;
        assert_eq!(asked.load(Ordering::Relaxed), wanted, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn notices_of_the_end_run_once_each() {
    let seen = Seen::default();
    let count = Arc::new(AtomicUsize::new(0));
    let notes = seen.clone();
    let rules = Rules::admitting(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        if number == 2 {
            return no_hooks();
        }
        let notes = notes.clone();
        no_hooks().on_close(move |_| {
            notes.push(number.to_string());
            std::future::ready(())
        })
    });
    let pair = rules.connected(Version::V5).await;
    for _ in 0..3 {
        renew(&pair);
        settle().await;
    }
    assert_eq!(seen.take(), [""; 0], "the session goes on");
    pair.end().await;
    assert_eq!(seen.take(), ["3", "1", "0"]);
}

/// What layers keep of a client counts, and only what those of now keep.
#[tokio::test(start_paused = true)]
async fn what_new_hooks_keep_counts_in_place_of_what_the_old_ones_kept() {
    let memory = MemoryBudget::new(1 << 20);
    let rules = Rules::admitting(|_| no_hooks().holds(10_000));
    let setup = Setup::new().memory(&memory);
    let pair = setup.connected(Version::V5, rules.stage()).await;
    settle().await;
    let before = pair.handle.held();
    rules.change(admitting(|_| no_hooks().holds(100_000)));
    renew(&pair);
    settle().await;
    let during = pair.handle.held();
    assert!(during > before + 80_000, "{before} {during}");
    rules.change(admitting(|_| no_hooks()));
    renew(&pair);
    settle().await;
    assert_eq!(pair.handle.held(), 0);
}

/// The payload of a PUBLISH that was judged passes, whatever the rules are now; nothing is judged twice.
#[tokio::test(start_paused = true)]
async fn a_large_publish_passes_a_change_of_the_rules() {
    let large = F.publish("denied", 0, 0, &vec![7; 200_000]);
    let next = F.publish("denied", 0, 0, b"x");
    for up in [true, false] {
        let rules = Rules::admitting(|_| no_hooks());
        let pair = rules.connected(Version::V5).await;
        let (from, to) = if up {
            (&pair.client, &pair.broker)
        } else {
            (&pair.broker, &pair.client)
        };
        from.send(&large[..100_000]);
        to.expect(&large[..100_000]).await;
        rules.change(admitting(|_| judging(&Gate::new(), &Seen::default())));
        renew(&pair);
        settle().await;
        from.send(&[&large[100_000..], &next].concat());
        to.expect(&large[100_000..]).await;
    }
}

/// A PUBLISH that is not whole was not judged: the rules of now judge it, also where they need not have
/// it whole, and where the old ones did not.
#[tokio::test(start_paused = true)]
async fn a_publish_that_is_not_whole_is_judged_by_the_new_rules() {
    let (whole, heads, none) = (0, 1, 2);
    let hooks = |how, seen: &Seen| {
        let gate = Gate::new();
        let client = match how {
            0 => Tap::only(
                KindSet::PUBLISH,
                BoxPacketService::new(by_topic(&gate, seen)),
            ),
            1 => Tap::only(KindSet::PUBLISH, heads_by_topic(&gate, seen))
                .head_only()
                .convert(BoxPacketService::new),
            _ => Tap::none().convert(BoxPacketService::new),
        };
        Hooks::new(client, Tap::none().convert(BoxPacketService::new))
    };
    for (before, after) in [(whole, heads), (whole, none), (none, whole), (heads, whole)] {
        for size in [1000, 200_000] {
            let rules = Rules::admitting(move |_| hooks(before, &Seen::default()));
            let pair = rules.connected(Version::V5).await;
            let publish = F.publish("a", 0, 0, &vec![7; size]);
            // topic and length, and of a PUBLISH that streams no more
            let cut = if before == whole {
                publish.len() / 2
            } else {
                4
            };
            pair.client.send(&publish[..cut]);
            settle().await;
            pair.broker.expect(b"").await;
            let seen = Seen::default();
            let notes = seen.clone();
            rules.change(admitting(move |_| hooks(after, &notes)));
            renew(&pair);
            settle().await;
            pair.client.send(&publish[cut..]);
            let next = F.publish("b", 0, 0, b"x");
            pair.client.send(&next);
            pair.broker.expect(&[&publish[..], &next].concat()).await;
            let judged = if after == none {
                vec![]
            } else {
                vec!["a", "b"]
            };
            assert_eq!(seen.take(), judged, "{before} {after} {size}");
        }
    }
}

/// A QoS 2 PUBLISH was dropped, and the proxy answered it. Sent again when nobody looked any more, it was
/// answered again and did not go on; but what its alias stood for was taken for told. The next PUBLISH
/// with the alias went to the topic of before.
#[tokio::test(start_paused = true)]
async fn an_alias_of_a_publish_that_is_answered_again_is_not_taken_for_told() {
    let rules = Rules::admitting(|_| judging(&Gate::new(), &Seen::default()));
    let connack = F.connack_with(
        0,
        &properties(&[(PropertyId::TopicAliasMaximum, Value::U16(8))]),
    );
    let pair = Setup::new().start(rules.stage());
    pair.open(&F.connect("c"), &connack).await;
    let dropped = F.publish("dropped", 2, 1, b"x");
    pair.client.send(&dropped);
    pair.client.expect(&F.pubrec(1)).await;

    rules.change(admitting(|_| no_hooks()));
    renew(&pair);
    settle().await;
    let first = F.aliased("before", 4, b"x");
    pair.client.send(&first);
    pair.broker.expect(&first).await;
    let alias = properties(&[(PropertyId::TopicAlias, Value::U16(4))]);
    pair.client
        .send(&Frames::again(F.publish_with("after", 2, 1, &alias, b"x")));
    pair.client.expect(&F.pubrec(1)).await;
    pair.client.send(&F.aliased("", 4, b"y"));
    pair.broker.expect(&F.aliased("after", 4, b"y")).await;
    pair.end().await;
}

/// The same of one that waited behind the hooks until it had expired, and nobody looked any more.
#[tokio::test(start_paused = true)]
async fn an_alias_of_a_publish_that_expired_is_not_taken_for_told() {
    let gate = Gate::new();
    let hooks = gate.clone();
    let rules = Rules::admitting(move |_| judging(&hooks, &Seen::default()));
    let connack = F.connack_with(
        0,
        &properties(&[(PropertyId::TopicAliasMaximum, Value::U16(8))]),
    );
    let pair = Setup::new().start(rules.stage());
    pair.open(&F.connect("c"), &connack).await;
    let first = F.aliased("before", 4, b"x");
    pair.client.send(&first);
    pair.broker.expect(&first).await;
    let held = F.publish("held", 0, 0, b"x");
    let short = properties(&[
        (PropertyId::MessageExpiryInterval, Value::U32(1)),
        (PropertyId::TopicAlias, Value::U16(4)),
    ]);
    let expired = F.publish_with("after", 0, 0, &short, b"x");
    pair.client.send(&[&held[..], &expired].concat());
    settle().await;
    rules.change(admitting(|_| no_hooks()));
    renew(&pair);
    sleep(Duration::from_secs(2)).await;
    gate.open(1);
    pair.broker.expect(&held).await;
    pair.client.send(&F.aliased("", 4, b"y"));
    pair.broker.expect(&F.aliased("after", 4, b"y")).await;
    pair.end().await;
}

/// Where no hook looked at topics, those behind aliases are not known. Rather than have a hook judge an
/// empty topic, the session ends, and the client comes back with its topics.
#[tokio::test(start_paused = true)]
async fn an_alias_from_before_the_rules_ends_the_session_when_it_is_used() {
    for up in [true, false] {
        for renewed in [false, true] {
            let rules = Rules::admitting(|_| no_hooks());
            let pair = Setup::new().start(rules.stage());
            let maximum = properties(&[(PropertyId::TopicAliasMaximum, Value::U16(4))]);
            let connect = F.connect_with(&ConnectParts {
                client_id: "c",
                properties: &maximum,
                ..Default::default()
            });
            pair.open(&connect, &F.connack_with(0, &maximum)).await;
            let (from, to) = if up {
                (&pair.client, &pair.broker)
            } else {
                (&pair.broker, &pair.client)
            };
            let (named, unnamed) = (F.aliased("denied", 1, b"x"), F.aliased("", 1, b"x"));
            from.send(&[&named[..], &unnamed].concat());
            to.expect(&[&named[..], &unnamed].concat()).await;
            rules.change(admitting(|_| judging(&Gate::new(), &Seen::default())));
            if renewed {
                renew(&pair);
                settle().await;
                // one that is bound anew is known
                from.send(&[F.aliased("a", 2, b"x"), F.aliased("", 2, b"x")].concat());
                assert!(!to.take().await.is_empty());
                from.send(&unnamed);
                pair.client.expect(b"").await;
                pair.broker.expect(b"\xe0\0").await;
                assert!(pair.client.is_ended());
                let summary = pair.end().await;
                assert_eq!(
                    (summary.side, summary.reason),
                    (Side::Proxy, CloseReason::RulesChanged)
                );
            } else {
                from.send(&unnamed);
                to.expect(&unnamed).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_sessions_are_renewed_at_once() {
    let judged = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&judged);
    let rules = Rules::admitting(move |connect| {
        connect.handle().set_policy(1);
        if connect.is_renewal() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        no_hooks()
    });
    let mut pairs = Vec::new();
    for _ in 0..200 {
        pairs.push(rules.connected(Version::V311).await);
    }
    let handles = || pairs.iter().map(|pair| pair.handle.clone());
    renew_all(handles(), 1).await;
    settle().await;
    assert_eq!(judged.load(Ordering::Relaxed), 0, "of that generation");
    // others have their turns in between: without a pause, a worker kept its core for milliseconds
    let mut most = 0;
    let renewing = tokio::spawn(renew_all(handles().collect::<Vec<_>>(), 2));
    while !renewing.is_finished() {
        let before = judged.load(Ordering::Relaxed);
        advance(Duration::from_micros(500)).await;
        most = most.max(judged.load(Ordering::Relaxed) - before);
    }
    settle().await;
    assert_eq!(judged.load(Ordering::Relaxed), 200);
    assert!((1..=64).contains(&most), "{most}");
}

/// A handle whose session is over, or does not run, is not in the way.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_not_judged_again() {
    let rules = Rules::admitting(|_| no_hooks());
    let pair = rules.connected(Version::V5).await;
    let handle = pair.handle.clone();
    pair.client.send(&F.disconnect());
    pair.end().await;
    renew_all([handle.clone(), SessionHandle::new()], 7).await;
    assert!(handle.is_closed());
    assert_eq!(handle.traffic(Direction::ToServer).packets, 2);
}

/// A handler is told of a client once, and of its end once.
#[tokio::test(start_paused = true)]
async fn a_handler_is_told_of_a_client_and_of_its_end_once() {
    struct Told(Seen);
    impl Handler for Told {
        async fn auth_connect(&self, connect: &mut Connect) -> Result<(), ConnectRefusal> {
            self.0.push(format!("auth {}", connect.is_renewal()));
            Ok(())
        }
        async fn connect(&self, _: &SessionInfo) {
            self.0.push("connect");
        }
        async fn publish(&self, _: &SessionInfo, _: &PublishMut) {
            self.0.push("publish");
        }
        async fn disconnect(&self, _: &SessionInfo, _: &Summary) {
            self.0.push("disconnect");
        }
    }
    let seen = Seen::default();
    let stage = HandlerLayer::new(Told(seen.clone())).layer(admit_all());
    let pair = Setup::new().connected(Version::V5, stage).await;
    renew(&pair);
    settle().await;
    pair.client.send(&F.publish("a", 0, 0, b"x"));
    pair.broker.take().await;
    pair.end().await;
    let wanted = [
        "auth false",
        "connect",
        "auth true",
        "publish",
        "disconnect",
    ];
    assert_eq!(seen.take(), wanted);
}
