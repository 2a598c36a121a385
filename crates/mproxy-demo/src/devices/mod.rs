//! Three devices that talk through the proxy: two that may, and one that may not.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use mproxy_codec::{EncodeError, PropertyId, PropertyWriter, QoS, ReasonCode, Value, Version};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::client::{Client, ClientError, Received};

/// Characters of a received payload that a report shows.
const SHOWN_PAYLOAD: usize = 64;

/// What a device did, as one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    device: &'static str,
    what: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<7} {}", self.device, self.what)
    }
}

/// A device: who it is, and what it says.
#[derive(Debug)]
struct Device {
    name: &'static str,
    /// Told apart from the devices of a broker that is not ours (`--upstream`).
    client_id: &'static str,
    version: Version,
    topic: &'static str,
    qos: fn(u32) -> QoS,
    payload: fn(u32) -> String,
    user_properties: &'static [(&'static str, &'static str)],
    listens_to: Option<&'static str>,
    /// Publishes at each so many-th beat.
    beats: u32,
}

const DEVICES: [Device; 3] = [
    Device {
        name: "sensor",
        client_id: "mproxy-demo-sensor",
        version: Version::V311,
        topic: "demo/sensor/temperature",
        qos: |n| match n % 2 {
            0 => QoS::AtLeastOnce,
            _ => QoS::AtMostOnce,
        },
        payload: |n| format!("{:.1}", 21.5 + f64::from(n % 7) / 10.0),
        user_properties: &[],
        listens_to: None,
        beats: 1,
    },
    Device {
        name: "meter",
        client_id: "mproxy-demo-meter",
        version: Version::V5,
        topic: "demo/meter/power",
        qos: |_| QoS::AtLeastOnce,
        payload: |n| format!("{}", 230 + n * 37 % 100),
        user_properties: &[("unit", "W"), ("phase", "L1")],
        listens_to: Some("demo/hello"),
        beats: 1,
    },
    Device {
        name: "rogue",
        client_id: "mproxy-demo-rogue",
        version: Version::V5,
        topic: "secret/x",
        qos: |_| QoS::AtLeastOnce,
        payload: |_| "let me in".to_owned(),
        user_properties: &[],
        listens_to: None,
        beats: 5,
    },
];

/// Lets the devices talk to the proxy at `address`, a beat each `pace`. They stop when the set is
/// dropped, or when nobody listens to their reports any more.
pub(super) fn spawn(
    address: SocketAddr,
    pace: Duration,
    reports: &mpsc::Sender<Report>,
) -> JoinSet<()> {
    let mut devices = JoinSet::new();
    for device in &DEVICES {
        devices.spawn(device.live(address, pace, reports.clone()));
    }
    devices
}

impl Device {
    /// Talks, and comes back when it is cut off, as a device in the field does.
    async fn live(&self, address: SocketAddr, pace: Duration, reports: mpsc::Sender<Report>) {
        let reporter = Reporter {
            device: self.name,
            reports,
        };
        while let Err(Parted::Cut(error)) = self.talk(address, pace, &reporter).await {
            let what = format!("{error}; trying again");
            if reporter.tell(what).await.is_err() {
                return;
            }
            sleep(pace * 2).await;
        }
    }

    async fn talk(
        &self,
        address: SocketAddr,
        pace: Duration,
        reporter: &Reporter,
    ) -> Result<(), Parted> {
        let mut client = Client::connect(address, self.version, self.client_id).await?;
        let what = format!("CONNECT {} -> CONNACK success", self.version);
        reporter.tell(what).await?;
        if let Some(filter) = self.listens_to {
            client.subscribe(filter).await?;
        }
        let properties = self.properties().map_err(ClientError::from)?;
        let mut beats = interval(pace * self.beats);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published = 0u32;
        let mut waiting: Option<(u16, String)> = None;
        loop {
            tokio::select! {
                _ = beats.tick(), if waiting.is_none() => {
                    let payload = (self.payload)(published);
                    let qos = (self.qos)(published);
                    let block = properties.as_bytes();
                    let id = client.publish(self.topic, qos, block, payload.as_bytes()).await?;
                    published = published.wrapping_add(1);
                    let what = format!("PUBLISH {} {payload}{}", self.topic, self.shown_properties());
                    match id {
                        Some(id) => waiting = Some((id, what)),
                        None => reporter.tell(what).await?,
                    }
                }
                received = client.next() => match received? {
                    Received::Puback { packet_id, reason } => {
                        if let Some((_, what)) = waiting.take_if(|(id, _)| *id == packet_id) {
                            reporter.tell(format!("{what} -> PUBACK{}", shown(reason))).await?;
                        }
                    }
                    Received::Suback { code } => {
                        let filter = self.listens_to.unwrap_or_default();
                        reporter.tell(format!("SUBSCRIBE {filter} -> SUBACK{}", shown(code))).await?;
                    }
                    Received::Message { topic, payload } => {
                        let what = format!("received {topic} {}", shown_payload(&payload));
                        reporter.tell(what).await?;
                    }
                },
            }
        }
    }

    fn properties(&self) -> Result<PropertyWriter, EncodeError> {
        let mut properties = PropertyWriter::new();
        for (name, value) in self.user_properties {
            properties.push(PropertyId::UserProperty, Value::Pair(name, value))?;
        }
        Ok(properties)
    }

    fn shown_properties(&self) -> String {
        self.user_properties
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect()
    }
}

/// Why a device stopped talking.
#[derive(Debug)]
enum Parted {
    /// It was cut off.
    Cut(ClientError),
    /// The demo is over.
    Unheard,
}

impl From<ClientError> for Parted {
    fn from(error: ClientError) -> Self {
        Self::Cut(error)
    }
}

#[derive(Debug)]
struct Reporter {
    device: &'static str,
    reports: mpsc::Sender<Report>,
}

impl Reporter {
    async fn tell(&self, what: String) -> Result<(), Parted> {
        let device = self.device;
        let sent = self.reports.send(Report { device, what }).await;
        sent.map_err(|_| Parted::Unheard)
    }
}

/// Nothing for a success: the acknowledgement says it.
fn shown(reason: ReasonCode) -> String {
    if reason.is_error() {
        format!(" 0x{:02x} {reason}", reason.as_u8())
    } else {
        String::new()
    }
}

/// Somebody else's bytes on the user's terminal: short, and without control characters.
fn shown_payload(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let mut shown: String = text
        .chars()
        .take(SHOWN_PAYLOAD)
        .flat_map(|char| {
            let escaped = char.is_control().then(|| char.escape_unicode());
            let plain = escaped.is_none().then_some(char);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(SHOWN_PAYLOAD).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
