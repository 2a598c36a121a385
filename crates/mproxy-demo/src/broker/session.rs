//! One client as the router sees it: its subscriptions, and what waits to be sent to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mproxy_codec::topic::{TopicFilter, TopicName};
use mproxy_codec::{ConnectPacket, PropertyId, QoS, ReasonCode, SubscriptionOptions, Version};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::{Envelope, Message};

/// Deliveries that wait for an acknowledgement; a client may ask for fewer.
const MAX_IN_FLIGHT: usize = 100;

/// Subscriptions of one client; more are answered with 0x97.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// Bytes that wait for one client. What does not fit is lost: a broker that lives as long as a
/// demo need not outlast a reader that stopped.
const MAX_QUEUED_LEN: usize = 8 * 1024 * 1024;

/// What a delivery costs beside its message, so that empty messages fill the queue as well.
const DELIVERY_COST: usize = 64;

/// Bytes handed to one write, except where one packet is larger.
const BATCH_LEN: usize = 64 * 1024;

/// A connected client. It ends with its connection: nothing outlives that.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: String,
    pub(super) will: Option<Message>,
    /// Tells the connection that something waits to be sent.
    pub(super) wake: Arc<Notify>,
    /// Tells the connection that another one has taken its client identifier.
    pub(super) over: CancellationToken,
    version: Version,
    subscriptions: HashMap<String, Subscribed>,
    queue: VecDeque<Delivery>,
    queued_len: usize,
    in_flight: HashSet<u16>,
    max_in_flight: usize,
    last_packet_id: u16,
    max_packet_len: usize,
}

#[derive(Debug)]
struct Subscribed {
    options: SubscriptionOptions,
    id: Option<u32>,
}

/// A message on its way to one client.
#[derive(Debug)]
pub(super) struct Delivery {
    message: Arc<Message>,
    qos: QoS,
    retain: bool,
    subscription_ids: Vec<u32>,
}

/// What a subscription says about messages that are retained already (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retained {
    Send,
    Keep,
}

impl Session {
    /// The session of a client that was admitted as `client_id`.
    pub(super) fn new(connect: &ConnectPacket, client_id: String, now: Instant) -> Self {
        let number = |id| {
            connect
                .properties()
                .number(id)
                .map(|number| number as usize)
        };
        Self {
            client_id,
            will: connect.will().map(|will| Message::of_will(&will, now)),
            wake: Arc::new(Notify::new()),
            over: CancellationToken::new(),
            version: connect.version(),
            subscriptions: HashMap::new(),
            queue: VecDeque::new(),
            queued_len: 0,
            in_flight: HashSet::new(),
            max_in_flight: number(PropertyId::ReceiveMaximum)
                .map_or(MAX_IN_FLIGHT, |maximum| maximum.min(MAX_IN_FLIGHT)),
            last_packet_id: 0,
            max_packet_len: number(PropertyId::MaximumPacketSize).unwrap_or(usize::MAX),
        }
    }

