//! The counterpart of a client: it is at the broker itself, whatever way the client takes.

use std::collections::VecDeque;
use std::time::Duration;

use mproxy_tests::wire::{
    Connect, Message, Packet, Publish, Version, puback, pubcomp, pubrec, pubrel,
};
use mproxy_tests::{Link, Mosquitto, PASSWORD, USER};
use tokio::time::timeout;

/// Receives what the client publishes, and publishes what the client has subscribed to.
pub(super) struct Service {
    link: Link,
    /// What all topics of the client begin with.
    lane: &'static str,
    next_id: u16,
    /// Acknowledgements that are still to come.
    unacknowledged: usize,
    messages: VecDeque<String>,
}

impl Service {
    /// With a subscription to `up/...` of this client.
    pub(super) async fn at(broker: &Mosquitto, lane: &'static str, filter: &str) -> Self {
        let mut link = Link::tcp(broker.addr()).await;
        let id = format!("service-{lane}-{filter}");
        let connect = Connect::new(Version::V311, &id).credentials(USER, PASSWORD);
        link.connect(&connect).await;
        let mut service = Self {
            link,
            lane,
            next_id: 0,
            unacknowledged: 0,
            messages: VecDeque::new(),
        };
        service.link.subscribe(&format!("{lane}/{filter}"), 2).await;
        service
    }

    /// Publishes to `topic` of this client, and waits until the broker has taken responsibility.
    pub(super) async fn publish(&mut self, topic: &str, qos: u8, retain: bool, payloads: &[&str]) {
        for payload in payloads {
            let topic = format!("{}/{topic}", self.lane);
            let mut publish = Publish::new(Version::V311, &topic);
            if qos > 0 {
                self.next_id += 1;
                self.unacknowledged += 1;
                publish = publish.qos(qos, self.next_id);
            }
            if retain {
                publish = publish.retain();
            }
            self.link.send(&publish.bytes(payload)).await;
        }
        while self.unacknowledged > 0 {
            let packet = self.link.packet().await;
            self.take(&packet).await;
        }
    }

    async fn take(&mut self, packet: &Packet) {
        match packet.kind() {
            3 => {
                let message = Message::of(packet, Version::V311);
                match message.qos {
                    0 => {}
                    1 => self.link.send(&puback(message.id)).await,
                    _ => self.link.send(&pubrec(message.id)).await,
                }
                let topic = &message.topic[self.lane.len() + 1..];
                let retained = if message.retain { "retained" } else { "new" };
                let payload = message.text();
                let line = format!("{topic} {} {retained} {payload}", message.qos);
                self.messages.push_back(line);
            }
            4 | 7 => self.unacknowledged -= 1,
            5 => self.link.send(&pubrel(packet.id())).await,
            6 => self.link.send(&pubcomp(packet.id())).await,
            _ => panic!("not for a client: {packet:?}"),
        }
    }

    /// Waits for so many messages, no longer than `patience`; gives what came.
    pub(super) async fn messages(&mut self, count: usize, patience: Duration) -> Vec<String> {
        let all = |_: &String| true;
        self.messages_of(all, count, patience).await
    }

    /// The same, where only messages of this kind count.
    pub(super) async fn messages_of(
        &mut self,
        kind: impl Fn(&String) -> bool,
        count: usize,
        patience: Duration,
    ) -> Vec<String> {
        let waiting = async {
            while self.messages.iter().filter(|it| kind(it)).count() < count {
                let packet = self.link.packet().await;
                self.take(&packet).await;
            }
        };
        timeout(patience, waiting).await.ok();
        self.messages.drain(..).collect()
    }

    /// What has come, when the broker has nothing left to deliver.
    pub(super) async fn all(&mut self, patience: Duration) -> Vec<String> {
        self.publish("up/fence", 1, false, &[""]).await;
        self.until("up/fence", patience).await
    }

    /// What comes before a message with this topic, which is waited for no longer than `patience`.
    pub(super) async fn until(&mut self, topic: &str, patience: Duration) -> Vec<String> {
        let topic = format!("{topic} ");
        let mut found = None;
        let waiting = async {
            loop {
                found = self.messages.iter().position(|it| it.starts_with(&topic));
                if found.is_some() {
                    return;
                }
                let packet = self.link.packet().await;
                self.take(&packet).await;
            }
        };
        timeout(patience, waiting).await.ok();
        let count = found.unwrap_or(self.messages.len());
        let before = self.messages.drain(..count).collect();
        self.messages.pop_front();
        before
    }

    /// Leaves.
    pub(super) async fn leave(self) {
        self.link.leave().await;
    }
}
