//! What a session reports while it runs: counters in batches, and events.

use std::time::Duration;

use mproxy_codec::{Direction, Kind, PublishRun, QoS, ReasonCode, Version};

use crate::context::SessionInfo;
use crate::handle::SessionHandle;
use crate::summary::{CloseReason, Side};

/// Receives the counts of sessions: plain numbers, on the path of every packet, without saying whose.
///
/// All methods have empty defaults.
pub trait Counters: Send + Sync + 'static {
    /// Adds a batch to shared counters. Called once per read, not per packet, and not for an empty batch.
    fn record(&self, direction: Direction, batch: &Batch) {
        let _ = (direction, batch);
    }

    /// Called after a read with QoS 1 PUBLISH packets from the client: true to measure how long the
    /// broker takes to answer the next one. Each time it returns true, the clock is read: a few times
    /// per second and thread are enough for a histogram.
    fn wants_latency(&self) -> bool {
        false
    }

    /// The broker has acknowledged a QoS 1 PUBLISH this long after it was read, including the time with
    /// hooks and the wait to be written.
    fn publish_answered(&self, took: Duration) {
        let _ = took;
    }
}

/// Receives the events of a session: a few calls per session, in this order.
///
/// ```text
/// connect --> admitted --> connack --> ending      a client that is served; with enhanced
///                                                  authentication, `challenged` before connack
/// connect ---------------> connack --> ending      a client that is refused with a CONNACK
///                                      ending      a connection without a valid CONNECT
/// ```
///
/// Any of them except `ending` may be missing, and `ending` too if the future of
/// [`Session::run`](crate::Session::run) is dropped before it is ready. All methods have empty defaults. One that
/// panics ends its session only, as [`Summary::panicked`](crate::Summary::panicked) says.
pub trait Events: Send + Sync + 'static {
    /// A complete and valid CONNECT was read. Called once, before the hooks, with the names that the
    /// client sent.
    fn connect(&self, session: &SessionInfo) {
        let _ = session;
    }

    /// The hooks have let the client and its will in: the broker is dialled next. Called once, with the
    /// session's handle, which [has](SessionHandle::info) the names of the session from here on.
    fn admitted(&self, session: &SessionHandle) {
        let _ = session;
    }

    /// A client gets a CONNACK, from the broker or the proxy. `session` is `None` if no CONNECT could
    /// be read.
    fn connack(&self, session: Option<&SessionInfo>, version: Version, reason: ReasonCode) {
        let _ = (session, version, reason);
    }

    /// The broker has answered CONNECT with an AUTH: before its CONNACK it waits for the client. Called for
    /// each AUTH of the broker until then.
    fn challenged(&self) {}

    /// The session itself refuses a packet, without calling the hooks: one with more topic levels or
    /// topic filters than [`Limits`](crate::Limits) allows, or an AUTH with which a client could become
    /// another user than the hooks know. CONNECT means the will in it. Called before the session ends,
    /// if the packet ends it.
    fn refused(&self, direction: Direction, kind: Kind) {
        let _ = (direction, kind);
    }

    /// The client has accepted less than what waits for it for
    /// [`Limits::slow_consumer_time`](crate::Limits::slow_consumer_time): from here on the session drops
    /// messages for it.
    fn sheds(&self, session: &SessionInfo) {
        let _ = session;
    }

    /// The client has caught up, and the session drops no more messages for it. It has dropped so many since
    /// it began.
    fn caught_up(&self, session: &SessionInfo, dropped: u64) {
        let _ = (session, dropped);
    }

    /// The session ends. Called once, unless the future of [`Session::run`](crate::Session::run) is dropped, before the last packets are written and both sides are closed;
    /// the [`Summary`](crate::Summary) comes afterwards, which takes up to
    /// [`Limits::linger`](crate::Limits::linger) longer if a side is silent.
    fn ending(&self, side: Side, reason: CloseReason) {
        let _ = (side, reason);
    }

    /// The name of the session's hooks in the log line about one that
    /// [blocks](crate::guide#never-block), for example the layers of its chain. `None` is the name of
    /// their type.
    fn layers(&self) -> Option<String> {
        None
    }
}

/// Receives what a session reports: implemented for every type with [`Counters`] and
/// [`Events`].
pub trait Recorder: Counters + Events {}

impl<T: Counters + Events> Recorder for T {}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // complete: it does nothing
pub struct NoRecorder;

impl Counters for NoRecorder {}

impl Events for NoRecorder {}

/// The counts of one read: plain integers on the stack.
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
    /// PUBLISH packets that are not forwarded because they are larger than their receiver accepts.
    pub too_large: u32,
    /// PUBLISH packets whose Message Expiry Interval ended while a hook or a slow receiver held them.
    pub expired: u32,
    /// PUBLISH packets of QoS 0 that are not forwarded because the client is
    /// [slow](crate::SlowConsumer::DropQos0).
    pub shed: u32,
    /// Packets that hooks changed.
    pub modified: u32,
    /// Times that this side was not read because the other was slow.
    pub stalls: u32,
}

impl Batch {
    #[inline]
    pub(crate) fn read(&mut self, kind: Kind, bytes: usize) {
        self.packets[usize::from(kind.as_u8())] += 1;
        self.bytes += bytes as u64;
    }

    /// Counts a run of PUBLISH packets that are forwarded unchanged.
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