    /// Adds or replaces a subscription. The code is what SUBACK says.
    pub(super) fn subscribe(
        &mut self,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) -> (ReasonCode, Retained) {
        if filter.as_str().starts_with("$share/") {
            let code = ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
            return (code, Retained::Keep);
        }
        let is_new = !self.subscriptions.contains_key(filter.as_str());
        if is_new && self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return (ReasonCode::QUOTA_EXCEEDED, Retained::Keep);
        }
        self.subscriptions
            .insert(filter.as_str().to_owned(), Subscribed { options, id });
        let retained = match retain_handling(options) {
            0 => Retained::Send,
            1 if is_new => Retained::Send,
            _ => Retained::Keep,
        };
        (ReasonCode::new(options.qos().as_u8()), retained)
    }

    /// Removes a subscription. The code is what UNSUBACK says.
    pub(super) fn unsubscribe(&mut self, filter: &str) -> ReasonCode {
        match self.subscriptions.remove(filter) {
            Some(_) => ReasonCode::SUCCESS,
            None => ReasonCode::NO_SUBSCRIPTION_EXISTED,
        }
    }

    /// Queues a message that was just published, when a subscription matches: once, with the
    /// highest QoS of those that do. `[MQTT-3.3.4-2]`
    pub(super) fn offer(&mut self, message: &Arc<Message>, topic: TopicName<'_>, is_own: bool) {
        let mut delivery: Option<Delivery> = None;
        for (filter, subscribed) in &self.subscriptions {
            if is_own && subscribed.options.no_local() {
                continue; // [MQTT-3.8.3-3]
            }
            if !TopicFilter::new(filter).is_ok_and(|filter| filter.matches(topic)) {
                continue;
            }
            let delivery = delivery.get_or_insert_with(|| Delivery {
                message: Arc::clone(message),
                qos: QoS::AtMostOnce,
                retain: false,
                subscription_ids: Vec::new(),
            });
            let qos = subscribed.options.qos().min(message.qos);
            delivery.qos = delivery.qos.max(qos);
            delivery.retain |= message.retain && retain_as_published(subscribed.options);
            delivery.subscription_ids.extend(subscribed.id);
        }
        if let Some(delivery) = delivery {
            self.push(delivery);
        }
    }

    /// Queues a retained message for a new subscription.
    pub(super) fn offer_retained(
        &mut self,
        message: &Arc<Message>,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) {
        self.push(Delivery {
            message: Arc::clone(message),
            qos: options.qos().min(message.qos),
            retain: true,
            subscription_ids: id.into_iter().collect(),
        });
    }

    fn push(&mut self, delivery: Delivery) {
        let len = delivery.message.len() + DELIVERY_COST;
        if self.queued_len + len > MAX_QUEUED_LEN {
            return;
        }
        self.queued_len += len;
        self.queue.push_back(delivery);
        self.wake.notify_one();
    }

    /// The next deliveries as one run of bytes; empty when nothing may be sent now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<u8> {
        let mut run = Vec::new();
        while run.len() < BATCH_LEN {
            let Some(delivery) = self.queue.front() else {
                break;
            };
            let needs_id = delivery.qos != QoS::AtMostOnce;
            if needs_id && self.in_flight.len() >= self.max_in_flight {
                break;
            }
            let Some(delivery) = self.queue.pop_front() else {
                break;
            };
            self.queued_len -= delivery.message.len() + DELIVERY_COST;
            if delivery.message.has_expired(now) {
                continue;
            }
            let packet_id = if needs_id { self.free_packet_id() } else { 0 };
            let envelope = Envelope {
                version: self.version,
                qos: delivery.qos,
                packet_id,
                retain: delivery.retain,
                subscription_ids: &delivery.subscription_ids,
            };
            let Some(packet) = delivery.message.encode(&envelope, now) else {
                continue;
            };
            // [MQTT-3.1.2-25]: as if it had been delivered
            if packet.len() > self.max_packet_len {
                continue;
            }
            if needs_id {
                self.in_flight.insert(packet_id);
            }
            run.extend_from_slice(&packet);
        }
        run
    }

    /// Notes that the client has acknowledged a delivery; false when there was none.
    pub(super) fn acknowledge(&mut self, packet_id: u16) -> bool {
        self.in_flight.remove(&packet_id)
    }

    /// True while the delivery waits for an acknowledgement.
    pub(super) fn is_in_flight(&self, packet_id: u16) -> bool {
        self.in_flight.contains(&packet_id)
    }

    /// An identifier that is not in flight; there is one, as [`MAX_IN_FLIGHT`] is far below their
    /// number.
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains(&self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

const fn retain_as_published(options: SubscriptionOptions) -> bool {
    options.as_u8() & 0b1000 != 0
}

const fn retain_handling(options: SubscriptionOptions) -> u8 {
    options.as_u8() >> 4 & 0b11
}

#[cfg(test)]
mod tests {
    use mproxy_codec::{ConnectBuilder, Direction, PropertyWriter, Value, View};

    use super::*;

    fn session(connect: &ConnectBuilder<'_>) -> Session {
        let connect = connect.build().unwrap();
        let mut session = Session::new(&connect, "c".to_owned(), Instant::now());
        let all = TopicFilter::new("#").unwrap();
        let options = SubscriptionOptions::new(QoS::ExactlyOnce);
        let (code, retained) = session.subscribe(all, options, None);
        assert_eq!(
            (code, retained),
            (ReasonCode::GRANTED_QOS_2, Retained::Send)
        );
        session
    }

    fn message(packet: &[u8]) -> Arc<Message> {
        match View::parse(Version::V311, Direction::ToServer, packet) {
            Ok(Some(View::Publish(publish))) => {
                Arc::new(Message::of_publish(&publish, Instant::now()))
            }
            other => panic!("no PUBLISH: {other:?}"),
        }
    }

    const CONNECT_V311: ConnectBuilder<'_> = ConnectBuilder::new(Version::V311).client_id("c");
    const TOPIC: &str = "t";

    #[test]
    fn a_reader_that_stopped_costs_a_bounded_queue() {
        let mut session = session(&CONNECT_V311);
        let topic = TopicName::new(TOPIC).unwrap();
        let mut packet = b"\x30\x83\x80\x40\0\x01t".to_vec();
        packet.resize(packet.len() + 1024 * 1024, 0);
        let large = message(&packet);
        for _ in 0..20 {
            session.offer(&large, topic, false);
        }
        assert_eq!(session.queue.len(), 7);
        let mut sent = 0;
        while !session.queue.is_empty() {
            sent += session.take(Instant::now()).len();
        }
        assert_eq!((sent, session.queued_len), (7 * packet.len(), 0));
    }

    #[test]
    fn packet_identifiers_in_flight_are_not_used_again() {
        let mut session = session(&CONNECT_V311);
        let topic = TopicName::new(TOPIC).unwrap();
        let small = message(b"\x32\x06\0\x01t\0\x01h");
        session.last_packet_id = u16::MAX - 1;
        for _ in 0..MAX_IN_FLIGHT + 1 {
            session.offer(&small, topic, false);
        }
        let run = session.take(Instant::now());
        assert_eq!(run.len(), MAX_IN_FLIGHT * 8);
        // 65,535 is followed by 1
        assert!(run.starts_with(b"\x32\x06\0\x01t\xff\xffh\x32\x06\0\x01t\0\x01h"));
        assert!(session.take(Instant::now()).is_empty());
        session.last_packet_id = 0;
        assert!(session.acknowledge(u16::MAX) && !session.acknowledge(u16::MAX));
        assert_eq!(session.take(Instant::now()), b"\x32\x06\0\x01t\0\x64h");
    }

    #[test]
    fn own_messages_and_large_ones_can_be_declined() {
        let mut properties = PropertyWriter::new();
        properties
            .push(PropertyId::MaximumPacketSize, Value::U32(10))
            .unwrap();
        let connect = ConnectBuilder::new(Version::V5).properties(properties.as_bytes());
        let mut session = session(&connect);
        let topic = TopicName::new(TOPIC).unwrap();
        session.offer(&message(b"\x30\x0a\0\x01t1234567"), topic, false);
        session.offer(&message(b"\x30\x09\0\x01t123456"), topic, false);
        session.offer(&message(b"\x30\x07\0\x01t1234"), topic, false);
        assert_eq!(session.take(Instant::now()), b"\x30\x08\0\x01t\x001234");
        let no_local = View::parse(
            Version::V5,
            Direction::ToServer,
            b"\x82\x07\0\x01\0\0\x01#\x04",
        );
        let Ok(Some(View::Subscribe(subscribe))) = no_local else {
            panic!("no SUBSCRIBE: {no_local:?}");
        };
        for entry in subscribe.subscriptions() {
            session.subscribe(entry.filter, entry.options, None);
        }
        session.offer(&message(b"\x30\x04\0\x01th"), topic, true);
        assert!(session.queue.is_empty());
    }
}
