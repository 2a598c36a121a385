//! Hooks whose verdict a test reads off the topic or filter, and that a test can hold up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mproxy_codec::ReasonCode;
use mproxy_session::{BoxError, HeadOnly, Packet, PacketService, Refusal, Verdict};
use tokio::sync::Semaphore;

/// Holds hooks up until a test lets them go.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets this many waiters through.
    pub fn open(&self, waiters: usize) {
        self.0.add_permits(waiters);
    }

    pub async fn pass(&self) {
        self.0.acquire().await.expect("never closed").forget();
    }
}

/// What hooks have seen, in order.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub fn push(&self, text: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.into());
    }

    /// Takes what was seen since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Judges by what the topic begins with: see the match below.
pub fn by_topic(gate: &Gate, seen: &Seen) -> impl PacketService + Clone + use<> {
    judged_by_topic(gate, seen)
}

/// As [`by_topic`], without payloads.
pub fn heads_by_topic(gate: &Gate, seen: &Seen) -> impl PacketService<HeadOnly> + Clone + use<> {
    judged_by_topic(gate, seen)
}

fn judged_by_topic<P>(gate: &Gate, seen: &Seen) -> impl PacketService<P> + Clone + use<P>
where
    P: 'static,
{
    let gate = gate.clone();
    let seen = seen.clone();
    tower::service_fn(move |mut packet: Packet<P>| {
        let gate = gate.clone();
        let topic = name_of(&packet);
        seen.push(topic.clone());
        async move {
            let verdict = match topic.split('/').next() {
                Some("denied") => Verdict::refuse(ReasonCode::NOT_AUTHORIZED),
                Some("texted") => {
                    Verdict::Refuse(Refusal::new(ReasonCode::QUOTA_EXCEEDED).with_text("no"))
                }
                Some("dropped") => Verdict::Discard,
                Some("closed") => Verdict::Close(ReasonCode::ADMINISTRATIVE_ACTION),
                Some("failed") => return Err(BoxError::from("a hook fails on purpose")),
                Some("panicked") => panic!("a hook panics on purpose"),
                Some("never") => std::future::pending().await,
                Some("slow") => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Verdict::Forward(packet)
                }
                Some("held") => {
                    gate.pass().await;
                    Verdict::Forward(packet)
                }
                Some("held-denied") => {
                    gate.pass().await;
                    Verdict::refuse(ReasonCode::NOT_AUTHORIZED)
                }
                Some("from") => {
                    packet.set_topic(&topic.replacen("from", "to", 1))?;
                    Verdict::Forward(packet)
                }
                _ => Verdict::Forward(packet),
            };
            Ok::<_, BoxError>(verdict)
        }
    })
}

/// The topic of a PUBLISH, the first filter of a request, or the packet type.
pub fn name_of<P>(packet: &Packet<P>) -> String {
    if let Some(publish) = packet.publish() {
        return publish.topic().to_string();
    }
    if let Some(subscribe) = packet.subscribe() {
        return subscribe
            .subscriptions()
            .next()
            .map_or_else(String::new, |s| s.filter.to_string());
    }
    if let Some(unsubscribe) = packet.unsubscribe() {
        return unsubscribe
            .filters()
            .next()
            .map_or_else(String::new, |it| it.to_string());
    }
    packet.kind().to_string()
}
