//! Clients that do not give up: they connect again whenever a connection ends, and take their
//! session up where it was, as the standard tells clients to whose messages matter.
//!
//! Publishers count. Of what they send, subscribers know what must come next, so that a loss, a
//! duplicate and a wrong order are seen as soon as they happen:
//!
//! - QoS 1: each number follows the one before it, or has been there already;
//! - QoS 2: each number follows the one before it. One that was released and comes again with DUP
//!   is counted, and not held against anybody: mosquitto 2.0.11 does so now and then, when a second
//!   connection breaks while it takes a session up; with HAProxy in front of it, too.
//!
//! A broker that does not keep to this by itself is held to less: [`Promise`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::deadline::within;
use crate::link::Link;
use crate::wire::{
    Connect, Message, PINGREQ, Packet, Publish, Version, puback, pubcomp, pubrec, pubrel, suback,
    subscribe,
};

/// Messages of one publisher that wait for an acknowledgement.
const WINDOW: usize = 6;

/// How many more messages may be acknowledged than a subscriber has got to their end. In a session they
/// share 65,535 identifiers, and mosquitto 2.0.11 does not look whether one is free: it gives a message the
/// identifier of another that is not released, which a subscriber must take for the same message again. It
/// reads one packet of each client in turn, so that with many publishers the PUBRECs of a subscriber wait
/// in its socket by the ten thousands. Clients that come directly see it, too, if nothing holds them back.
const LEAD: u64 = 200;

/// Before a client that was refused comes again.
const PAUSE: Duration = Duration::from_millis(10);

/// How long nothing comes to a subscriber that waits for something: longer than a broker is made to
/// stand still, and less than anything else is waited for.
const SILENCE: Duration = Duration::from_secs(20);

/// How long without an acknowledgement nothing moves.
const STILL: Duration = Duration::from_millis(100);

/// Publishers, subscribers, and where they find the broker.
#[derive(Debug)]
pub struct Load {
    address: watch::Sender<SocketAddr>,
    enough: watch::Sender<bool>,
    last: watch::Sender<Option<Counts>>,
    acknowledged: watch::Receiver<u64>,
    /// Where each subscriber has its session back.
    back: watch::Receiver<HashMap<usize, SocketAddr>>,
    publishers: JoinSet<(Key, Key, u32, u32)>,
    subscribers: JoinSet<Outcome>,
}

/// What a broker keeps to when nothing is in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing is lost, nothing of QoS 2 comes twice, nothing comes out of order.
    Everything,
    /// Nothing is lost.
    NoLoss,
}

/// A publisher and a QoS.
type Key = (usize, u8);

/// The last number of each.
type Counts = HashMap<Key, u32>;

/// What came of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Messages that the broker acknowledged.
    pub acknowledged: u64,
    /// Deliveries of QoS 1 that had been there already.
    pub repeated: u64,
    /// Deliveries of QoS 2 that had been there already, and had been released.
    pub released: u64,
}

impl Load {
    /// Starts clients, of MQTT 3.1.1 and 5.0 in turns, at `address`. Every subscriber gets every
    /// message.
    ///
    /// # Panics
    /// If they cannot connect.
    pub async fn start(
        address: SocketAddr,
        publishers: usize,
        subscribers: usize,
        promise: Promise,
    ) -> Self {
        let (address, place) = watch::channel(address);
        let (enough, stop) = watch::channel(false);
        let (last, target) = watch::channel(None);
        let (counter, acknowledged) = watch::channel(0);
        let (deliveries, delivered) = watch::channel(vec![0; subscribers]);
        let (comers, back) = watch::channel(HashMap::new());
        let mut load = Self {
            address,
            enough,
            last,
            acknowledged,
            back,
            publishers: JoinSet::new(),
            subscribers: JoinSet::new(),
        };
        let version = |number: usize| [Version::V311, Version::V5][number % 2];
        for number in 0..subscribers {
            let connect = Connect::new(version(number), &format!("subscriber-{number}"));
            let mut subscriber = Subscriber {
                number,
                session: Session::new(connect, place.clone()),
                promise,
                seen: Counts::new(),
                early: BTreeSet::new(),
                unreleased: HashMap::new(),
                came: 0,
                outcome: Outcome::default(),
                delivered: deliveries.clone(),
                back: comers.clone(),
            };
            // before anything is published
            let link = within("subscriptions", subscriber.subscribe()).await;
            let target = target.clone();
            load.subscribers.spawn(subscriber.run(link, target));
        }
        for number in 0..publishers {
            let connect = Connect::new(version(number), &format!("publisher-{number}"));
            let publisher = Publisher {
                number,
                session: Session::new(connect, place.clone()),
                waiting: VecDeque::new(),
                next: [1, 1],
                id: 0,
                enough: stop.clone(),
                acknowledged: counter.clone(),
                delivered: delivered.clone(),
            };
            load.publishers.spawn(publisher.run());
        }
        load
    }

