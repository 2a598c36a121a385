//! What a rumqttc client can do with a broker: the same features as in the scripts of
//! `tests/clients`.
//!
//! Over TCP only: what it needs for WebSocket is a second `tungstenite` and a TLS.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::v5::mqttbytes::{QoS as QoS5, v5 as packets5};
use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Outgoing, Packet, QoS, v5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cases::{self, Case};

/// How long something is waited for that is to happen, and that is not.
const PATIENCE: Duration = Duration::from_secs(25);
const SHORT: Duration = Duration::from_secs(2);

/// More events than any case has.
const EVENTS: usize = 100;

type Outcome = Result<(), String>;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Connected { present: bool },
    Subscribed,
    Unsubscribed,
    Acknowledged,
    Message(Message),
    Left,
}

#[derive(Debug, PartialEq, Eq)]
struct Message {
    topic: String,
    qos: u8,
    retain: bool,
    payload: Vec<u8>,
}

/// The client of one version or the other.
enum Client {
    Three(AsyncClient),
    Five(v5::AsyncClient),
}

/// A connected client, whose connection breaks off with this value.
struct Device {
    client: Client,
    seen: mpsc::Receiver<Seen>,
    /// What came while something else was waited for.
    early: Vec<Seen>,
    pump: JoinHandle<()>,
    patience: Duration,
    present: bool,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

struct Attempt<'a> {
    case: &'a Case<'a>,
}

/// A line for each case.
pub(super) async fn run(
    broker: SocketAddr,
    proxy: SocketAddr,
    versions: &[&str],
    cannot: &str,
) -> String {
    let attempt = async |case: &Case<'_>| Attempt { case }.run().await;
    cases::run(broker, proxy, versions, cannot, usize::MAX, attempt).await
}

impl Attempt<'_> {
    fn label(&self) -> String {
        self.case.label("rs")
    }

    async fn device(&self) -> Result<Device, String> {
        self.client("device", self.case.addr, None, false).await
    }

    async fn service(&self) -> Result<Device, String> {
        self.client("service", self.case.broker, None, false).await
    }

    async fn client(
        &self,
        name: &str,
        addr: SocketAddr,
        will: Option<&str>,
        keep: bool,
    ) -> Result<Device, String> {
        let id = format!("rs{}-{name}", self.case.number);
        let (sender, seen) = mpsc::channel(EVENTS);
        let (client, pump) = if self.case.version == "5" {
            five(id, addr, will, keep, self.label(), sender)
        } else {
            three(id, addr, will, keep, self.label(), sender)
        };
        let mut device = Device {
            client,
            seen,
            early: Vec::new(),
            pump,
            patience: if self.case.is_doubtful {
                SHORT
            } else {
                PATIENCE
            },
            present: false,
        };
        let connected = device.wait("CONNACK", |it| matches!(it, Seen::Connected { .. }));
        device.present = connected.await? == Seen::Connected { present: true };
        Ok(device)
    }

    async fn run(&self) -> Outcome {
        let label = self.label();
        match self.case.feature {
            "qos0" => self.both_ways(0, b"\0\xff").await,
            "qos1" => self.both_ways(1, b"\0\xff").await,
            "qos2" => self.both_ways(2, b"\0\xff").await,
            "empty" => self.both_ways(1, b"").await,
            "large" => self.both_ways(1, &[0xa5; 256 * 1024]).await,
            "long_topic" => {
                let (device, mut service) = (self.device().await?, self.service().await?);
                let topic = format!("{label}/{}", "t".repeat(65_534 - label.len()));
                service.subscribe(&format!("{label}/#"), 1).await?;
                let mut device = device;
                device.publish(&topic, 1, false, b"x").await?;
                service.expect(&topic, 1, false, b"x").await
            }
            "retained" => self.retained().await,
            "will" => {
                let mut service = self.service().await?;
                service.subscribe(&label, 1).await?;
                let leaves = self
                    .client("leaves", self.case.addr, Some("no"), false)
                    .await?;
                leaves.leave().await?;
                drop(
                    self.client("dies", self.case.addr, Some("will"), false)
                        .await?,
                );
                service.expect(&label, 1, false, b"will").await
            }
            "takeover" => {
                let (mut old, mut service) = (self.device().await?, self.service().await?);
                let mut new = self.device().await?;
                old.wait("the end", |it| *it == Seen::Left).await?;
                service.subscribe(&label, 1).await?;
                new.publish(&label, 1, false, b"new").await?;
                service.expect(&label, 1, false, b"new").await
            }
            "unsubscribe" => {
                let (mut device, mut service) = (self.device().await?, self.service().await?);
                let [gone, fence] = ["gone", "fence"].map(|name| format!("{label}/{name}"));
                device.subscribe(&gone, 1).await?;
                device.subscribe(&fence, 1).await?;
                device.unsubscribe(&gone).await?;
                service.publish(&gone, 1, false, b"x").await?;
                service.publish(&fence, 1, false, b"x").await?;
                device.expect(&fence, 1, false, b"x").await
            }
            "persistent" => {
                let mut away = self.client("device", self.case.addr, None, true).await?;
                let mut service = self.service().await?;
                away.subscribe(&label, 1).await?;
                away.leave().await?;
                for number in [b"0", b"1", b"2"] {
                    service.publish(&label, 1, false, number).await?;
                }
                let mut device = self.client("device", self.case.addr, None, true).await?;
                for number in [b"0", b"1", b"2"] {
                    device.expect(&label, 1, false, number).await?;
                }
                device
                    .present
                    .then_some(())
                    .ok_or_else(|| "no session present".to_owned())
            }
            feature => Err(format!("nobody knows how to try {feature}")),
        }
    }

    async fn both_ways(&self, qos: u8, payload: &[u8]) -> Outcome {
        let (mut device, mut service) = (self.device().await?, self.service().await?);
        let [up, down] = ["up", "down"].map(|name| format!("{}/{name}", self.label()));
        service.subscribe(&up, qos).await?;
        device.publish(&up, qos, false, payload).await?;
        service.expect(&up, qos, false, payload).await?;
        device.subscribe(&down, qos).await?;
        service.publish(&down, qos, false, payload).await?;
        device.expect(&down, qos, false, payload).await
    }

    async fn retained(&self) -> Outcome {
        let (device, service) = (self.device().await?, self.service().await?);
        let mut pair = [device, service];
        for name in ["up", "down"] {
            let topic = format!("{}/{name}", self.label());
            let [sender, receiver] = &mut pair;
            sender.publish(&topic, 1, true, b"kept").await?;
            receiver.subscribe(&topic, 1).await?;
            receiver.expect(&topic, 1, true, b"kept").await?;
            receiver.unsubscribe(&topic).await?;
            // an empty payload removes it: the next one that comes is another
            sender.publish(&topic, 1, true, b"").await?;
            receiver.subscribe(&topic, 1).await?;
            sender.publish(&topic, 1, false, b"new").await?;
            receiver.expect(&topic, 1, false, b"new").await?;
            pair.reverse();
        }
        Ok(())
    }
}

