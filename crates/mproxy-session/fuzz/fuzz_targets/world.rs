//! A session, its two ends, its hooks, and what must hold.
//!
//! ```text
//! client ──sent──> hooks ──judged──> broker        broker ──sent──> hooks ──judged──> client
//! ```
//!
//! In each direction:
//! - hooks are asked about what was sent, in its order, with the topics that aliases stand for;
//!   only a QoS 2 that is sent again may be left out;
//! - what arrives is well-formed, and is what hooks let pass, in order, and nothing else: no byte
//!   of a refused packet;
//! - an acknowledgement arrives at most once for each packet that wants one, whoever made it;
//! - SUBACK and UNSUBACK of one identifier come in the order of the requests, have a code for each
//!   filter, and a refusal where hooks refused.
//!
//! The session is judged again at any moment, by hooks that are offered more or less: of what was not
//! offered for a while, nothing is known but that it arrives once. Shared subscriptions are offered
//! again, and only those that hooks did not refuse. A client is told nothing when rules have changed so
//! that its session cannot go on.
//!
//! Slips are repaired unless the session is strict: what is sent is read as it is meant, and what
//! arrives has none. A client gets no DISCONNECT but the broker's, unless it or a hook is to blame,
//! or an order or a strict session has it told; and the same of a CONNACK.
//!
//! Nothing panics, nothing spins, and once both ends are gone the session ends, and closes both.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mproxy_codec::{Direction, Kind, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{
    Admission, BoxError, BoxPacketService, CloseReason, Conformance, Connect, HeadOnly, Hooks,
    Limits, Order, Packet, PacketService, Peer, ReceiveMaximum, RefusedPublish, Session,
    SessionHandle, Side, Summary, Tap, Verdict, WhenUnreachable, Whole,
};
use tower::service_fn;

use crate::op::{LEVELS, Op, Rules, Say, Script};
use crate::support::frames::{ConnectParts, Frames, properties};
use crate::support::hooks::Gate;
use crate::support::memory::{Wire, connection};
use crate::trace::{Item, Trace};

/// More polls than that in a row, with nothing happening outside, are an endless loop.
const MAX_POLLS: usize = 100_000;

/// Longer than any limit of a session.
const LONG: Duration = Duration::from_secs(600);

/// What shared subscriptions begin with.
const SHARED: &str = "$share/g/";

/// What a hook said about a packet.
#[derive(Debug)]
enum Judged {
    Forward(Item),
    /// Refused, dropped, or all filters refused.
    Kept,
}

/// What hooks of one direction were asked and said.
#[derive(Debug, Default)]
struct Court {
    asked: VecDeque<Item>,
    judged: VecDeque<Judged>,
    /// Requests, with whether each filter was refused.
    requests: VecDeque<(Kind, u16, Vec<bool>)>,
    calls: u32,
    /// Filters were not offered for a while.
    is_blind: bool,
}

type Shared = Arc<Mutex<Court>>;

fn lock(court: &Shared) -> MutexGuard<'_, Court> {
    court.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The item that a hook sees.
fn item<P>(packet: &Packet<P>) -> Item {
    if let Some(publish) = packet.publish() {
        return Item::Publish {
            topic: publish.topic().to_string(),
            qos: publish.qos().as_u8(),
            id: publish.packet_id().unwrap_or(0),
            payload: publish.payload_len(),
        };
    }
    if let Some(subscribe) = packet.subscribe() {
        return Item::Filters {
            kind: Kind::Subscribe,
            id: subscribe.packet_id(),
            filters: subscribe
                .subscriptions()
                .map(|s| s.filter.to_string())
                .collect(),
        };
    }
    let unsubscribe = packet.unsubscribe().expect("no other kind is asked for");
    Item::Filters {
        kind: Kind::Unsubscribe,
        id: unsubscribe.packet_id(),
        filters: unsubscribe.filters().map(|it| it.to_string()).collect(),
    }
}

fn level(topic: &str) -> &str {
    let topic = topic.strip_prefix(SHARED).unwrap_or(topic);
    topic.split('/').next().unwrap_or_default()
}

fn renamed(topic: &str) -> Option<String> {
    (level(topic) == "from").then(|| format!("to/{topic}"))
}

