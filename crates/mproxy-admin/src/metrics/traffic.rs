//! What is counted per packet: one padded block of counters a worker, summed at each scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::labels::{Direction, PacketType};

/// What one connection moved in one direction since it last folded: plain integers, no atomics.
///
/// A session owns one for each direction, adds to its fields packet by packet, and hands it to
/// [`TrafficCounters::add`] or [`fold`](TrafficCounters::fold) once a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Packets read, by the packet type's code on the wire; index 0 is not counted.
    pub packets: [u32; 16],
    /// Bytes of the packets read.
    pub bytes: u64,
    /// PUBLISH packets forwarded, by QoS.
    pub publishes: [u32; 3],
    /// Times the side that sends was not read because the other one was slow.
    pub stalls: u32,
}

/// The counters that one worker thread adds to.
///
/// Aligned so that no other thread's writes share a cache line (or the pair that the prefetcher
/// fetches) with it: an add by the owner costs the same however many workers there are. Adds are
/// atomic, so an add from a foreign thread is slower and not wrong.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct TrafficCounters {
    directions: [DirectionCounters; Direction::ALL.len()],
}

#[derive(Debug, Default)]
struct DirectionCounters {
    packets: [AtomicU64; 16],
    bytes: AtomicU64,
    publishes: [AtomicU64; 3],
    stalls: AtomicU64,
}

impl TrafficCounters {
    /// Adds what was read in one direction. Zeros cost a comparison and no write.
    pub fn add(&self, direction: Direction, traffic: &Traffic) {
        let counters = &self.directions[direction as usize];
        for (counter, n) in counters.packets.iter().zip(traffic.packets) {
            add(counter, u64::from(n));
        }
        add(&counters.bytes, traffic.bytes);
        for (counter, n) in counters.publishes.iter().zip(traffic.publishes) {
            add(counter, u64::from(n));
        }
        add(&counters.stalls, u64::from(traffic.stalls));
    }

    /// Adds what was read in one direction and starts `traffic` again at zero.
    pub fn fold(&self, direction: Direction, traffic: &mut Traffic) {
        self.add(direction, traffic);
        *traffic = Traffic::default();
    }
}

fn add(counter: &AtomicU64, n: u64) {
    if n != 0 {
        // Counters order nothing: a scrape may see one batch half added.
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Collector {
    workers: Arc<[Arc<TrafficCounters>]>,
}

impl Collector {
    pub(super) fn new(workers: Arc<[Arc<TrafficCounters>]>) -> Self {
        Self { workers }
    }

    fn sum(&self, direction: Direction, counter: impl Fn(&DirectionCounters) -> &AtomicU64) -> u64 {
        let counters = self
            .workers
            .iter()
            .map(|worker| &worker.directions[direction as usize]);
        counters
            .map(|counters| counter(counters).load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

impl collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut packets = counter(&mut encoder, "mproxy_packets", "MQTT packets read.")?;
        for &direction in Direction::ALL {
            for &kind in PacketType::ALL {
                let labels = [("direction", direction.as_str()), ("type", kind.as_str())];
                let n = self.sum(direction, |counters| &counters.packets[kind as usize]);
                sample(&mut packets, &labels, n)?;
            }
        }
        let mut bytes = counter(
            &mut encoder,
            "mproxy_packet_bytes",
            "Bytes of MQTT packets read.",
        )?;
        for &direction in Direction::ALL {
            let n = self.sum(direction, |counters| &counters.bytes);
            sample(&mut bytes, &[("direction", direction.as_str())], n)?;
        }
        let mut publishes = counter(
            &mut encoder,
            "mproxy_publishes",
            "PUBLISH packets forwarded.",
        )?;
        for &direction in Direction::ALL {
            for (qos, text) in QOS.iter().enumerate() {
                let labels = [("direction", direction.as_str()), ("qos", *text)];
                let n = self.sum(direction, |counters| &counters.publishes[qos]);
                sample(&mut publishes, &labels, n)?;
            }
        }
        let mut stalls = counter(
            &mut encoder,
            "mproxy_backpressure_stalls",
            "Times a side was not read because the other was slow.",
        )?;
        for &direction in Direction::ALL {
            let n = self.sum(direction, |counters| &counters.stalls);
            sample(&mut stalls, &[("direction", direction.as_str())], n)?;
        }
        Ok(())
    }
}

/// Starts a family of counters; the encoder adds `_total` to the name.
pub(super) fn counter<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

/// Writes one counter of a family.
pub(super) fn sample(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    n: u64,
) -> fmt::Result {
    ConstCounter::new(n).encode(family.encode_family(labels)?)
}

const QOS: [&str; 3] = ["0", "1", "2"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_two_workers_share_no_cache_line() {
        assert_eq!(align_of::<TrafficCounters>(), 128);
        assert_eq!(size_of::<TrafficCounters>() % 128, 0);
    }

    #[test]
    fn two_threads_are_summed() {
        const ROUNDS: u64 = 50_000;
        let workers: Arc<[_]> = (0..2).map(|_| Arc::<TrafficCounters>::default()).collect();
        let collector = Collector::new(Arc::clone(&workers));
        std::thread::scope(|scope| {
            for own in workers.iter() {
                // Each thread hammers its own block, and the first block as a foreigner.
                let first = &workers[0];
                scope.spawn(move || {
                    let mut batch = Traffic::default();
                    for _ in 0..ROUNDS {
                        batch.packets[PacketType::Publish as usize] += 2;
                        batch.bytes += 70;
                        batch.publishes[1] += 2;
                        own.fold(Direction::ClientToBroker, &mut batch);
                        batch.stalls += 1;
                        first.fold(Direction::BrokerToClient, &mut batch);
                    }
                });
            }
        });
        let sum = |direction, counter: fn(&DirectionCounters) -> &AtomicU64| {
            collector.sum(direction, counter)
        };
        let up = Direction::ClientToBroker;
        assert_eq!(
            sum(up, |c| &c.packets[PacketType::Publish as usize]),
            4 * ROUNDS
        );
        assert_eq!(sum(up, |c| &c.bytes), 140 * ROUNDS);
        assert_eq!(sum(up, |c| &c.publishes[1]), 4 * ROUNDS);
        assert_eq!(sum(up, |c| &c.stalls), 0);
        assert_eq!(sum(Direction::BrokerToClient, |c| &c.stalls), 2 * ROUNDS);
        assert_eq!(sum(Direction::BrokerToClient, |c| &c.bytes), 0);
    }
}
