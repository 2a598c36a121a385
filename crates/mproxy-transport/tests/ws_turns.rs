//! One WebSocket among others: what a poll may do, whatever the peer sends.

mod support;

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use mproxy_transport::{WsOptions, WsStream};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, join, sink};

use support::{BINARY, PING, PONG, frame};

/// The most that one poll takes from the socket before there is payload.
const MAX_RAW_BYTES: usize = 64 * 1024;
const MAX_READS: usize = 8;

/// The reading half of a socket that always has something until it has given everything.
#[derive(Debug)]
struct Busy {
    bytes: Vec<u8>,
    at: usize,
    /// The largest read.
    piece: usize,
    taken: Arc<Taken>,
}

/// What was read since the last look.
#[derive(Debug, Default)]
struct Taken {
    bytes: AtomicUsize,
    reads: AtomicUsize,
}

impl Busy {
    fn new(bytes: Vec<u8>, piece: usize) -> Self {
        Self {
            bytes,
            at: 0,
            piece,
            taken: Arc::default(),
        }
    }
}

impl AsyncRead for Busy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self
            .piece
            .min(buf.remaining())
            .min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        self.taken.bytes.fetch_add(len, Ordering::Relaxed);
        self.taken.reads.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A run of equal frames.
fn runs() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // messages without data, and with a little or much
        (1_usize..5_000).prop_map(|count| frame(BINARY, b"").repeat(count)),
        (1_usize..1_000).prop_map(|count| frame(BINARY, b"x").repeat(count)),
        (1_usize..200_000).prop_map(|len| frame(BINARY, &vec![7; len])),
        // pings and pongs
        (1_usize..5_000, 0_usize..=125)
            .prop_map(|(count, len)| frame(PING, &vec![8; len]).repeat(count)),
        (1_usize..5_000).prop_map(|count| frame(PONG, b"").repeat(count)),
        // a message in fragments, most of them empty
        (1_usize..5_000).prop_map(|count| {
            let empty = frame(0x00, b"").repeat(count);
            [frame(0x02, b"a"), empty, frame(0x80, b"z")].concat()
        }),
    ]
}

/// The payload of whole, valid frames.
fn payload(mut frames: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    while let [first, second, rest @ ..] = frames {
        let (len, rest) = match second & 0x7f {
            126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
            127 => {
                let len = rest[..8].try_into().map(u64::from_be_bytes);
                (len.unwrap() as usize, &rest[8..])
            }
            len => (usize::from(len), rest),
        };
        let (mask, rest) = rest.split_at(4);
        let (masked, rest) = rest.split_at(len);
        if first & 0x08 == 0 {
            payload.extend(masked.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        }
        frames = rest;
    }
    payload
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a peer sends, and in whatever pieces: a poll takes a bounded part of it, a task that
    /// stops with input left is woken again, and no byte is lost.
    #[test]
    fn a_poll_takes_a_bounded_part_and_loses_nothing(
        runs in prop::collection::vec(runs(), 1..6),
        piece in prop_oneof![1_usize..20, 1_000_usize..200_000],
        room in prop_oneof![1_usize..20, 1_000_usize..200_000],
    ) {
        let bytes = runs.concat();
        let expected = payload(&bytes);
        let io = Busy::new(bytes, piece);
        let taken = Arc::clone(&io.taken);
        let options = WsOptions::default().max_idle_frames(u32::MAX, Duration::from_secs(60));
        let mut received = Vec::new();
        let mut room = vec![0; room];
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut stream = WsStream::server(join(io, sink()), bytes::Bytes::new(), &options);
        loop {
            let woken = wakes.0.load(Ordering::Relaxed);
            let mut buf = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut stream).poll_read(&mut cx, &mut buf);
            let read = taken.bytes.swap(0, Ordering::Relaxed);
            let reads = taken.reads.swap(0, Ordering::Relaxed);
            prop_assert!(read <= MAX_RAW_BYTES && reads <= MAX_READS, "{read} in {reads}");
            match polled {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
                Poll::Ready(result) => {
                    result.unwrap();
                    received.extend_from_slice(buf.filled());
                }
                Poll::Pending => {
                    prop_assert_eq!(wakes.0.load(Ordering::Relaxed), woken + 1);
                }
            }
        }
        prop_assert!(received == expected);
    }
}

/// A single client that sent empty frames kept a core busy, and 9 in 10 of the others on its thread
/// waited for a quarter of a second: its task was run 61 times before the runtime looked at any
/// socket again.
#[tokio::test]
async fn a_flood_without_payload_lets_sockets_in_between() {
    let io = Busy::new(frame(BINARY, b"").repeat(1_000_000), usize::MAX);
    let options = WsOptions::default().max_idle_frames(u32::MAX, Duration::from_secs(60));
    let mut stream = WsStream::server(join(io, sink()), bytes::Bytes::new(), &options);
    let polls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&polls);
    let flood = tokio::spawn(async move {
        let mut room = vec![0; 64 * 1024];
        let mut read = pin!(stream.read(&mut room));
        std::future::poll_fn(|cx| {
            counter.fetch_add(1, Ordering::Relaxed);
            read.as_mut().poll(cx)
        })
        .await
    });
    // Two neighbours that talk to each other over sockets: each word is an event of the driver.
    let (mut one, mut other) = tokio::net::UnixStream::pair().unwrap();
    let mut words = 0;
    while !flood.is_finished() {
        one.write_all(b"?").await.unwrap();
        other.read_u8().await.unwrap();
        other.write_all(b"!").await.unwrap();
        one.read_u8().await.unwrap();
        words += 1;
    }
    assert_eq!(flood.await.unwrap().unwrap(), 0);
    let polls = polls.load(Ordering::Relaxed);
    // 6 MB in pieces of 64 KiB; two of the waits of an exchange go by way of the driver.
    assert!(polls >= 92, "{polls} polls");
    assert!(words >= polls / 4, "{words} exchanges in {polls} polls");
}