/// Decides by the first level of a topic.
fn hook<P: 'static>(gate: &Gate, court: &Shared) -> impl PacketService<P> + Clone + use<P> {
    let (gate, court) = (gate.clone(), Arc::clone(court));
    service_fn(move |mut packet: Packet<P>| {
        let (gate, court) = (gate.clone(), Arc::clone(&court));
        async move {
            if packet.is_will() {
                // of a CONNECT in random bytes: nothing else is known of it
                return Ok(Verdict::Forward(packet));
            }
            let asked = item(&packet);
            if packet.is_renewal() {
                let is_blind = lock(&court).is_blind;
                packet.map_filters(|filter| {
                    assert!(filter.starts_with(SHARED), "{filter} is not shared");
                    match level(filter) {
                        "denied" if is_blind => Err(ReasonCode::NOT_AUTHORIZED),
                        "denied" => panic!("{filter} was refused"),
                        _ => Ok(None),
                    }
                })?;
                return Ok(Verdict::Forward(packet));
            }
            lock(&court).asked.push_back(asked.clone());
            let Item::Publish { topic, .. } = &asked else {
                let Item::Filters { kind, id, filters } = asked else {
                    unreachable!("PUBLISH or filters");
                };
                let refused: Vec<_> = filters.iter().map(|it| level(it) == "denied").collect();
                packet.map_filters(|filter| match level(filter) {
                    "denied" => Err(ReasonCode::NOT_AUTHORIZED),
                    _ => Ok(renamed(filter)),
                })?;
                let mut court = lock(&court);
                if refused.contains(&false) {
                    court.judged.push_back(Judged::Forward(Item::Filters {
                        kind,
                        id,
                        filters: filters
                            .into_iter()
                            .filter(|it| level(it) != "denied")
                            .map(|it| renamed(&it).unwrap_or(it))
                            .collect(),
                    }));
                } else {
                    court.judged.push_back(Judged::Kept);
                }
                court.requests.push_back((kind, id, refused));
                return Ok::<_, BoxError>(Verdict::Forward(packet));
            };
            let level = level(topic).to_owned();
            if level.starts_with("held") {
                gate.pass().await;
            }
            let mut court = lock(&court);
            court.calls += 1;
            let no = match &*level {
                "denied" | "held-denied" => Some(Verdict::refuse(ReasonCode::NOT_AUTHORIZED)),
                "moody" if court.calls % 2 == 1 => {
                    Some(Verdict::refuse(ReasonCode::QUOTA_EXCEEDED))
                }
                "dropped" => Some(Verdict::Discard),
                "closed" => Some(Verdict::Close(ReasonCode::ADMINISTRATIVE_ACTION)),
                "failed" => return Err("on purpose".into()),
                _ => None,
            };
            if let Some(verdict) = no {
                court.judged.push_back(Judged::Kept);
                return Ok(verdict);
            }
            if let Some(topic) = renamed(topic) {
                packet.set_topic(&topic)?;
            }
            court.judged.push_back(Judged::Forward(item(&packet)));
            Ok(Verdict::Forward(packet))
        }
    })
}

fn tap(
    head_only: bool,
    publish: bool,
    requests: bool,
    gate: &Gate,
    court: &Shared,
) -> Tap<BoxPacketService> {
    let mut kinds = KindSet::NONE;
    if publish {
        kinds = kinds | KindSet::PUBLISH;
    }
    if requests {
        kinds = kinds | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    }
    if head_only {
        let tap = Tap::only(kinds, hook::<HeadOnly>(gate, court)).head_only();
        tap.convert(BoxPacketService::new)
    } else {
        let tap = Tap::only(kinds, hook::<Whole>(gate, court));
        tap.convert(BoxPacketService::new)
    }
}

