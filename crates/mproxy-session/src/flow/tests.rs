use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mproxy_codec::{
    Kind, KindSet, PropertyId, PropertyWriter, QoS, ReasonCode, Value, Version, encode_publish,
};
use tokio::io::duplex;
use tokio::time::Instant;
use tower_service::Service;

use super::asking::Asking;
use super::classify::{Lane, Path};
use super::payload::{Passage, Payload};
use super::subject::{Offered, Subject};
use super::*;
use crate::hook::{Forward, Packet, Verdict};
use crate::latency::Latency;
use crate::limits::Limits;
use crate::recorder::{Batch, NoRecorder};
use crate::rules::tests::rules;
use crate::rules::{HookTraits, Rules};

const UP: Direction = Direction::ToServer;

/// What a direction is pumped with.
struct World {
    rules: Rules,
    to_sender: Outbox,
    batch: Batch,
    latency: Latency,
    work: u32,
    now: Option<Instant>,
}

impl World {
    fn new() -> Self {
        let mut rules = rules(Version::V311, Limits::default());
        rules.phase.connack = Some(ReasonCode::SUCCESS);
        Self {
            rules,
            to_sender: Outbox::default(),
            batch: Batch::default(),
            latency: Latency::default(),
            work: WORK,
            now: None,
        }
    }

    fn with<T>(&mut self, run: impl FnOnce(&mut Cx<'_, '_>) -> T) -> T {
        let hooks = HookTraits {
            growth: 0,
            follow_aliases: false,
            blind_to_auth: false,
        };
        let task = &mut Context::from_waker(Waker::noop());
        let mut cx = Cx::new(
            &mut self.rules,
            &mut self.to_sender,
            &mut self.batch,
            (&mut self.latency, &NoRecorder),
            (task, &mut self.work),
            (hooks, Intake::Free),
        );
        cx.clock = Clock(self.now);
        run(&mut cx)
    }
}

fn publish(topic: &str) -> Bytes {
    encode_publish(Version::V311, topic, QoS::AtMostOnce, 0, &[], b"x").expect("valid")
}

/// A packet that streams through stays in the run, what was postponed follows it, and its sender is
/// answered last.
#[test]
fn a_payload_passes_piece_by_piece() {
    let mut world = World::new();
    let (mut payload, mut out) = (Payload::none(), Outbox::default());
    let answer = Some(Bytes::from_static(b"\x40\x02\x00\x01"));
    payload.begin(6, Passage::Forwarded, answer, &mut out);
    out.push_reply(b"own");
    let mut run = 0..0;
    world.with(|cx| payload.pass(b"abcd", &mut run, &mut out, cx));
    assert_eq!((run.clone(), payload.to_forward()), (0..4, 2));
    assert!(world.to_sender.is_empty() && out.is_empty());
    run = 0..0;
    world.with(|cx| payload.pass(b"efrest", &mut run, &mut out, cx));
    assert_eq!((run, payload.is_passing()), (2..2, false));
    assert_eq!(&out.into_queue()[..], b"efown");
    assert_eq!(world.to_sender.len(), 4);
    assert_eq!((world.batch.bytes, world.batch.injected[4]), (6, 1));
}

#[test]
fn a_payload_that_is_dropped_is_cut_out_of_the_run() {
    let mut world = World::new();
    let (mut payload, mut out) = (Payload::none(), Outbox::default());
    payload.begin(0, Passage::Dropped, None, &mut out);
    assert!(!payload.is_passing(), "nothing is left");
    payload.begin(4, Passage::Dropped, None, &mut out);
    assert!(!out.is_mid_packet() && payload.to_forward() == 0);
    let mut run = 0..3;
    world.with(|cx| payload.pass(b"runlostnext", &mut run, &mut out, cx));
    assert_eq!((run, payload.is_passing()), (7..7, false));
    assert_eq!(&out.into_queue()[..], b"run");
}

/// A message that its receiver leaves waiting has less time left each second, and none in the end.
#[test]
fn what_waits_for_its_receiver_expires() {
    let expiring = |left| {
        let mut properties = PropertyWriter::new();
        let pushed = properties.push(PropertyId::MessageExpiryInterval, Value::U32(left));
        pushed.expect("a number");
        let properties = properties.as_bytes();
        encode_publish(Version::V5, "t", QoS::AtMostOnce, 0, properties, b"x").expect("valid")
    };
    let mut world = World::new();
    world.rules = rules(Version::V5, Limits::default());
    let start = Instant::now();
    let down = Direction::ToClient;
    let mut flow = Flow::new(down, Tap::none(), Inbox::default(), Outbox::new(true));
    let (mut near, _far) = duplex(1);
    let (bytes, task) = (&expiring(10), &mut Context::from_waker(Waker::noop()));
    let both = [&bytes[..], bytes].concat();
    let written = flow
        .out
        .write_through(&mut near, &both, 0, task, &mut Clock(Some(start)));
    assert!(written.expect("one byte is taken"));
    for (seconds, wanted) in [(4, Some(6)), (9, Some(1)), (10, None)] {
        world.now = Some(start + Duration::from_secs(seconds));
        assert!(world.with(|cx| flow.expire_queue(cx)).is_ok());
        let left = wanted.map(expiring).unwrap_or_default();
        assert_eq!(flow.out.len(), bytes.len() - 1 + left.len());
        assert_eq!(world.batch.expired, u32::from(wanted.is_none()));
    }
    let queue = flow.out.into_queue();
    assert_eq!(&queue[..], &bytes[1..], "what is begun is finished");
}

