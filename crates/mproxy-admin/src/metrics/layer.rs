//! Counters of a layer, which may change with every packet.
//!
//! A layer is shared by all workers, so its counters are split into shards and a thread adds to
//! its own, made when it is first needed: no lock, no look-up and, up to [`SHARDS`] threads, no
//! contended cache line.

use std::array::from_fn;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};

use super::traffic::{counter, sample};
use crate::labels::{Action, Decision, PacketType, Reason};

/// The counters of one layer; clones share them.
#[derive(Debug, Clone)]
pub struct LayerMetrics {
    layer: Arc<Layer>,
}

impl LayerMetrics {
    /// Counts an authorization decision.
    pub fn decision(&self, action: Action, decision: Decision) {
        inc(&self.shard().decisions[action as usize][decision as usize]);
    }

    /// Counts a decision that was made this many times.
    pub fn decisions(&self, action: Action, decision: Decision, count: u32) {
        let counter = &self.shard().decisions[action as usize][decision as usize];
        counter.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Counts a packet that the layer changed.
    pub fn modified(&self, packet: PacketType) {
        inc(&self.shard().modified[packet as usize]);
    }

    /// Counts a packet that the layer dropped.
    pub fn dropped(&self, packet: PacketType, reason: Reason) {
        inc(&self.shard().dropped[packet as usize][reason as usize]);
    }

    /// Counts so many packets that the layer dropped.
    pub fn dropped_many(&self, packet: PacketType, reason: Reason, count: u32) {
        let counter = &self.shard().dropped[packet as usize][reason as usize];
        counter.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Counts a packet that the proxy made itself on behalf of the layer.
    pub fn injected(&self, packet: PacketType) {
        inc(&self.shard().injected[packet as usize]);
    }

    fn shard(&self) -> &Shard {
        let own = OWN_SHARD.with(|shard| *shard);
        self.layer.shards[own].get_or_init(Box::default)
    }
}

fn inc(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// All layers by name: the collector of their families.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// A handful, named by the configuration.
    layers: Mutex<Vec<Arc<Layer>>>,
}

impl Layers {
    pub(super) fn named(&self, name: &str) -> LayerMetrics {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = layers.iter().find(|layer| layer.name == name);
        let layer = known.map(Arc::clone).unwrap_or_else(|| {
            let layer = Arc::new(Layer {
                name: name.to_owned(),
                shards: Default::default(),
            });
            layers.push(Arc::clone(&layer));
            layer
        });
        LayerMetrics { layer }
    }
}

impl collector::Collector for Layers {
    // Only what was counted is shown: most combinations make no sense for most layers.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let layers = self
            .layers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        encode(
            &mut encoder,
            ("mproxy_packets_modified", "Packets changed by a layer."),
            layers.iter().flat_map(|layer| {
                PacketType::ALL.iter().map(|kind| {
                    let n = layer.sum(|shard| &shard.modified[*kind as usize]);
                    ([("layer", layer.name.as_str()), ("type", kind.as_str())], n)
                })
            }),
        )?;
        encode(
            &mut encoder,
            ("mproxy_packets_dropped", "Packets dropped by a layer."),
            layers.iter().flat_map(|layer| {
                pairs(PacketType::ALL, Reason::ALL).map(|(kind, reason)| {
                    let n = layer.sum(|shard| &shard.dropped[kind as usize][reason as usize]);
                    let labels = [
                        ("layer", layer.name.as_str()),
                        ("type", kind.as_str()),
                        ("reason", reason.as_str()),
                    ];
                    (labels, n)
                })
            }),
        )?;
        encode(
            &mut encoder,
            (
                "mproxy_packets_injected",
                "Packets made by the proxy itself.",
            ),
            layers.iter().flat_map(|layer| {
                PacketType::ALL.iter().map(|kind| {
                    let n = layer.sum(|shard| &shard.injected[*kind as usize]);
                    ([("layer", layer.name.as_str()), ("type", kind.as_str())], n)
                })
            }),
        )?;
        encode(
            &mut encoder,
            ("mproxy_auth_decisions", "Authorization decisions."),
            layers.iter().flat_map(|layer| {
                pairs(Action::ALL, Decision::ALL).map(|(action, decision)| {
                    let n = layer.sum(|shard| &shard.decisions[action as usize][decision as usize]);
                    let labels = [
                        ("layer", layer.name.as_str()),
                        ("action", action.as_str()),
                        ("decision", decision.as_str()),
                    ];
                    (labels, n)
                })
            }),
        )
    }
}

fn encode<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    samples: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut samples = samples.filter(|(_, n)| *n != 0).peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut family = counter(encoder, name, help)?;
    for (labels, n) in samples {
        sample(&mut family, &labels, n)?;
    }
    Ok(())
}

pub(super) fn pairs<A: Copy, B: Copy>(
    left: &'static [A],
    right: &'static [B],
) -> impl Iterator<Item = (A, B)> {
    left.iter()
        .flat_map(move |a| right.iter().map(move |b| (*a, *b)))
}

#[derive(Debug)]
struct Layer {
    name: String,
    /// Those in use.
    shards: [OnceLock<Box<Shard>>; SHARDS],
}

impl Layer {
    fn sum(&self, counter: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        let shards = self.shards.iter().filter_map(OnceLock::get);
        shards
            .map(|shard| counter(shard))
            .map(|counter| counter.load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

/// Counters indexed by the discriminants of their labels; packet types begin at 1.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    decisions: [[AtomicU64; Decision::ALL.len()]; Action::ALL.len()],
    modified: [AtomicU64; PACKET_CODES],
    injected: [AtomicU64; PACKET_CODES],
    dropped: [[AtomicU64; Reason::ALL.len()]; PACKET_CODES],
}

// not derived: arrays have a default up to 32 only, and there are more reasons
impl Default for Shard {
    fn default() -> Self {
        Self {
            decisions: Default::default(),
            modified: Default::default(),
            injected: Default::default(),
            dropped: from_fn(|_| from_fn(|_| AtomicU64::new(0))),
        }
    }
}

thread_local! {
    static OWN_SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

/// A shard takes 4 KiB a layer; with more threads than shards some share one.
const SHARDS: usize = 8;

/// One more than the largest packet type code.
const PACKET_CODES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_are_summed() {
        const ROUNDS: u64 = 10_000;
        let layers = Layers::default();
        std::thread::scope(|scope| {
            for _ in 0..SHARDS + 2 {
                let acl = layers.named("acl");
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        acl.decision(Action::Publish, Decision::Deny);
                        acl.dropped(PacketType::Publish, Reason::AclDenied);
                    }
                });
            }
        });
        let acl = layers.named("acl").layer;
        let expected = (SHARDS as u64 + 2) * ROUNDS;
        let denied = acl.sum(|s| &s.decisions[Action::Publish as usize][Decision::Deny as usize]);
        assert_eq!(denied, expected);
        let allowed = acl.sum(|s| &s.decisions[Action::Publish as usize][Decision::Allow as usize]);
        assert_eq!(allowed, 0);
    }

    #[test]
    fn same_name_is_the_same_layer() {
        let layers = Layers::default();
        layers.named("topic-map").modified(PacketType::Publish);
        layers.named("topic-map").modified(PacketType::Publish);
        let layer = layers.named("topic-map").layer;
        assert_eq!(layer.sum(|s| &s.modified[PacketType::Publish as usize]), 2);
    }
}