/// One end of the session, and what is known of what it sends and gets.
#[derive(Debug)]
struct End {
    wire: Wire,
    gate: Gate,
    /// Hooks about what this end sends.
    court: Shared,
    sent: Trace,
    /// What was sent and hooks were not asked about, as far as is known.
    unasked: VecDeque<Item>,
    /// Of this, what stood before something that they were asked about.
    passed: VecDeque<Item>,
    /// What was not offered to hooks for a while.
    blind: KindSet,
    received: Trace,
    /// What came before this end sent a CONNECT that is one.
    early: Vec<u8>,
    /// What has come and wants an answer.
    unanswered: VecDeque<Item>,
    /// How many packets of a kind and identifier may still come.
    credit: BTreeMap<(Kind, u16), i64>,
    /// It answered what nobody asked: then nothing is said about codes.
    rogue: bool,
    /// CONNECT packets that were sent, and the version known; or that have come.
    connects: usize,
    /// What has come of these: to the client from the broker, or from the proxy in its place.
    connacks: usize,
    disconnects: usize,
    /// What was sent of these.
    sent_connacks: usize,
    sent_disconnects: usize,
    is_gone: bool,
}

impl End {
    fn new(wire: Wire, script: &Script, direction: Direction) -> Self {
        let version = script.version;
        Self {
            wire,
            gate: Gate::new(),
            court: Shared::default(),
            sent: Trace::new(version, direction)
                .repairing(!script.strict)
                .early(),
            unasked: VecDeque::new(),
            passed: VecDeque::new(),
            blind: KindSet::NONE,
            received: Trace::new(version, direction.opposite()),
            early: Vec::new(),
            unanswered: VecDeque::new(),
            credit: BTreeMap::new(),
            rogue: false,
            connects: 0,
            connacks: 0,
            disconnects: 0,
            sent_connacks: 0,
            sent_disconnects: 0,
            is_gone: false,
        }
    }

    /// What answers a packet.
    fn answers(item: &Item) -> Option<(Kind, u16)> {
        match item {
            Item::Publish { qos: 1, id, .. } => Some((Kind::Puback, *id)),
            Item::Publish { qos: 2, id, .. } => Some((Kind::Pubrec, *id)),
            Item::Filters {
                kind: Kind::Subscribe,
                id,
                ..
            } => Some((Kind::Suback, *id)),
            Item::Filters { id, .. } => Some((Kind::Unsuback, *id)),
            Item::Answer {
                kind: Kind::Pubrel,
                id,
                ..
            } => Some((Kind::Pubcomp, *id)),
            _ => None,
        }
    }

    /// Sends bytes; `other` may get what answers them, and answers in them.
    fn send(&mut self, bytes: &[u8], other: &mut Self) {
        if self.is_gone {
            return;
        }
        self.wire.send(bytes);
        let items = match self.sent.take(bytes) {
            Ok(items) | Err((items, _)) => items,
        };
        if items.contains(&Item::Other(Kind::Connect)) && self.connects == 0 {
            self.connects = 1;
            let version = self.sent.version;
            self.received.version = version;
            (other.sent.version, other.received.version) = (version, version);
        }
        for item in items {
            if let Some(answer) = Self::answers(&item) {
                *self.credit.entry(answer).or_default() += 1;
            }
            match item {
                Item::Answer { kind, id, .. } => *other.credit.entry((kind, id)).or_default() += 1,
                Item::Other(kind) => {
                    self.sent_connacks += usize::from(kind == Kind::Connack);
                    self.sent_disconnects += usize::from(kind == Kind::Disconnect);
                }
                asked => self.unasked.push_back(asked),
            }
        }
    }

    /// What hooks were asked about is what was sent.
    fn check_asked(&mut self) {
        let asked = std::mem::take(&mut lock(&self.court).asked);
        for asked in asked {
            loop {
                let sent = self.unasked.pop_front();
                let sent =
                    sent.unwrap_or_else(|| panic!("asked about what was not sent: {asked:?}"));
                if sent == asked {
                    break;
                }
                let may_pass = self.blind.contains(kind_of(&sent));
                assert!(
                    may_pass || matches!(sent, Item::Publish { qos: 2, .. }),
                    "left out: {sent:?}, asked: {asked:?}"
                );
                if may_pass {
                    self.passed.push_back(sent);
                }
            }
        }
    }

    /// Takes what hooks have let pass next.
    fn next_judged(&self) -> Option<Item> {
        let judged = &mut lock(&self.court).judged;
        loop {
            match judged.pop_front()? {
                Judged::Kept => {}
                Judged::Forward(next) => break Some(next),
            }
        }
    }

