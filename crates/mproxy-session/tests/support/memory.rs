//! A connection in memory, of which the test holds one end and every knob.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction of a connection.
#[derive(Debug)]
struct Lane {
    bytes: BytesMut,
    /// How many bytes wait at most before a write blocks.
    capacity: usize,
    /// Sizes of the next reads; a read in between finds nothing.
    chunks: VecDeque<usize>,
    /// Size of every read once `chunks` is used up.
    max_read: usize,
    /// The last read was a chunk: the next one waits, as for the next segment.
    gap: bool,
    ended: bool,
    read_error: Option<io::ErrorKind>,
    write_error: Option<io::ErrorKind>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The most bytes that ever waited.
    peak: usize,
    /// How many bytes the last read had room for.
    room: usize,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            capacity: usize::MAX,
            chunks: VecDeque::new(),
            max_read: usize::MAX,
            gap: false,
            ended: false,
            read_error: None,
            write_error: None,
            reader: None,
            writer: None,
            peak: 0,
            room: 0,
        }
    }
}

impl Lane {
    fn wake(waker: &mut Option<Waker>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

type Shared = Arc<Mutex<Lane>>;

fn lock(lane: &Shared) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection: the session's end and the test's.
pub fn connection() -> (Socket, Wire) {
    let inward = Shared::default();
    let outward = Shared::default();
    let socket = Socket {
        inward: Arc::clone(&inward),
        outward: Arc::clone(&outward),
    };
    (socket, Wire { inward, outward })
}

/// The session's end.
#[derive(Debug)]
pub struct Socket {
    inward: Shared,
    outward: Shared,
}

impl Socket {
    /// Whether the test has closed its end, even if there is something to read before that.
    pub fn has_left(&self) -> bool {
        let lane = lock(&self.inward);
        lane.ended || lane.read_error.is_some()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut lane = lock(&self.inward);
        lane.room = buffer.remaining();
        if lane.bytes.is_empty() {
            if let Some(kind) = lane.read_error {
                return Poll::Ready(Err(kind.into()));
            }
            if lane.ended {
                return Poll::Ready(Ok(()));
            }
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if std::mem::take(&mut lane.gap) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = lane.chunks.pop_front();
        lane.gap = chunk.is_some();
        let limit = chunk.unwrap_or(lane.max_read);
        let len = limit.min(buffer.remaining()).min(lane.bytes.len());
        if let Some(rest) = chunk.map(|chunk| chunk - len)
            && rest > 0
        {
            lane.chunks.push_front(rest);
        }
        buffer.put_slice(&lane.bytes[..len]);
        lane.bytes.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut lane = lock(&self.outward);
        if let Some(kind) = lane.write_error {
            return Poll::Ready(Err(kind.into()));
        }
        if lane.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = lane.capacity.saturating_sub(lane.bytes.len());
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = room.min(bytes.len());
        lane.bytes.extend_from_slice(&bytes[..len]);
        lane.peak = lane.peak.max(lane.bytes.len());
        Lane::wake(&mut lane.reader);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.outward).ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        lock(&self.outward).ended = true;
        let mut inward = lock(&self.inward);
        inward.write_error = Some(io::ErrorKind::ConnectionReset);
    }
}

/// The test's end.
#[derive(Debug)]
pub struct Wire {
    inward: Shared,
    outward: Shared,
}

impl Wire {
    /// Sends bytes, however many.
    pub fn send(&self, bytes: &[u8]) {
        let mut lane = lock(&self.inward);
        lane.bytes.extend_from_slice(bytes);
        Lane::wake(&mut lane.reader);
    }

    /// How many bytes the session's last read had room for.
    pub fn room(&self) -> usize {
        lock(&self.inward).room
    }

    /// Ends the stream towards the session; the other direction stays open.
    pub fn finish(&self) {
        let mut lane = lock(&self.inward);
        lane.ended = true;
        Lane::wake(&mut lane.reader);
    }

    /// Breaks the connection in both directions, after what was sent.
    pub fn reset(&self) {
        self.fail_reads(io::ErrorKind::ConnectionReset);
        self.fail_writes(io::ErrorKind::ConnectionReset);
    }

    /// Lets the session's reads fail once what was sent has been read.
    pub fn fail_reads(&self, kind: io::ErrorKind) {
        let mut lane = lock(&self.inward);
        lane.read_error = Some(kind);
        Lane::wake(&mut lane.reader);
    }

    /// Lets the session's writes fail.
    pub fn fail_writes(&self, kind: io::ErrorKind) {
        let mut lane = lock(&self.outward);
        lane.write_error = Some(kind);
        Lane::wake(&mut lane.writer);
    }

    /// How many bytes the session may write ahead of the test.
    pub fn set_capacity(&self, capacity: usize) {
        let mut lane = lock(&self.outward);
        lane.capacity = capacity;
        Lane::wake(&mut lane.writer);
    }

    /// Cuts what the session reads into pieces of these sizes, then of `max_read`.
    pub fn set_chunks(&self, chunks: impl IntoIterator<Item = usize>, max_read: usize) {
        let mut lane = lock(&self.inward);
        lane.chunks = chunks.into_iter().filter(|size| *size > 0).collect();
        lane.max_read = max_read;
    }

    /// Takes what the session has written so far.
    pub fn drain(&self) -> Vec<u8> {
        let mut lane = lock(&self.outward);
        let bytes = lane.bytes.split().to_vec();
        Lane::wake(&mut lane.writer);
        bytes
    }

    /// Takes up to `len` bytes of what the session has written so far.
    pub fn drain_up_to(&self, len: usize) -> Vec<u8> {
        let mut lane = lock(&self.outward);
        let len = len.min(lane.bytes.len());
        let bytes = lane.bytes.split_to(len).to_vec();
        Lane::wake(&mut lane.writer);
        bytes
    }

    /// Waits until nothing moves and takes everything that was written.
    pub async fn take(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            super::settle().await;
            let bytes = self.drain();
            if bytes.is_empty() {
                return all;
            }
            all.extend_from_slice(&bytes);
        }
    }

    /// Waits until nothing moves; the bytes written since must be these.
    #[track_caller]
    pub fn expect<'a>(&'a self, wanted: &'a [u8]) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let got = self.take().await;
            super::assert_bytes(&got, wanted, &format!("wire at {caller}"));
        }
    }

    /// As [`expect`](Self::expect) for a client, with Reason Strings left out.
    #[track_caller]
    pub fn expect_plain<'a>(&'a self, wanted: &'a [u8]) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let got = super::frames::without_texts(&self.take().await);
            super::assert_bytes(&got, wanted, &format!("wire at {caller}"));
        }
    }

    /// True when the session has ended its stream, or dropped the connection.
    pub fn is_ended(&self) -> bool {
        lock(&self.outward).ended
    }

    /// Bytes that the session has not read.
    pub fn unread(&self) -> usize {
        lock(&self.inward).bytes.len()
    }

    /// The most bytes that the session ever wrote ahead of the test.
    pub fn peak(&self) -> usize {
        lock(&self.outward).peak
    }
}
