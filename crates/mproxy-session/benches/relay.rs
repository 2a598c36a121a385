//! What a packet costs on its way through a whole session, over IO that costs nothing.
//!
//! `cargo bench -p mproxy-session --bench relay`. A read puts the same packets into the
//! session's buffer, and leaves them alone when they are still there; a write takes everything. What
//! is left is scanning, hooks and bookkeeping. divan prints packets a second: 100 Mitem/s is 10 ns a
//! packet.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use divan::Bencher;
use divan::counter::ItemsCount;
use mproxy_codec::{ConnectBuilder, KindSet, QoS, ReasonCode, Version, encode_publish};
use mproxy_session::{
    AuthorizeLayer, BoxError, FilterLayer, Forward, Hooks, Limits, Packet, PacketService, Peer,
    Refusal, Session, Tap, Verdict, new_hooks,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::{Layer, ServiceBuilder, ServiceExt};

fn main() {
    divan::main();
}

const CONNECT: ConnectBuilder<'_> = ConnectBuilder::new(Version::V311).client_id("c");
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const BLOCK: usize = 64 * 1024;
/// Blocks that pass in a session: its beginning and end are lost in them.
const BLOCKS: usize = 400;
/// Whole packets on the wire, in bytes.
const SIZES: [usize; 2] = [64, 1024];

/// Sends CONNECT, then the same packets again and again, then the end.
struct Client {
    block: Arc<[u8]>,
    packet: usize,
    connected: bool,
    left: usize,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.connected, true) {
            let connect = CONNECT.build().expect("a valid CONNECT");
            buffer.put_slice(connect.as_bytes());
            return Poll::Ready(Ok(()));
        }
        // whole packets, as many as one read takes
        let room = buffer.remaining().min(self.block.len()).min(self.left);
        let len = room - room % self.packet;
        if len > 0 {
            let room = buffer.initialize_unfilled_to(len);
            // what was read last is still there
            if room[..16] != self.block[..16] || room[len - 16..] != self.block[len - 16..len] {
                room.copy_from_slice(&self.block[..len]);
            }
            buffer.advance(len);
            self.left -= len;
        }
        Poll::Ready(Ok(()))
    }
}

/// Answers CONNECT and says nothing more until it is shut.
struct Server {
    state: Arc<Mutex<Shut>>,
    answered: bool,
}

#[derive(Default)]
struct Shut {
    shut: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Server {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.answered, true) {
            buffer.put_slice(CONNACK);
            return Poll::Ready(Ok(()));
        }
        let mut state = self.state.lock().expect("not poisoned");
        if state.shut {
            return Poll::Ready(Ok(()));
        }
        if state.reader.is_none() {
            state.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

macro_rules! takes_everything {
    ($($end:ty: $shutdown:expr;)*) => {
        $(impl AsyncWrite for $end {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Ready(Ok(divan::black_box(bytes).len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let shutdown: fn(&Self) = $shutdown;
                shutdown(&self);
                Poll::Ready(Ok(()))
            }
        })*
    };
}

takes_everything! {
    Client: |_| {};
    Server: |server| {
        let mut state = server.state.lock().expect("not poisoned");
        state.shut = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    };
}

/// Passes [`BLOCKS`] blocks through a session with these hooks in the client's direction.
fn relay<S>(bencher: Bencher<'_, '_>, size: usize, tap: impl Fn() -> Tap<S>)
where
    S: PacketService,
{
    let frame = |payload| {
        let payload = vec![b'x'; payload];
        encode_publish(
            Version::V311,
            "plant/7/line/3/temperature",
            QoS::AtMostOnce,
            0,
            &[],
            &payload,
        )
        .expect("a valid PUBLISH")
    };
    let packet = frame(size - frame(size - 40).len() + size - 40);
    assert_eq!(packet.len(), size);
    let block: Arc<[u8]> = packet.repeat(BLOCK / size).into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let limits = Arc::new(Limits::default());
    bencher
        .counter(ItemsCount::new(BLOCKS * (block.len() / size)))
        .bench_local(|| {
            let client = Client {
                block: Arc::clone(&block),
                packet: size,
                connected: false,
                left: BLOCKS * block.len(),
            };
            let server = Server {
                state: Arc::default(),
                answered: false,
            };
            let hooks = new_hooks(|_| Hooks::new(tap(), Tap::none()));
            let session = Session::new(Peer::new("bench")).limits(Arc::clone(&limits));
            let dial = |_: &_| std::future::ready(Ok::<_, Infallible>(server));
            let summary = runtime.block_on(session.run(client, hooks, dial));
            assert_eq!(
                summary.to_server.publishes as usize,
                BLOCKS * (block.len() / size)
            );
        });
}

/// Looks at the topic, as an access rule does.
fn judge(packet: &Packet) -> Result<(), Refusal> {
    match packet.publish() {
        Some(publish) if publish.topic_bytes().starts_with(b"secret/") => {
            Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
        }
        _ => Ok(()),
    }
}

#[divan::bench(args = SIZES)]
fn untapped(bencher: Bencher<'_, '_>, size: usize) {
    relay(bencher, size, Tap::none);
}

#[divan::bench(args = SIZES)]
fn tapped_forward(bencher: Bencher<'_, '_>, size: usize) {
    relay(bencher, size, || Tap::only(KindSet::PUBLISH, Forward));
}

#[divan::bench(args = SIZES)]
fn three_filters(bencher: Bencher<'_, '_>, size: usize) {
    relay(bencher, size, || {
        let stack = ServiceBuilder::new()
            .layer(FilterLayer::new(judge))
            .layer(FilterLayer::new(judge))
            .layer(FilterLayer::new(judge))
            .service(Forward);
        Tap::only(KindSet::PUBLISH, stack)
    });
}

#[divan::bench(args = SIZES)]
fn three_filters_boxed(bencher: Bencher<'_, '_>, size: usize) {
    relay(bencher, size, || {
        let stack = ServiceBuilder::new()
            .layer(FilterLayer::new(judge))
            .layer(FilterLayer::new(judge))
            .layer(FilterLayer::new(judge))
            .service(Forward);
        let boxed: tower::util::BoxService<Packet, Verdict, BoxError> = stack.boxed();
        Tap::only(KindSet::PUBLISH, boxed)
    });
}

#[divan::bench(args = SIZES)]
fn asynchronous(bencher: Bencher<'_, '_>, size: usize) {
    relay(bencher, size, || {
        let ask = AuthorizeLayer::new(|packet: Packet| async move {
            judge(&packet)?;
            Ok(packet)
        });
        Tap::only(KindSet::PUBLISH, ask.layer(Forward))
    });
}