    /// True for what this end sent and hooks need not have been asked about.
    fn take_passed(&mut self, item: &Item) -> bool {
        if !self.blind.contains(kind_of(item)) {
            return false;
        }
        let found = self.passed.iter().position(|it| it == item);
        if let Some(at) = found {
            self.passed.drain(..=at);
            return true;
        }
        let found = self.unasked.iter().position(|it| it == item);
        found.is_some_and(|at| self.unasked.drain(..=at).len() > 0)
    }

    /// Hears what has come from `other`.
    fn hear(&mut self, other: &mut Self, who: &str) -> bool {
        let bytes = self.wire.drain();
        if bytes.is_empty() {
            return false;
        }
        if self.connects == 0 {
            self.early.extend_from_slice(&bytes);
        }
        let items = match self.received.take(&bytes) {
            Ok(items) => items,
            // the refusal of a CONNECT that is none, in what it seems to speak
            Err(_) if self.connects == 0 && is_refusal(&self.early) => return true,
            Err((_, error)) => panic!("{who} got what is malformed: {error:?}, in {bytes:02x?}"),
        };
        for item in items {
            match &item {
                Item::Publish { .. } | Item::Filters { .. } => {
                    let next = other.next_judged();
                    if next.as_ref() != Some(&item) {
                        assert!(
                            other.take_passed(&item),
                            "{who} got it out of order or refused: {item:?}, not {next:?}"
                        );
                        if let Some(next) = next {
                            lock(&other.court).judged.push_front(Judged::Forward(next));
                        }
                    }
                    // whoever gets it answers it
                    if let Some(answer) = Self::answers(&item) {
                        *other.credit.entry(answer).or_default() -= 1;
                    }
                    self.unanswered.push_back(item);
                }
                Item::Answer { kind, id, codes } => {
                    let credit = self.credit.entry((*kind, *id)).or_default();
                    *credit -= 1;
                    assert!(*credit >= 0, "{who} got one {kind} of {id} too many");
                    self.check_codes(*kind, *id, codes, other.rogue);
                    if let Some(answer) = Self::answers(&item) {
                        *other.credit.entry(answer).or_default() -= 1;
                    }
                    if matches!(kind, Kind::Pubrec | Kind::Pubrel | Kind::Pingreq) {
                        self.unanswered.push_back(item);
                    }
                }
                Item::Other(Kind::Connect) => self.connects += 1,
                Item::Other(Kind::Connack) => self.connacks += 1,
                Item::Other(Kind::Disconnect) => self.disconnects += 1,
                Item::Other(_) => {}
            }
        }
        true
    }

    fn check_codes(&self, kind: Kind, id: u16, codes: &[u8], rogue: bool) {
        if !matches!(kind, Kind::Suback | Kind::Unsuback) || rogue {
            return;
        }
        if self.blind.contains(Kind::Subscribe) {
            return; // hooks do not know of all requests
        }
        let requests = &mut lock(&self.court).requests;
        let request = match kind {
            Kind::Suback => Kind::Subscribe,
            _ => Kind::Unsubscribe,
        };
        let found = requests.iter().position(|it| (it.0, it.1) == (request, id));
        let Some((_, _, refused)) = found.and_then(|at| requests.remove(at)) else {
            panic!("{kind} of {id} for no request");
        };
        if codes.is_empty() && kind == Kind::Unsuback {
            return; // MQTT 3.x has none
        }
        assert_eq!(codes.len(), refused.len(), "{kind} of {id}");
        for (code, refused) in codes.iter().zip(refused) {
            assert!(!refused || *code >= 0x80, "{kind} of {id}: {codes:02x?}");
        }
    }
}

const fn kind_of(item: &Item) -> Kind {
    match item {
        Item::Publish { .. } => Kind::Publish,
        Item::Filters { kind, .. } | Item::Answer { kind, .. } | Item::Other(kind) => *kind,
    }
}

/// A CONNACK of some version, with a reason that is none of success.
fn is_refusal(bytes: &[u8]) -> bool {
    [Version::V311, Version::V5].into_iter().any(|version| {
        let connack = Trace::new(version, Direction::ToClient).take(bytes);
        connack.is_ok_and(|items| items == [Item::Other(Kind::Connack)]) && bytes[3] != 0
    })
}

