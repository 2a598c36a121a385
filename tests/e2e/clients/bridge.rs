//! Bridges of mosquitto, at a broker and through the proxy: a broker at home that exchanges the topics
//! below `x/` with a broker elsewhere, and has messages for it, as that one has for it, when the way
//! was down for a while.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use mproxy_tests::wire::Version;
use mproxy_tests::{Link, Mosquitto};
use tokio::join;
use tokio::time::timeout;

use super::lane::PATIENCE;
use super::program::Transport;
use super::script::BURST;
use super::service::Service;
use super::summary::{side_by_side, summary};
use super::ways::Ways;

/// The name with which the bridge connects.
const BRIDGE: &str = "home-bridge";

/// What all topics begin with that are exchanged.
const TREE: &str = "x";

/// The default of mosquitto is MQTT 3.1.1 with a bit of its own in the version.
#[tokio::test]
async fn a_bridge_works_as_without_the_proxy() {
    let plays = ["mqttv31", "mqttv311", "mqttv50", ""].map(play);
    let failed: Vec<_> = futures_util::future::join_all(plays).await;
    let failed: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn play(version: &str) -> Result<(), String> {
    let (direct, through) = join!(run(version, false), run(version, true));
    if direct == through && direct.last().is_some_and(|line| line == "ok") {
        return Ok(());
    }
    let difference = side_by_side(&direct, &through);
    Err(format!("=== bridge {version}\n{difference}"))
}

/// What arrived where.
async fn run(version: &str, is_through: bool) -> Vec<String> {
    let far = Mosquitto::start().await;
    let mut ways = Ways::to(&far, Transport::Tcp).await;
    let way = if is_through {
        ways.through()
    } else {
        ways.direct()
    };
    let near = Mosquitto::with(&config(version, way)).await;
    let at_near = Service::at(&near, TREE, "#").await;
    let at_far = Service::at(&far, TREE, "#").await;
    let mut play = Play {
        near,
        far,
        at_near,
        at_far,
        transcript: Vec::new(),
        is_complete: true,
        fences: 0,
    };
    play.is_up(1).await;
    play.retain("kept/live").await;
    play.exchange("while the way is up").await;

    // the way is down: both brokers keep what they have for each other
    ways.cut().await;
    let numbers: Vec<_> = (1..=BURST).map(|it| it.to_string()).collect();
    let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
    for (service, topic) in [
        (&mut play.at_near, "near/burst"),
        (&mut play.at_far, "far/burst"),
    ] {
        service.publish(topic, 1, false, &numbers).await;
    }
    play.retain("kept/queued").await;
    ways.open().await;
    play.is_up(2).await;
    // version 2.0.11 does not ask for a session that outlives the connection in MQTT 5, so that what
    // is elsewhere does not come home
    let bursts = if version == "mqttv50" { [1, 2] } else { [2, 2] };
    let [near, far] = bursts.map(|count| count * usize::from(BURST));
    play.received("after a time without", near, far).await;
    play.exchange("and afterwards").await;

    for topic in ["kept/live", "kept/queued"] {
        play.kept("far", &format!("near/{topic}")).await;
        play.kept("near", &format!("far/{topic}")).await;
    }
    // what others are told about the bridge
    let mut late = Link::client(play.far.addr(), Version::V311, "late").await;
    let topic = format!("$SYS/broker/connection/{BRIDGE}/state");
    late.subscribe(&topic, 0).await;
    if let Ok(message) = timeout(play.patience(), late.message()).await {
        let (retain, text) = (message.retain, message.text());
        play.transcript
            .push(format!("state: {text}, retained: {retain}"));
    }
    play.end()
}

fn config(version: &str, way: SocketAddr) -> String {
    let mut config = format!(
        "log_type all\nconnection home\naddress {way}\ntopic {TREE}/# both 1\n\
         remote_clientid {BRIDGE}\ncleansession false\nrestart_timeout 1\n"
    );
    if !version.is_empty() {
        writeln!(config, "bridge_protocol_version {version}").expect("strings are writable");
    }
    config
}

struct Play {
    near: Mosquitto,
    far: Mosquitto,
    at_near: Service,
    at_far: Service,
    transcript: Vec<String>,
    is_complete: bool,
    fences: usize,
}

impl Play {
    /// Waits until the bridge has connected and subscribed that many times.
    async fn is_up(&mut self, times: usize) {
        let wanted = format!("Sending SUBACK to {BRIDGE}");
        let enough =
            |lines: &[String]| lines.iter().filter(|it| it.ends_with(&wanted)).count() >= times;
        self.is_complete &= self.far.process().lines_are(self.patience(), enough).await;
    }

    /// A message each way that is to be kept by both brokers.
    async fn retain(&mut self, topic: &str) {
        for (service, side) in [(&mut self.at_near, "near"), (&mut self.at_far, "far")] {
            let topic = format!("{side}/{topic}");
            service.publish(&topic, 1, true, &["for later"]).await;
        }
    }

    /// A message each way, and nothing else.
    async fn exchange(&mut self, when: &str) {
        self.at_near.publish("near/one", 1, false, &["hi"]).await;
        self.at_far.publish("far/one", 1, false, &["hi"]).await;
        self.received(when, 2, 2).await;
    }

    /// Waits until both brokers have so many messages, and then until an echo would have come, too.
    async fn received(&mut self, when: &str, at_near: usize, at_far: usize) {
        // whenever it subscribes, a bridge gets what is retained, and passes it on: how often depends on
        // what came first
        let is_new =
            |message: &String| !message.contains("/kept/") && !message.starts_with("fence/");
        let patience = self.patience();
        let mut messages = [Vec::new(), Vec::new()];
        let [near, far] = &mut messages;
        for (service, seen, count) in [
            (&mut self.at_near, &mut *near, at_near),
            (&mut self.at_far, &mut *far, at_far),
        ] {
            *seen = service.messages_of(is_new, count, patience).await;
            seen.retain(is_new);
            self.is_complete &= seen.len() >= count;
        }
        // there, back, and there again: whatever was on its way is ahead of it
        for is_back in [false, true, false] {
            // a name of its own: one that was on its way when the way broke comes twice
            self.fences += 1;
            let fence = &*format!("fence/{}", self.fences);
            let from = if is_back {
                &mut self.at_far
            } else {
                &mut self.at_near
            };
            from.publish(fence, 1, false, &[""]).await;
            near.extend(self.at_near.until(fence, patience).await);
            far.extend(self.at_far.until(fence, patience).await);
        }
        for (side, mut seen) in ["near", "far"].into_iter().zip(messages) {
            seen.retain(is_new);
            let lines = summary(seen).into_iter();
            self.transcript
                .extend(lines.map(|line| format!("{when}, at {side}: {line}")));
        }
    }

    /// Nothing is waited for when something is missing already.
    const fn patience(&self) -> Duration {
        if self.is_complete {
            PATIENCE
        } else {
            Duration::from_secs(1)
        }
    }

    /// Whether a message is there for one that subscribes later.
    async fn kept(&mut self, side: &str, topic: &str) {
        let broker = if side == "near" {
            &self.near
        } else {
            &self.far
        };
        let mut late = Service::at(broker, TREE, topic).await;
        let messages = late.messages(1, self.patience()).await;
        self.is_complete &= messages.len() == 1;
        let lines = messages.iter().map(|it| format!("kept {side}: {it}"));
        self.transcript.extend(lines);
        late.leave().await;
    }

    fn end(mut self) -> Vec<String> {
        let wanted = format!(" as {BRIDGE} (");
        let lines = self.far.process().lines();
        let connections = lines.iter().filter_map(|line| line.split_once(&wanted));
        // behind the name: the version, whether the session is clean, and the keep alive
        let connections: Vec<_> = connections.map(|(_, options)| options.to_owned()).collect();
        self.transcript
            .push(format!("connections: {connections:?}"));
        let end = if self.is_complete { "ok" } else { "incomplete" };
        self.transcript.push(end.to_owned());
        self.transcript
    }
}