    /// From now on the broker is found here.
    pub fn moved(&self, address: SocketAddr) {
        self.address.send_replace(address);
    }

    /// Waits until every subscriber has its session back, where the broker is found now: what it had
    /// not acknowledged was sent again.
    ///
    /// # Panics
    /// If one has not.
    pub async fn resumed(&mut self) {
        let mut back = self.back.clone();
        let (address, subscribers) = (*self.address.borrow(), self.subscribers.len());
        let all = |back: &HashMap<_, _>| back.values().filter(|it| **it == address).count();
        tokio::select! {
            all = within("sessions", back.wait_for(|it| all(it) == subscribers)) => {
                all.expect("the subscribers are there");
            }
            ended = self.subscribers.join_next() => panic!("a subscriber ended: {ended:?}"),
        }
    }

    /// Waits until so many more messages are acknowledged.
    ///
    /// # Panics
    /// If they are not: nothing moves any more.
    pub async fn progress(&mut self, messages: u64) {
        let target = *self.acknowledged.borrow() + messages;
        let mut acknowledged = self.acknowledged.clone();
        tokio::select! {
            reached = within("progress", acknowledged.wait_for(|it| *it >= target)) => {
                reached.expect("the publishers are there");
            }
            // only a failure ends them before they are told to
            ended = self.publishers.join_next() => panic!("a publisher ended: {ended:?}"),
            ended = self.subscribers.join_next() => panic!("a subscriber ended: {ended:?}"),
        }
    }

    /// Waits until nothing is acknowledged any more.
    pub async fn stalled(&mut self) {
        let mut acknowledged = self.acknowledged.clone();
        while tokio::time::timeout(STILL, acknowledged.changed())
            .await
            .is_ok()
        {}
    }

    /// No more messages: waits until every message is acknowledged, and has arrived everywhere.
    ///
    /// # Panics
    /// If one is lost.
    pub async fn finish(mut self) -> Outcome {
        self.enough.send_replace(true);
        let mut last = Counts::new();
        while let Some(ended) = self.publishers.join_next().await {
            let (one, two, first, second) = ended.expect("a publisher does not fail");
            last.extend([(one, first), (two, second)]);
        }
        self.last.send_replace(Some(last));
        let mut outcome = Outcome::default();
        while let Some(ended) = self.subscribers.join_next().await {
            let own = ended.expect("a subscriber gets everything");
            outcome.repeated += own.repeated;
            outcome.released += own.released;
        }
        outcome.acknowledged = *self.acknowledged.borrow();
        outcome
    }
}

/// A session at the broker, and the way there.
#[derive(Debug)]
struct Session {
    connect: Connect,
    place: watch::Receiver<SocketAddr>,
    /// Where it connected last.
    at: Option<SocketAddr>,
    /// The broker has said once that it has it.
    exists: bool,
}

impl Session {
    fn new(connect: Connect, place: watch::Receiver<SocketAddr>) -> Self {
        Self {
            connect: connect.persistent(),
            place,
            at: None,
            exists: false,
        }
    }