/// Wakes nobody, but remembers.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The session and its ends.
pub(crate) struct World<'a, F> {
    session: Pin<&'a mut F>,
    flag: Arc<Flag>,
    waker: Waker,
    summary: Option<Summary>,
    client: End,
    broker: End,
    handle: SessionHandle,
    rules: Arc<Mutex<Rules>>,
    renewals: u64,
    /// Whether the first order, if there was one, was to tell the client.
    told: Option<bool>,
    frames: Frames,
}

impl World<'_, ()> {
    /// Plays a script to its end, and checks everything.
    pub(crate) async fn play(script: &Script) {
        let (client_socket, client) = connection();
        let (broker_socket, broker) = connection();
        let client = End::new(client, script, Direction::ToServer);
        let broker = End::new(broker, script, Direction::ToClient);
        let mut limits = Limits::default();
        if script.disconnect {
            limits.refused_publish = RefusedPublish::Disconnect;
        }
        if script.strict {
            limits.conformance = Conformance::Strict;
        }
        if script.enforce {
            limits.receive_maximum = ReceiveMaximum::Enforce;
        }
        if script.tells {
            limits.when_unreachable = WhenUnreachable::Connack;
        }
        let handle = SessionHandle::new();
        let courts = [&client, &broker].map(|end| (end.gate.clone(), Arc::clone(&end.court)));
        let rules = Arc::new(Mutex::new(Rules::of(script)));
        let current = Arc::clone(&rules);
        let admit = service_fn(move |connect: Connect| {
            let rules = *current.lock().unwrap_or_else(PoisonError::into_inner);
            let [up, down] = [0, 1].map(|at| {
                let (gate, court) = &courts[at];
                let [publish, requests] = rules.offered[at];
                tap(rules.head_only, publish, requests, gate, court)
            });
            let gate = courts[0].0.clone();
            async move {
                if rules.waits {
                    gate.pass().await;
                }
                Ok::<_, BoxError>(if rules.refuses {
                    Admission::refuse(ReasonCode::NOT_AUTHORIZED)
                } else {
                    Admission::admit(connect, Hooks::new(up, down))
                })
            }
        });
        let session = Session::new(Peer::new("fuzz"))
            .limits(Arc::new(limits))
            .handle(handle.clone())
            .run(client_socket, admit, move |_| async move {
                Ok::<_, std::io::Error>(broker_socket)
            });
        let flag = Arc::<Flag>::default();
        let mut world = World {
            session: pin!(session),
            waker: Waker::from(Arc::clone(&flag)),
            flag,
            summary: None,
            client,
            broker,
            handle,
            rules,
            renewals: 0,
            told: None,
            frames: Frames(script.version),
        };
        if script.connected {
            world.open(script).await;
        }
        for op in &script.ops {
            world.happen(op).await;
            world.settle().await;
        }
        world.end().await;
        world.check_voice(script);
    }
}

