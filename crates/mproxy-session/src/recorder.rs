//! How a session's counters reach the outside: a batch at a time.

use std::time::Duration;

use mproxy_codec::{Direction, Kind, PublishRun, QoS, ReasonCode, Version};

use crate::context::SessionInfo;
use crate::summary::{CloseReason, Side};

/// Receives what sessions count. Called once per read, not per packet.
pub trait Recorder: Send + Sync + 'static {
    /// Adds a batch to shared counters.
    fn record(&self, direction: Direction, batch: &Batch);

    /// A whole and valid CONNECT was read: from here on the connection is a client's. Called once,
    /// before the hooks are asked, with what the client said of itself.
    fn connect(&self, session: &SessionInfo) {
        let _ = session;
    }

    /// A client is answered with a CONNACK, the broker's or the proxy's. `session` is `None` when
    /// no CONNECT could be read.
    fn connack(&self, session: Option<&SessionInfo>, version: Version, reason: ReasonCode) {
        let _ = (session, version, reason);
    }

    /// The session refuses a packet by itself, without asking the hooks: one with more topic levels or
    /// topic filters than [`Limits`](crate::Limits) lets them be asked about, or an AUTH by which a client
    /// that they know by its CONNECT would become another one. CONNECT stands for the will in it.
    /// Called before the session ends, if the packet ends it.
    fn refused(&self, direction: Direction, kind: Kind) {
        let _ = (direction, kind);
    }

    /// The session ends. Called once, before the last words are written and both sides are closed;
    /// the [`Summary`](crate::Summary) comes when that is done, which takes up to
    /// [`Limits::linger`](crate::Limits::linger) longer where a side is silent.
    fn ending(&self, side: Side, reason: CloseReason) {
        let _ = (side, reason);
    }

    /// Asked after a read that brought PUBLISH packets of QoS 1 of the client: true if it should be
    /// measured how long the broker takes to answer the next one. As often as this says so a clock is
    /// read: a few times a second and thread are enough for a histogram.
    fn wants_latency(&self) -> bool {
        false
    }

    /// The broker has answered a PUBLISH of QoS 1 that long after it had been read: with PUBACK, and
    /// the time that hooks had it and that it waited to be written included.
    fn publish_answered(&self, took: Duration) {
        let _ = took;
    }

    /// What the log calls the hooks of the session, in the line of one that
    /// [blocks](crate::guide#never-block): the layers of its chain, for one. `None` is the name of
    /// their type.
    fn layers(&self) -> Option<String> {
        None
    }
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // complete: it does nothing
pub struct NoRecorder;

impl Recorder for NoRecorder {
    fn record(&self, _: Direction, _: &Batch) {}
}

/// What one read brought: plain integers on the stack.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// Packets by type number; index 0 is unused.
    pub packets: [u32; 16],
    /// Bytes of those packets.
    pub bytes: u64,
    /// PUBLISH packets forwarded, by QoS.
    pub publishes: [u32; 3],
    /// Packets that the proxy made itself and sent back, by type number.
    pub injected: [u32; 16],
    /// PUBLISH, SUBSCRIBE and other packets that hooks refused, in whole or in part, or discarded.
    pub denied: u32,
    /// PUBLISH packets that do not go on because they are larger than their receiver takes.
    pub too_large: u32,
    /// PUBLISH packets whose Message Expiry Interval ended while a hook or a slow receiver held them.
    pub expired: u32,
    /// Packets that hooks changed.
    pub modified: u32,
    /// The other side was slow and this one was not read.
    pub stalls: u32,
}

impl Batch {
    #[inline]
    pub(crate) fn read(&mut self, kind: Kind, bytes: usize) {
        self.packets[usize::from(kind.as_u8())] += 1;
        self.bytes += bytes as u64;
    }

    /// Counts a run of PUBLISH packets that are forwarded as they are.
    #[inline]
    pub(crate) fn read_run(&mut self, run: &PublishRun) {
        self.packets[usize::from(Kind::Publish.as_u8())] += run.packets();
        self.bytes += run.len() as u64;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            self.publishes[usize::from(qos.as_u8())] += run.of_qos(qos);
        }
    }

    #[inline]
    pub(crate) fn published(&mut self, qos: QoS) {
        self.publishes[usize::from(qos.as_u8())] += 1;
    }

    /// Counts a packet that the proxy made, by its first byte.
    pub(crate) fn inject_packet(&mut self, packet: &[u8]) {
        let first = packet.first().copied().unwrap_or_default();
        if let Some(kind) = Kind::from_first_byte(first) {
            self.inject(kind);
        }
    }

    pub(crate) fn inject(&mut self, kind: Kind) {
        self.injected[usize::from(kind.as_u8())] += 1;
    }
}