    /// Connects, however often it takes.
    async fn connect(&mut self) -> Link {
        loop {
            let address = *self.place.borrow();
            if let Some(mut link) = Link::try_tcp(address).await {
                link.speak(self.connect.version());
                if link.try_send(&self.connect.bytes()).await
                    && let Some(connack) = link.packet_or_end().await
                    && connack.body()[1] == 0
                {
                    let present = connack.body()[0] == 1;
                    assert!(present || !self.exists, "the broker has lost a session");
                    self.exists = true;
                    self.at = Some(address);
                    return link;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[derive(Debug)]
struct Publisher {
    number: usize,
    session: Session,
    waiting: VecDeque<Waiting>,
    /// The next number with QoS 1, and with QoS 2.
    next: [u32; 2],
    id: u16,
    enough: watch::Receiver<bool>,
    acknowledged: watch::Sender<u64>,
    /// What each subscriber has got to its end.
    delivered: watch::Receiver<Vec<u64>>,
}

/// A message that was sent and is not yet acknowledged to its end.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u16,
    qos: u8,
    number: u32,
    /// PUBREC came: the message must not be sent again.
    received: bool,
}

impl Publisher {
    async fn run(mut self) -> (Key, Key, u32, u32) {
        loop {
            let mut link = self.session.connect().await;
            self.talk(&mut link).await;
            if *self.enough.borrow() && self.waiting.is_empty() {
                let [one, two] = self.next;
                return ((self.number, 1), (self.number, 2), one - 1, two - 1);
            }
        }
    }

    /// Until the connection ends, or everything is said.
    async fn talk(&mut self, link: &mut Link) {
        // in the order in which they were sent first [MQTT-4.6.0-1]
        let again: Vec<_> = self.waiting.iter().copied().collect();
        for waiting in again {
            let bytes = if waiting.received {
                pubrel(waiting.id)
            } else {
                self.bytes(waiting, true)
            };
            if !link.try_send(&bytes).await {
                return;
            }
        }
        loop {
            while self.waiting.len() < WINDOW && self.may_go_on() {
                let waiting = self.next();
                self.waiting.push_back(waiting);
                if !link.try_send(&self.bytes(waiting, false)).await {
                    return;
                }
            }
            if self.waiting.is_empty() && *self.enough.borrow() {
                return;
            }
            let packet = tokio::select! {
                packet = link.packet_or_end(), if !self.waiting.is_empty() => packet,
                _ = self.delivered.changed(), if self.waiting.is_empty() => continue,
                _ = self.enough.changed(), if self.waiting.is_empty() => continue,
            };
            let Some(packet) = packet else { return };
            if packet.kind() == 14 {
                return;
            }
            succeeded(&packet);
            let at = self.waiting.iter().position(|it| it.id == packet.id());
            let at = at.unwrap_or_else(|| panic!("nobody waits for {packet:?}"));
            let waiting = &mut self.waiting[at];
            match (packet.kind(), waiting.qos) {
                (5, 2) => {
                    waiting.received = true;
                    if !link.try_send(&pubrel(packet.id())).await {
                        return;
                    }
                }
                (4, 1) | (7, 2) => {
                    self.waiting.remove(at);
                    self.acknowledged.send_modify(|count| *count += 1);
                }
                _ => panic!("{packet:?} for {waiting:?}"),
            }
        }
    }

    fn may_go_on(&self) -> bool {
        let everywhere = self.delivered.borrow().iter().min().copied();
        let limit = everywhere.map_or(u64::MAX, |it| it + LEAD);
        !*self.enough.borrow() && *self.acknowledged.borrow() <= limit
    }

    /// QoS 1 and 2 in turns.
    fn next(&mut self) -> Waiting {
        let [one, two] = &mut self.next;
        let (qos, number) = if *one <= *two { (1, one) } else { (2, two) };
        let waiting = *number;
        *number += 1;
        self.id = self.id % 1000 + 1;
        Waiting {
            id: self.id,
            qos,
            number: waiting,
            received: false,
        }
    }

    fn bytes(&self, waiting: Waiting, again: bool) -> Vec<u8> {
        let topic = format!("count/{}/{}", self.number, waiting.qos);
        let version = self.session.connect.version();
        let publish = Publish::new(version, &topic).qos(waiting.qos, waiting.id);
        let publish = if again { publish.dup() } else { publish };
        publish.bytes(waiting.number.to_string())
    }
}

/// An acknowledgement may have a reason; it is to be none for a failure.
fn succeeded(packet: &Packet) {
    let reason = packet.body().get(2).copied().unwrap_or(0);
    assert!(reason < 0x80, "{packet:?}");
}

#[derive(Debug)]
struct Subscriber {
    number: usize,
    session: Session,
    promise: Promise,
    /// Up to where everything came.
    seen: Counts,
    /// What came before its turn.
    early: BTreeSet<(Key, u32)>,
    /// Of QoS 2, what came and was not released, by identifier: if it comes again, it is no other message.
    unreleased: HashMap<u16, (Key, u32)>,
    /// Messages that came for the first time, whether released or not.
    came: u64,
    outcome: Outcome,
    delivered: watch::Sender<Vec<u64>>,
    back: watch::Sender<HashMap<usize, SocketAddr>>,
}

impl Subscriber {
    /// Connects and subscribes, however often it takes.
    async fn subscribe(&mut self) -> Link {
        let version = self.session.connect.version();
        let filters = [("count/+/1", 1), ("count/+/2", 2)];
        loop {
            let mut link = self.session.connect().await;
            if link.try_send(&subscribe(version, 1, &filters)).await
                && let Some(packet) = link.packet_or_end().await
                && packet.kind() == 9
            {
                assert_eq!(packet.bytes(), suback(version, 1, &[1, 2]));
                return link;
            }
        }
    }

    async fn run(mut self, link: Link, mut target: watch::Receiver<Option<Counts>>) -> Outcome {
        let mut link = link;
        loop {
            if self.listen(&mut link, &mut target).await {
                return self.outcome;
            }
            link = self.session.connect().await;
        }
    }

    /// Until the connection ends (false), or everything has come and nothing else (true).
    async fn listen(
        &mut self,
        link: &mut Link,
        target: &mut watch::Receiver<Option<Counts>>,
    ) -> bool {
        // whatever is on its way comes before the answer: first what the session had, in the end all
        let mut asked = 0;
        let mut resumed = false;
        loop {
            let complete = target.borrow_and_update().as_ref() == Some(&self.seen);
            if asked == 0 || asked == 1 && complete {
                asked += 1;
                if !link.try_send(&PINGREQ).await {
                    return false;
                }
            }
            let packet = tokio::select! {
                packet = link.packet_or_end() => packet,
                () = tokio::time::sleep(SILENCE) => self.lacks(target.borrow().as_ref()),
                changed = target.changed() => {
                    changed.expect("the load is there");
                    continue;
                }
            };
            let Some(packet) = packet else { return false };
            let answer = match packet.kind() {
                3 => self.receive(&packet),
                6 => {
                    self.unreleased.remove(&packet.id());
                    self.complete();
                    pubcomp(packet.id())
                }
                13 if !resumed => {
                    resumed = true;
                    let (number, place) = (self.number, self.session.at);
                    self.back.send_modify(|back| {
                        back.extend(place.map(|place| (number, place)));
                    });
                    continue;
                }
                13 => return true,
                14 => return false,
                _ => panic!("{packet:?}"),
            };
            if !link.try_send(&answer).await {
                return false;
            }
        }
    }

    /// Tells publishers how far this subscriber is.
    fn complete(&self) {
        let complete = self.came.saturating_sub(self.unreleased.len() as u64);
        self.delivered.send_if_modified(|all| {
            let own = &mut all[self.number];
            std::mem::replace(own, complete) != complete
        });
    }

    /// Says what does not come.
    fn lacks(&self, target: Option<&Counts>) -> ! {
        let last = |key| self.seen.get(key).copied().unwrap_or(0);
        let target = target.into_iter().flatten();
        let lacks: Vec<_> = target
            .filter(|(key, count)| last(key) != **count)
            .map(|(key, count)| (key, last(key), *count))
            .collect();
        let unreleased = &self.unreleased;
        panic!(
            "{:?}: nothing comes; publisher and QoS, last, wanted: {lacks:?}; {unreleased:?}",
            self.session.connect
        );
    }

    fn receive(&mut self, packet: &Packet) -> Vec<u8> {
        let message = Message::of(packet, self.session.connect.version());
        let mut topic = message.topic.split('/').skip(1);
        let publisher = topic.next().and_then(|it| it.parse().ok());
        let key = (publisher.expect("a number"), message.qos);
        let number: u32 = message.text().parse().expect("a number");
        let what = (key, number);
        let earlier = match message.qos {
            2 => self.unreleased.insert(message.id, what),
            _ => None,
        };
        if let Some(earlier) = earlier {
            // [MQTT-2.2.1-4]
            let id = message.id;
            assert_eq!(earlier, what, "the identifier {id} was taken by the former");
        } else {
            let seen = self.seen.entry(key).or_insert(0);
            if number > *seen {
                self.came += 1;
            }
            if number == *seen + 1 {
                *seen = number;
                while self.early.remove(&(key, *seen + 1)) {
                    *seen += 1;
                }
            } else {
                let known = number <= *seen || self.early.contains(&(key, number));
                let dup = packet.first() & 0x08 != 0;
                let allowed = match self.promise {
                    Promise::NoLoss => true,
                    Promise::Everything => known && (message.qos == 1 || dup),
                };
                assert!(
                    allowed,
                    "{number} after {seen}, publisher and QoS {key:?}, DUP {dup}"
                );
                if !known {
                    self.early.insert((key, number));
                } else if message.qos == 1 {
                    self.outcome.repeated += 1;
                } else {
                    self.outcome.released += 1;
                }
            }
        }
        self.complete();
        if message.qos == 1 {
            puback(message.id)
        } else {
            pubrec(message.id)
        }
    }
}
