//! Samples how long the broker takes to answer a PUBLISH.

use std::time::Duration;

use mproxy_codec::{PublishLayout, QoS, Version};
use tokio::time::Instant;

/// How many packets of a run are searched for one with QoS 1.
const LOOKED_AT: usize = 64;

/// The PUBLISH of QoS 1 that is being timed. Empty until a sample is wanted, so that the clock
/// is not read per packet.
#[derive(Debug, Default)]
pub(crate) struct Latency(Option<Box<Sample>>);

#[derive(Debug)]
enum Sample {
    /// The next PUBLISH of QoS 1.
    Wanted,
    Sent {
        packet_id: u16,
        at: Instant,
    },
}

impl Latency {
    /// True while no sample is in progress.
    #[inline]
    pub(crate) const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Requests to time the next PUBLISH.
    pub(crate) fn want(&mut self) {
        self.0.get_or_insert_with(|| Box::new(Sample::Wanted));
    }

    /// True if the next PUBLISH must be timed.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.0.as_deref(), Some(Sample::Wanted))
    }

    /// A PUBLISH is on its way to the broker, or to hooks that may refuse it.
    #[inline]
    pub(crate) fn begin(&mut self, layout: &PublishLayout) {
        if let Some(sample) = &mut self.0 {
            Self::time(sample, layout);
        }
    }

    #[cold]
    fn time(sample: &mut Sample, layout: &PublishLayout) {
        let Some(id) = layout
            .packet_id()
            .filter(|_| layout.qos() == QoS::AtLeastOnce)
        else {
            return;
        };
        match sample {
            // the same identifier again: the first was lost, so the answer is for this one
            Sample::Sent { packet_id, .. } if *packet_id != id => {}
            _ => {
                *sample = Sample::Sent {
                    packet_id: id,
                    at: Instant::now(),
                }
            }
        }
    }

    /// The same for the first in a run of packets that are not handled one by one.
    #[cold]
    pub(crate) fn begin_run(&mut self, run: &[u8], len: usize, version: Version) {
        let mut run = &run[..len];
        for _ in 0..LOOKED_AT {
            let Some(layout) = PublishLayout::ordinary(run, version) else {
                return;
            };
            self.begin(&layout);
            if !self.is_wanted() {
                return;
            }
            run = run.get(layout.total_len()..).unwrap_or_default();
        }
    }

    /// The broker has answered: returns how long it took, if this PUBLISH was timed.
    #[inline]
    pub(crate) fn end(&mut self, packet_id: u16) -> Option<Duration> {
        match self.0.as_deref() {
            Some(Sample::Sent { packet_id: id, at }) if *id == packet_id => {
                let took = at.elapsed();
                self.0 = None;
                Some(took)
            }
            _ => None,
        }
    }
}