impl Device {
    async fn wait(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Result<Seen, String> {
        if let Some(at) = self.early.iter().position(&wanted) {
            return Ok(self.early.remove(at));
        }
        loop {
            match timeout(self.patience, self.seen.recv()).await {
                Ok(Some(seen)) if wanted(&seen) => return Ok(seen),
                Ok(Some(seen)) => self.early.push(seen),
                Ok(None) => return Err(format!("the end before {what}")),
                Err(_) => return Err(format!("no {what}")),
            }
        }
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Outcome {
        match &self.client {
            Client::Three(client) => client.subscribe(filter, three_qos(qos)).await.ok(),
            Client::Five(client) => client.subscribe(filter, five_qos(qos)).await.ok(),
        };
        self.wait("SUBACK", |it| *it == Seen::Subscribed).await?;
        Ok(())
    }

    async fn unsubscribe(&mut self, filter: &str) -> Outcome {
        match &self.client {
            Client::Three(client) => client.unsubscribe(filter).await.ok(),
            Client::Five(client) => client.unsubscribe(filter).await.ok(),
        };
        self.wait("UNSUBACK", |it| *it == Seen::Unsubscribed)
            .await?;
        Ok(())
    }

    async fn publish(&mut self, topic: &str, qos: u8, retain: bool, payload: &[u8]) -> Outcome {
        let payload = payload.to_vec();
        match &self.client {
            Client::Three(client) => client
                .publish(topic, three_qos(qos), retain, payload)
                .await
                .ok(),
            Client::Five(client) => client
                .publish(topic, five_qos(qos), retain, payload)
                .await
                .ok(),
        };
        if qos > 0 {
            self.wait("acknowledgement", |it| *it == Seen::Acknowledged)
                .await?;
        }
        Ok(())
    }

    async fn expect(&mut self, topic: &str, qos: u8, retain: bool, payload: &[u8]) -> Outcome {
        let message = self
            .wait("message", |it| matches!(it, Seen::Message(_)))
            .await?;
        let wanted = Seen::Message(Message {
            topic: topic.to_owned(),
            qos,
            retain,
            payload: payload.to_vec(),
        });
        if message == wanted {
            return Ok(());
        }
        Err(format!("not what was sent: {message:?}")
            .chars()
            .take(200)
            .collect())
    }

    async fn leave(mut self) -> Outcome {
        match &self.client {
            Client::Three(client) => client.disconnect().await.ok(),
            Client::Five(client) => client.disconnect().await.ok(),
        };
        self.wait("the end", |it| *it == Seen::Left).await?;
        Ok(())
    }
}

const fn three_qos(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

const fn five_qos(qos: u8) -> QoS5 {
    match qos {
        0 => QoS5::AtMostOnce,
        1 => QoS5::AtLeastOnce,
        _ => QoS5::ExactlyOnce,
    }
}

/// More than the largest message takes.
const LARGEST: u32 = 1 << 20;

fn three(
    id: String,
    addr: SocketAddr,
    will: Option<&str>,
    keep: bool,
    topic: String,
    sender: mpsc::Sender<Seen>,
) -> (Client, JoinHandle<()>) {
    let mut options = MqttOptions::new(id, addr.ip().to_string(), addr.port());
    options.set_max_packet_size(LARGEST as usize, LARGEST as usize);
    options.set_clean_session(!keep);
    if let Some(will) = will {
        options.set_last_will(LastWill::new(topic, will, QoS::AtLeastOnce, false));
    }
    let (client, mut events) = AsyncClient::new(options, EVENTS);
    let pump = tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            let seen = match event {
                Event::Incoming(Packet::ConnAck(it)) => Seen::Connected {
                    present: it.session_present,
                },
                Event::Incoming(Packet::SubAck(_)) => Seen::Subscribed,
                Event::Incoming(Packet::UnsubAck(_)) => Seen::Unsubscribed,
                Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => Seen::Acknowledged,
                Event::Incoming(Packet::Publish(it)) => Seen::Message(Message {
                    topic: it.topic,
                    qos: it.qos as u8,
                    retain: it.retain,
                    payload: it.payload.to_vec(),
                }),
                Event::Outgoing(Outgoing::Disconnect) => break,
                _ => continue,
            };
            if sender.send(seen).await.is_err() {
                return;
            }
        }
        // a client that has heard enough is gone
        let _ = sender.send(Seen::Left).await;
    });
    (Client::Three(client), pump)
}