impl<F: Future<Output = Summary>> World<'_, F> {
    /// Polls until nothing moves.
    async fn settle(&mut self) {
        loop {
            let mut polls = 0;
            while self.summary.is_none() {
                self.flag.0.store(false, Ordering::Relaxed);
                let mut cx = Context::from_waker(&self.waker);
                if let Poll::Ready(summary) = self.session.as_mut().poll(&mut cx) {
                    self.summary = Some(summary);
                }
                polls += 1;
                assert!(polls < MAX_POLLS, "it spins");
                if !self.flag.0.load(Ordering::Relaxed) {
                    // who has given up a turn is woken when the runtime gets one
                    tokio::task::yield_now().await;
                }
                if !self.flag.0.load(Ordering::Relaxed) {
                    break;
                }
            }
            self.client.check_asked();
            self.broker.check_asked();
            let Self { client, broker, .. } = self;
            let at_broker = broker.hear(client, "the broker");
            let at_client = client.hear(broker, "the client");
            assert!(broker.connects <= 1, "the broker got a second CONNECT");
            if !at_broker && !at_client {
                return;
            }
        }
    }

    fn send(&mut self, client: bool, bytes: &[u8]) {
        if client {
            self.client.send(bytes, &mut self.broker);
        } else {
            self.broker.send(bytes, &mut self.client);
        }
    }

    const fn of(&mut self, client: bool) -> &mut End {
        if client {
            &mut self.client
        } else {
            &mut self.broker
        }
    }

    async fn open(&mut self, script: &Script) {
        let maximum = properties(&[
            (PropertyId::MaximumPacketSize, Value::U32(0x8_0000)),
            (PropertyId::TopicAliasMaximum, Value::U16(script.aliases)),
            (
                PropertyId::ReceiveMaximum,
                Value::U16(script.receive_maximum),
            ),
        ]);
        let connect = self.frames.connect_with(&ConnectParts {
            client_id: "c",
            keep_alive: 60,
            properties: &maximum,
            ..ConnectParts::default()
        });
        self.send(true, &connect);
        self.settle().await;
        self.send(false, &self.frames.connack_with(0, &maximum));
        self.settle().await;
    }

    async fn happen(&mut self, op: &Op) {
        match op {
            Op::Raw(client, bytes) => {
                // it may hold a CONNECT of another version, and answers to nothing
                self.of(*client).rogue = true;
                self.send(*client, bytes);
            }
            Op::Say(client, say) => {
                let bytes = self.say(*client, say);
                self.send(*client, &bytes);
            }
            Op::Answer(client, count) => {
                for _ in 0..=count % 8 {
                    let Some(item) = self.of(*client).unanswered.pop_front() else {
                        break;
                    };
                    let bytes = self.answer(&item);
                    self.send(*client, &bytes);
                }
            }
            Op::Open(client, hooks) => self.of(*client).gate.open(usize::from(*hooks % 8)),
            Op::Pieces(client, sizes) => {
                let sizes = sizes.iter().map(|size| usize::from(*size));
                self.of(*client).wire.set_chunks(sizes, usize::MAX);
            }
            Op::Capacity(client, bytes) => {
                let capacity = match bytes {
                    255 => usize::MAX,
                    bytes => usize::from(*bytes) * 8,
                };
                self.of(*client).wire.set_capacity(capacity);
            }
            Op::Finish(client) => {
                self.of(*client).wire.finish();
                self.of(*client).is_gone = true;
            }
            Op::Reset(client) => {
                self.of(*client).wire.reset();
                self.of(*client).is_gone = true;
            }
            Op::Advance(milliseconds) => {
                tokio::time::advance(Duration::from_millis((*milliseconds).into())).await;
            }
            Op::Renew(rules) => {
                for (end, [publish, requests]) in [&mut self.client, &mut self.broker]
                    .into_iter()
                    .zip(rules.offered)
                {
                    if !publish {
                        end.blind = end.blind | KindSet::PUBLISH;
                    }
                    if !requests {
                        end.blind = end.blind | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
                        lock(&end.court).is_blind = true;
                    }
                }
                *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = *rules;
                self.renewals += 1;
                self.handle.renew(self.renewals);
            }
            Op::Stop { told } => {
                // the first order counts
                let told = *self.told.get_or_insert(*told);
                let order = Order::drain(true);
                let order = if told { order.with_notice() } else { order };
                self.handle.close(order);
            }
        }
    }

    fn say(&mut self, client: bool, say: &Say) -> Vec<u8> {
        let f = self.frames;
        let id = |id: u8| u16::from(id % 8) + 1;
        let filters = |levels: &[u8]| -> Vec<String> {
            let levels = if levels.is_empty() { &[0][..] } else { levels };
            let level = |byte: &u8| LEVELS[usize::from(*byte) % LEVELS.len()];
            levels
                .iter()
                .map(|byte| {
                    let shared = if *byte < 0xc0 { "" } else { SHARED };
                    format!("{shared}{}/{}", level(byte), byte % 7)
                })
                .collect()
        };
        match say {
            Say::Publish {
                level,
                name,
                qos,
                id: number,
                dup,
                alias,
                payload,
            } => {
                let mut topic = format!("{}/{name}", LEVELS[usize::from(*level) % LEVELS.len()]);
                let mut block = Vec::new();
                if *alias > 0 && f.0.is_v5() {
                    let value = Value::U16(u16::from(alias % 8));
                    if alias % 8 > 0 {
                        block = properties(&[(PropertyId::TopicAlias, value)]);
                    }
                    if *alias >= 8 {
                        topic.clear();
                    }
                }
                let payload = vec![b'.'; usize::from(*payload) * 2];
                let publish = f.publish_with(&topic, *qos, id(*number), &block, &payload);
                if *dup {
                    Frames::again(publish)
                } else {
                    publish
                }
            }
            Say::Subscribe(number, levels) => {
                let filters = filters(levels);
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                f.subscribe(id(*number), &filters)
            }
            Say::Unsubscribe(number, levels) => {
                let filters = filters(levels);
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                f.unsubscribe(id(*number), &filters)
            }
            Say::Ack(kind, number, code) => {
                let kinds = [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp];
                let code = if *code < 0xc0 || !f.0.is_v5() {
                    0
                } else {
                    0x87
                };
                let kind = kinds[usize::from(kind % 4)];
                let code = if matches!(kind, Kind::Puback | Kind::Pubrec) {
                    code
                } else {
                    0
                };
                f.ack(kind, id(*number), code)
            }
            Say::Ping if client => f.pingreq(),
            Say::Ping => f.pingresp(),
            Say::Connect => f.connect("c2"),
            Say::Connack(code) => f.connack_with(if *code < 0xc0 { 0 } else { 0x87 }, &[]),
            Say::Suback(number, codes) => {
                self.of(client).rogue = true;
                let codes: Vec<_> = codes.iter().map(|code| code % 3).collect();
                f.suback(id(*number), if codes.is_empty() { &[0] } else { &codes })
            }
            Say::Disconnect => f.disconnect(),
            Say::Flags(flags, say) => {
                let mut packet = self.say(client, say);
                packet[0] ^= flags;
                packet
            }
        }
    }

    fn answer(&self, item: &Item) -> Vec<u8> {
        let f = self.frames;
        match item {
            Item::Publish { qos: 1, id, .. } => f.puback(*id),
            Item::Publish { qos: 2, id, .. } => f.pubrec(*id),
            Item::Filters {
                kind: Kind::Subscribe,
                id,
                filters,
            } => f.suback(*id, &vec![1; filters.len()]),
            Item::Filters { id, filters, .. } => {
                f.unsuback(*id, &vec![0; if f.0.is_v5() { filters.len() } else { 0 }])
            }
            Item::Answer {
                kind: Kind::Pubrec,
                id,
                codes,
            } if codes[0] < 0x80 => f.pubrel(*id),
            Item::Answer {
                kind: Kind::Pubrel,
                id,
                ..
            } => f.pubcomp(*id),
            Item::Answer {
                kind: Kind::Pingreq,
                ..
            } => f.pingresp(),
            _ => Vec::new(),
        }
    }

    /// The proxy speaks in its own voice where a hook refused, where the client broke the protocol,
    /// and on an order that says so.
    fn check_voice(&self, script: &Script) {
        let summary = self.summary.as_ref().expect("the session ended");
        let speaks = match (summary.side, summary.reason) {
            (Side::Upstream, _)
            | (_, CloseReason::UpstreamUnreachable | CloseReason::RulesChanged) => false,
            (_, CloseReason::Drain) => self.told == Some(true),
            (
                Side::Proxy,
                CloseReason::KeepaliveTimeout
                | CloseReason::PacketTimeout
                | CloseReason::WriteTimeout,
            ) => script.strict,
            _ => true,
        };
        let (client, broker) = (&self.client, &self.broker);
        let own_disconnect = client.disconnects > broker.sent_disconnects;
        assert!(speaks || !own_disconnect, "DISCONNECT after {summary:?}");
        // of a broker that failed before CONNACK, where it is to be told
        let speaks = speaks || script.tells && summary.side != Side::Client;
        let own_connack = client.connacks > broker.sent_connacks;
        assert!(speaks || !own_connack, "CONNACK after {summary:?}");
    }

    /// Both ends go: nothing must hold the session any longer than its limits.
    async fn end(&mut self) {
        for client in [true, false] {
            self.of(client).wire.finish();
            self.of(client).is_gone = true;
        }
        self.settle().await;
        for _ in 0..16 {
            if self.summary.is_some() {
                break;
            }
            tokio::time::advance(LONG).await;
            self.settle().await;
        }
        let summary = self.summary.as_ref().expect("the session ends");
        assert_ne!(summary.reason, CloseReason::Internal, "{summary:?}");
        assert!(
            self.client.wire.is_ended(),
            "the client's connection is left open"
        );
        if self.broker.connects > 0 {
            assert!(
                self.broker.wire.is_ended(),
                "the broker's connection is left open"
            );
        }
    }
}
