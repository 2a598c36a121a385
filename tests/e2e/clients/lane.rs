//! A client on one of the two ways to the broker, and what it saw.

use std::net::SocketAddr;
use std::time::Duration;

use mproxy_tests::{Mosquitto, Process};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::program::Program;
use super::service::Service;
use super::summary::summary;

/// How long a step may take, which is far longer than any of the clients waits before it connects again.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// Seconds; mosquitto's library takes none that is shorter.
const KEEP_ALIVE: u16 = 5;

/// Something that a client was to see did not come.
pub(super) struct Stuck;

/// Whether a scene came to its end.
pub(super) type Played = Result<(), Stuck>;

/// A client, its counterpart, and its transcript.
pub(super) struct Lane<'a> {
    /// Also the first level of all its topics.
    pub(super) name: &'static str,
    pub(super) program: &'a Program,
    /// Where the client connects.
    addr: SocketAddr,
    pub(super) client: Process,
    pub(super) service: Service,
    /// How many events of the client are in the transcript, or were left out on purpose.
    seen: usize,
    transcript: Vec<String>,
    /// The play of this lane ended before its time.
    pub(super) is_stuck: bool,
}

impl<'a> Lane<'a> {
    pub(super) async fn new(
        name: &'static str,
        program: &'a Program,
        addr: SocketAddr,
        broker: &Mosquitto,
    ) -> Self {
        Self {
            name,
            program,
            addr,
            client: program.spawn(),
            service: Service::at(broker, name, "up/#").await,
            seen: 0,
            transcript: Vec::new(),
            is_stuck: false,
        }
    }

    pub(super) fn client_id(&self) -> String {
        format!("client-{}", self.name)
    }

    /// Has the client do something.
    pub(super) async fn tell(&mut self, command: &Value) -> Played {
        let line = format!("{command}\n");
        if self.client.try_write(line.as_bytes()).await {
            return Ok(());
        }
        self.stuck("the program has ended")
    }

    /// Has the client connect, and subscribe whenever it is connected.
    pub(super) async fn open(&mut self, password: &str) -> Played {
        let command = json!({
            "do": "open",
            "port": self.addr.port(),
            "id": self.client_id(),
            "password": password,
            "keep_alive": KEEP_ALIVE,
            "will": format!("{}/up/will", self.name),
            "filter": format!("{}/down/#", self.name),
            "qos": self.program.qos,
        });
        self.tell(&command).await
    }

    pub(super) async fn publish(
        &mut self,
        topic: &str,
        qos: u8,
        retain: bool,
        payload: &str,
    ) -> Played {
        let topic = format!("{}/{topic}", self.name);
        let command = json!({
            "do": "publish", "topic": topic, "qos": qos, "retain": retain, "payload": payload,
        });
        self.tell(&command).await
    }

    /// Waits until the client has seen so many events of each of these kinds, and writes down
    /// everything that it saw since the last step.
    pub(super) async fn step(&mut self, what: &str, wanted: &[(&str, usize)]) -> Played {
        let complete = self.wait(wanted).await;
        let seen = self.new_events();
        self.record(what, seen);
        complete.or_else(|missing| self.stuck(&format!("{what}: MISSING {missing}")))
    }

    /// The same, but writes down only the events of this kind, each once. For what a client does until
    /// it is told to stop.
    pub(super) async fn step_of(
        &mut self,
        what: &str,
        kind: &str,
        wanted: &[(&str, usize)],
    ) -> Played {
        let complete = self.wait(wanted).await;
        let mut seen = self.new_events();
        seen.retain(|event| event.starts_with(kind));
        seen.sort();
        seen.dedup();
        self.record(what, seen);
        complete.or_else(|missing| self.stuck(&format!("{what}: MISSING {missing}")))
    }

    /// What was missing when the time was up.
    pub(super) async fn wait(&self, wanted: &[(&str, usize)]) -> Result<(), String> {
        let from = self.seen;
        let lane = self.name;
        let missing = |lines: &[String]| {
            let events: Vec<_> = events(lines, lane).skip(from).collect();
            wanted.iter().find_map(|(kind, count)| {
                let found = events.iter().filter(|it| it.starts_with(kind)).count();
                (found < *count).then(|| format!("{kind} ({found} of {count})"))
            })
        };
        let complete = |lines: &[String]| missing(lines).is_none();
        if self.client.lines_are(PATIENCE, complete).await {
            return Ok(());
        }
        Err(missing(&self.client.lines()).unwrap_or_default())
    }

    /// Ends the play of this lane: what follows would only fail, too.
    pub(super) fn stuck(&mut self, why: &str) -> Played {
        self.transcript.push(why.to_owned());
        self.is_stuck = true;
        Err(Stuck)
    }

    fn new_events(&mut self) -> Vec<String> {
        let lines = self.client.lines();
        let new: Vec<_> = events(&lines, self.name).skip(self.seen).collect();
        self.seen += new.len();
        new
    }

    /// Writes down what somebody saw.
    pub(super) fn record(&mut self, what: &str, seen: Vec<String>) {
        for event in summary(seen) {
            self.transcript.push(format!("{what}: {event}"));
        }
    }

    /// Waits until the broker has the acknowledgement of every message that it sent to the client since
    /// that connected. Otherwise it would send some again when the client comes back, or not: that
    /// depends on the moment.
    pub(super) async fn settle(&mut self, broker: &Mosquitto) -> Played {
        let id = self.client_id();
        let connected = format!(" as {id} ");
        let settled = |lines: &[String]| {
            let since = lines.iter().rposition(|it| it.contains(&connected));
            let lines = &lines[since.unwrap_or(0)..];
            let count = |what: &str, qos: &str| {
                let what = format!("{what} {id} (");
                lines
                    .iter()
                    .filter(|it| it.contains(&what) && it.contains(qos))
                    .count()
            };
            count("Sending PUBLISH to", ", q1,") == count("Received PUBACK from", "")
                && count("Sending PUBLISH to", ", q2,") == count("Received PUBCOMP from", "")
        };
        if broker.process().lines_are(PATIENCE, settled).await {
            return Ok(());
        }
        self.stuck("messages stay unacknowledged")
    }

    /// What its counterpart received.
    pub(super) async fn received(&mut self, what: &str, count: usize) -> Played {
        let messages = self.service.messages(count, PATIENCE).await;
        let found = messages.len();
        self.record(&format!("{what}, received"), messages);
        if found >= count {
            return Ok(());
        }
        self.stuck(&format!("{what}: MISSING messages ({found} of {count})"))
    }

    /// The client dies without a word.
    pub(super) fn kill(&self) {
        self.client.signal(Signal::KILL);
    }

    /// What the client said last, for people.
    pub(super) fn last_lines(&self) -> String {
        let lines = self.client.lines();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// What happened, line by line; ends with `ok` if everything came that was to come.
    pub(super) fn transcript(&self) -> Vec<String> {
        let end = if self.is_stuck { "stuck" } else { "ok" };
        let lines = self.transcript.iter().cloned();
        lines.chain([end.to_owned()]).collect()
    }
}

/// How many lines of a client are shown when the transcripts differ.
const SHOWN: usize = 20;

/// The events among the lines of a client, without the first level of its topics.
fn events<'a>(lines: &'a [String], lane: &str) -> impl Iterator<Item = String> + use<'a> {
    let prefix = format!(" {lane}/");
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("event "))
        .map(move |event| event.replace(&prefix, " "))
}
