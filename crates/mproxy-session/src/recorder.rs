//! What a session reports while it runs: counters, a batch at a time, and events.

use std::time::Duration;

use mproxy_codec::{Direction, Kind, PublishRun, QoS, ReasonCode, Version};

use crate::context::SessionInfo;
use crate::handle::SessionHandle;
use crate::summary::{CloseReason, Side};

/// Receives what sessions count: numbers, on the path of every packet, and without saying whose.
///
/// A type of which nothing is counted implements it empty.
pub trait Counters: Send + Sync + 'static {
    /// Adds a batch to shared counters. Called once per read, not per packet, and not for an empty batch.
    fn record(&self, direction: Direction, batch: &Batch) {
        let _ = (direction, batch);
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
}

/// Is told what happens in the life of a session: a few calls per session, each before the next.
///
/// ```text
/// connect --> admitted --> connack --> ending      a client that is served
/// connect ---------------> connack --> ending      one that is turned away, and told
///                                      ending      a connection without a valid CONNECT
/// ```
///
/// Any of them but `ending` may be missing. A type that nothing is told implements it empty.
pub trait Events: Send + Sync + 'static {
    /// A whole and valid CONNECT was read: from here on the connection is a client's. Called once,
    /// before the hooks are asked, with what the client said of itself.
    fn connect(&self, session: &SessionInfo) {
        let _ = session;
    }

    /// The hooks have let the client in, and its will: the broker is dialled next. Called once, with the
    /// session's handle, which [knows](SessionHandle::info) what the session is called from here on.
    fn admitted(&self, session: &SessionHandle) {
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

    /// What the log calls the hooks of the session, in the line of one that
    /// [blocks](crate::guide#never-block): the layers of its chain, for one. `None` is the name of
    /// their type.
    fn layers(&self) -> Option<String> {
        None
    }
}

/// What a session reports to while it runs: [`Counters`] and [`Events`], of which every type that is both
/// is one.
pub trait Recorder: Counters + Events {}

impl<T: Counters + Events> Recorder for T {}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // complete: it does nothing
pub struct NoRecorder;

impl Counters for NoRecorder {}

impl Events for NoRecorder {}

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