/// Takes permits and gives verdicts as it is told.
#[derive(Clone, Default)]
struct Slow {
    ready: Arc<AtomicBool>,
}

impl Service<Packet> for Slow {
    type Response = Verdict;
    type Error = Infallible;
    type Future = Ready<Result<Verdict, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.ready.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        ready(Ok(Verdict::Forward(packet)))
    }
}

#[test]
fn a_packet_waits_with_the_hooks_and_comes_back_with_what_was_offered() {
    let mut world = World::new();
    let service = Slow::default();
    let mut tap = Tap::only(KindSet::PUBLISH, service.clone());
    let mut asking = Asking::new();
    let frame = publish("t");
    let layout = world.rules.layout(UP, &frame).expect("a layout");
    let offered = Offered::new(UP, &frame, Subject::Publish { layout, left: 0 });
    let packet = Packet::parse(Version::V311, UP, frame.clone()).expect("valid");
    let asked = world.with(|cx| asking.ask(&mut tap, packet, &offered, cx).map_err(|_| ()));
    assert!(matches!(asked, Ok(Poll::Pending)));
    assert_eq!(asking.waits_for(), Some(Wait::Permit));
    assert_eq!(asking.size(), frame.len());
    let since = asking.since();
    assert!(world.with(|cx| asking.poll(&mut tap, cx)).is_pending());
    assert_eq!(asking.since(), since, "it waits since it was first asked");
    service.ready.store(true, Ordering::Relaxed);
    let judged = world.with(|cx| asking.poll(&mut tap, cx));
    let Poll::Ready(Ok(judged)) = judged else {
        panic!("a verdict");
    };
    assert_eq!((Some(judged.2), judged.1.kind()), (since, Kind::Publish));
    let Verdict::Forward(packet) = judged.0 else {
        panic!("forwarded");
    };
    assert!(judged.1.is_untouched(&packet) && !asking.is_waiting());
}

fn name<H: PacketService>(flow: &mut Flow<H>, world: &mut World, bytes: &[u8]) -> &'static str {
    world.with(|cx| {
        let lane = flow.lane(cx);
        match flow.classify(lane, bytes, cx) {
            Ok(Path::Run(run)) if run.packets() == 2 => "a run of two",
            Ok(Path::Run(_)) => "a run",
            Ok(Path::Repeated(_)) => "repeated",
            Ok(Path::Ordinary(_)) => "ordinary",
            Ok(Path::Full(_)) => "full",
            Ok(Path::Incomplete) => "incomplete",
            Err(_) => "an end",
        }
    })
}

#[test]
fn ordinary_packets_are_told_from_others() {
    let mut world = World::new();
    let two = [publish("a"), publish("b")].concat();
    let pingreq = b"\xc0\x00".as_slice();
    let mut bare = Flow::new(UP, Tap::none(), Inbox::default(), Outbox::default());
    assert_eq!(name(&mut bare, &mut world, &two), "a run of two");
    assert_eq!(name(&mut bare, &mut world, pingreq), "full");
    assert_eq!(name(&mut bare, &mut world, b"\xc0"), "incomplete");
    assert_eq!(name(&mut bare, &mut world, b"\x10\x00"), "an end");
    let tap = Tap::only(KindSet::PUBLISH, Forward);
    let mut watched = Flow::new(UP, tap, Inbox::default(), Outbox::default());
    assert_eq!(name(&mut watched, &mut world, &two), "ordinary");
    let deep = publish(&"/".repeat(200));
    assert_eq!(
        name(&mut watched, &mut world, &deep),
        "full",
        "refused there"
    );
    assert_eq!(name(&mut bare, &mut world, &deep), "a run", "nobody counts");
    world.rules.exchanges.answer_locally(1);
    assert_eq!(name(&mut bare, &mut world, &two), "full", "a repetition?");
    assert!(matches!(world.with(|cx| bare.lane(cx)), Lane::Closed));
    world.rules.phase.connack = None;
    assert_eq!(name(&mut bare, &mut world, &two), "an end", "too early");
}

#[test]
fn a_side_that_broke_stays_closed_when_its_cause_is_told() {
    let flow = |broken| {
        let mut flow = Flow::new(UP, Tap::none(), Inbox::default(), Outbox::default());
        flow.sender
            .broke(broken, std::io::ErrorKind::BrokenPipe.into());
        flow
    };
    let mut gone = flow(Side::Client);
    assert!(gone.take_end().is_some() && gone.has_closed());
    assert!(gone.take_end().is_none());
    let mut blocked = flow(Side::Upstream);
    assert!(blocked.take_end().is_some() && !blocked.has_closed());
}