fn five(
    id: String,
    addr: SocketAddr,
    will: Option<&str>,
    keep: bool,
    topic: String,
    sender: mpsc::Sender<Seen>,
) -> (Client, JoinHandle<()>) {
    let mut options = v5::MqttOptions::new(id, addr.ip().to_string(), addr.port());
    options.set_max_packet_size(Some(LARGEST));
    options.set_clean_start(!keep);
    options.set_session_expiry_interval(Some(if keep { 60 } else { 0 }));
    if let Some(will) = will {
        let will = packets5::LastWill::new(topic, will, QoS5::AtLeastOnce, false, None);
        options.set_last_will(will);
    }
    let (client, mut events) = v5::AsyncClient::new(options, EVENTS);
    let pump = tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            let seen = match event {
                v5::Event::Incoming(packets5::Packet::ConnAck(it)) => Seen::Connected {
                    present: it.session_present,
                },
                v5::Event::Incoming(packets5::Packet::SubAck(_)) => Seen::Subscribed,
                v5::Event::Incoming(packets5::Packet::UnsubAck(_)) => Seen::Unsubscribed,
                v5::Event::Incoming(packets5::Packet::PubAck(_) | packets5::Packet::PubComp(_)) => {
                    Seen::Acknowledged
                }
                v5::Event::Incoming(packets5::Packet::Publish(it)) => Seen::Message(Message {
                    topic: String::from_utf8_lossy(&it.topic).into_owned(),
                    qos: it.qos as u8,
                    retain: it.retain,
                    payload: it.payload.to_vec(),
                }),
                v5::Event::Outgoing(Outgoing::Disconnect) => break,
                _ => continue,
            };
            if sender.send(seen).await.is_err() {
                return;
            }
        }
        // a client that has heard enough is gone
        let _ = sender.send(Seen::Left).await;
    });
    (Client::Five(client), pump)
}
