//! Feeds one session a stream over in-memory IO, all at once or byte by byte, and does nothing else:
//! what valgrind's callgrind counts of it shows whether the cost of a stream grows faster than its
//! size, or depends on how it is cut.
//!
//! `tests/load/linear` runs it and prints a table.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mproxy_codec::{Kind, KindSet, ReasonCode};
use mproxy_session::{
    BoxError, Connect, Hooks, Limits, Packet, PacketService, Peer, Session, Tap, Verdict, new_hooks,
};
use mproxy_transport::{WsOptions, WsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::service_fn;

/// More polls than that without a byte are a session that waits for something.
const IDLE_POLLS: usize = 100;

/// Larger than every stream.
const MAX_PACKET: usize = 4 * 1024 * 1024;

/// A packet identifier that nobody waits for.
const ID: [u8; 2] = [0, 7];

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args == ["list"] {
        println!("{}", STREAMS.join("\n"));
        return ExitCode::SUCCESS;
    }
    let [stream, hooks, size, read, write] = &args[..] else {
        eprintln!("usage: pace list | pace STREAM off|seen|refused SIZE READ WRITE");
        return ExitCode::from(2);
    };
    let number = |text: &String| text.parse().ok().filter(|number| *number > 0);
    let (Some(size), Some(read), Some(write)) = (number(size), number(read), number(write)) else {
        eprintln!("pace: sizes are numbers above 0");
        return ExitCode::from(2);
    };
    let Some(play) = play(stream, hooks == "refused", size) else {
        eprintln!("pace: no such stream: {stream}");
        return ExitCode::from(2);
    };
    match run(play, hooks, read, write) {
        Ok([at_broker, at_client]) => {
            println!("{at_broker} {at_client}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pace: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What both ends send.
struct Play {
    client: Vec<Vec<u8>>,
    broker: Vec<Vec<u8>>,
    /// It is the broker whose stream is looked at, and who closes.
    broker_speaks: bool,
    /// What the client sends is frames.
    websocket: bool,
    /// So much has come before an end says more than its first packet.
    waits_for: usize,
}

/// Those of the client, then those of the broker.
const STREAMS: [&str; 27] = [
    "connect",
    "connect-will",
    "publish",
    "publish-properties",
    "publish-mixed",
    "publish-topic",
    "publish-small",
    "publish-4k",
    "publish-qos1",
    "publish-qos2",
    "publish-alias",
    "websocket",
    "websocket-bytes",
    "puback",
    "puback-small",
    "pubrel",
    "subscribe",
    "subscribe-small",
    "unsubscribe",
    "auth",
    "disconnect",
    "pingreq",
    "connack",
    "publish-to-client",
    "suback",
    "unsuback",
    "disconnect-to-client",
];

/// The streams, of about `size` bytes each.
fn play(stream: &str, refused: bool, size: usize) -> Option<Play> {
    // hooks that refuse leave every second filter to the broker
    let asked = if refused { 2 * size } else { size };
    let plain = connect(&[], &[]);
    let accepted = packet(0x20, &[&[0, 0, 0]]);
    let from_client = |stream: Vec<u8>| Play {
        client: vec![plain.clone(), stream],
        broker: vec![accepted.clone()],
        broker_speaks: false,
        websocket: false,
        waits_for: 0,
    };
    let from_broker = |stream: Vec<u8>| Play {
        client: vec![plain.clone()],
        broker: vec![accepted.clone(), stream],
        broker_speaks: true,
        websocket: false,
        waits_for: 0,
    };
    // the request comes as one piece
    let answered = |request: Vec<u8>, answer| Play {
        waits_for: plain.len() + request.len() / 2,
        client: vec![plain.clone(), request],
        ..from_broker(answer)
    };
    let connects = |connect: Vec<u8>| Play {
        client: vec![connect],
        broker: vec![accepted.clone()],
        broker_speaks: false,
        websocket: false,
        waits_for: 0,
    };
    let many = |make: &dyn Fn(u16) -> Vec<u8>| {
        let mut stream = Vec::new();
        for id in (1..=u16::MAX).cycle() {
            if stream.len() >= size {
                break;
            }
            stream.extend(make(id));
        }
        stream
    };
    let mixed = || publish(0, &[], b"a/b", &user_properties(size / 2), size / 2);
    let with_properties = |first| packet(first, &[&ID, &[0], &block(&user_properties(size))]);
    Some(match stream {
        "nothing" => connects(plain),
        "connect" => connects(connect(&user_properties(size), &[])),
        "connect-will" => connects(connect(&[], &user_properties(size))),
        "publish" => from_client(publish(0, &[], b"a/b", &[], size)),
        "publish-properties" => from_client(publish(0, &[], b"a/b", &user_properties(size), 0)),
        "publish-mixed" => from_client(mixed()),
        "publish-topic" => {
            let topic = vec![b'a'; size / 4];
            from_client(publish(0, &[], &topic, &[], size / 4 * 3))
        }
        "publish-small" => from_client(many(&|_| publish(0, &[], b"a/b", &[], 4))),
        "publish-4k" => from_client(many(&|_| {
            publish(0, &[], b"a/b", &user_properties(2000), 2000)
        })),
        "publish-qos1" => from_client(many(&|id| publish(2, &id.to_be_bytes(), b"a/b", &[], 0))),
        "publish-qos2" => from_client(many(&|id| publish(4, &id.to_be_bytes(), b"a/b", &[], 0))),
        "publish-alias" => Play {
            broker: vec![packet(0x20, &[&[0, 0], &block(&[0x22, 0, 8])])],
            ..from_client(many(&|id| {
                let alias = [0x23, 0, (id % 8) as u8 + 1];
                publish(0, &[], if id < 9 { b"a/b" } else { b"" }, &alias, 0)
            }))
        },
        // one frame, and a frame a byte
        "websocket" => over_websocket(publish(0, &[], b"a/b", &[], size), size),
        "websocket-bytes" => {
            let frame = masked(b"x").len();
            over_websocket(publish(0, &[], b"a/b", &[], size / frame), 1)
        }
        "puback" => from_client(with_properties(0x40)),
        "puback-small" => from_client(many(&|id| packet(0x40, &[&id.to_be_bytes()]))),
        "pubrel" => from_client(with_properties(0x62)),
        "subscribe" => {
            let filters = [0, 3, b'a', b'/', b'b', 0].repeat(size / 6);
            from_client(packet(0x82, &[&ID, &[0], &filters]))
        }
        // so many that not too many wait for an answer
        "subscribe-small" => from_client(many(&|id| {
            let filters = [0, 3, b'a', b'/', b'b', 0].repeat(16);
            packet(0x82, &[&id.to_be_bytes(), &[0], &filters])
        })),
        "unsubscribe" => {
            let filters = [0, 3, b'a', b'/', b'b'].repeat(size / 5);
            from_client(packet(0xa2, &[&ID, &[0], &filters]))
        }
        "auth" => {
            let method = [0x15, 0, 1, b'm'];
            let properties = [&method[..], &user_properties(size)].concat();
            Play {
                client: vec![
                    connect(&method, &[]),
                    packet(0xf0, &[&[0x19], &block(&properties)]),
                ],
                broker: vec![packet(0x20, &[&[0, 0], &block(&method)])],
                broker_speaks: false,
                websocket: false,
                waits_for: 0,
            }
        }
        "disconnect" => from_client(packet(0xe0, &[&[0], &block(&user_properties(size))])),
        "pingreq" => from_client(many(&|_| packet(0xc0, &[]))),
        "connack" => Play {
            client: vec![plain],
            broker: vec![packet(0x20, &[&[0, 0], &block(&user_properties(size))])],
            broker_speaks: true,
            websocket: false,
            waits_for: 0,
        },
        "publish-to-client" => from_broker(mixed()),
        "suback" => answered(
            packet(0x82, &[&ID, &[0], &[0, 1, b'a', 0].repeat(asked)]),
            packet(0x90, &[&ID, &[0], &vec![0; size]]),
        ),
        "unsuback" => answered(
            packet(0xa2, &[&ID, &[0], &[0, 1, b'a'].repeat(asked)]),
            packet(0xb0, &[&ID, &[0], &vec![0; size]]),
        ),
        "disconnect-to-client" => {
            from_broker(packet(0xe0, &[&[0x8b], &block(&user_properties(size))]))
        }
        _ => return None,
    })
}

/// Frames of a client with so much of the stream each.
fn over_websocket(stream: Vec<u8>, piece: usize) -> Play {
    Play {
        client: vec![
            masked(&connect(&[], &[])),
            stream.chunks(piece).flat_map(masked).collect(),
        ],
        broker: vec![packet(0x20, &[&[0, 0, 0]])],
        broker_speaks: false,
        websocket: true,
        waits_for: 0,
    }
}

/// A binary frame of a client (RFC 6455, section 5.2). The mask must look as if it did something.
fn masked(payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let length = match u16::try_from(payload.len()) {
        Ok(short @ ..=125) => vec![0x80 | short as u8],
        Ok(medium) => [&[0x80 | 126][..], &medium.to_be_bytes()].concat(),
        Err(_) => [&[0x80 | 127][..], &(payload.len() as u64).to_be_bytes()].concat(),
    };
    let payload = payload
        .iter()
        .zip(key.iter().cycle())
        .map(|(it, key)| it ^ key);
    [&[0x82][..], &length, &key, &payload.collect::<Vec<_>>()].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    packet.extend(varint(body.len()));
    packet.extend(body);
    packet
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if number < 128 { 0 } else { 128 };
        bytes.push((number % 128) as u8 | more);
        number /= 128;
        if number == 0 {
            return bytes;
        }
    }
}

fn block(properties: &[u8]) -> Vec<u8> {
    [&varint(properties.len())[..], properties].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let len = (bytes.len() as u16).to_be_bytes();
    [&len[..], bytes].concat()
}

/// The shortest that say something: the most for a parser to do.
fn user_properties(size: usize) -> Vec<u8> {
    [0x26, 0, 1, b'k', 0, 1, b'v'].repeat(size / 7)
}

fn connect(properties: &[u8], will: &[u8]) -> Vec<u8> {
    let parts = [b"\0\x04MQTT\x05".to_vec(), block(properties), text(b"c")];
    let [start, properties, client_id] = &parts;
    if will.is_empty() {
        return packet(0x10, &[start, &[2, 0, 0], properties, client_id]);
    }
    let will = [block(will), text(b"a/b"), text(b"gone")].concat();
    packet(0x10, &[start, &[6, 0, 0], properties, client_id, &will])
}

fn publish(flags: u8, id: &[u8], topic: &[u8], properties: &[u8], payload: usize) -> Vec<u8> {
    let payload = vec![b'x'; payload];
    packet(
        0x30 | flags,
        &[&text(topic), id, &block(properties), &payload],
    )
}

fn hook(refuses: bool) -> impl PacketService + Clone {
    service_fn(move |mut packet: Packet| {
        let verdict = judge(&mut packet, refuses);
        std::future::ready(verdict.map(|forward| {
            if forward {
                Verdict::Forward(packet)
            } else {
                Verdict::refuse(ReasonCode::NOT_AUTHORIZED)
            }
        }))
    })
}

fn judge(packet: &mut Packet, refuses: bool) -> Result<bool, BoxError> {
    // a will or an AUTH that is refused is the end, and nothing to measure
    if packet.is_will() || packet.kind() == Kind::Auth {
        return Ok(true);
    }
    if !refuses || packet.publish().is_some() {
        return Ok(!refuses);
    }
    if packet.subscribe().is_some() || packet.unsubscribe().is_some() {
        // every second one, so that the answer is put together
        let mut refused = false;
        packet.map_filters(|_| {
            refused = !refused;
            if refused {
                Err(ReasonCode::NOT_AUTHORIZED)
            } else {
                Ok(None)
            }
        })?;
    }
    Ok(true)
}

fn run(play: Play, hooks: &str, read: usize, write: usize) -> Result<[usize; 2], String> {
    let kinds = match hooks {
        "off" => KindSet::NONE,
        "seen" | "refused" => KindSet::ALL,
        other => return Err(format!("no such hooks: {other}")),
    };
    let refuses = hooks == "refused";
    let admit = new_hooks(move |_| {
        let tap = || Tap::only(kinds, hook(refuses));
        Hooks::new(tap(), tap())
    });
    let moved = Rc::new(Cell::new(0));
    let end = |sends: Vec<Vec<u8>>, speaks| End {
        sends: sends.into(),
        at: 0,
        waits_for: if speaks { play.waits_for } else { 0 },
        read: if speaks { read } else { usize::MAX },
        write,
        read_pause: false,
        write_pause: false,
        speaks,
        moved: Rc::clone(&moved),
        got: Rc::default(),
    };
    let websocket = play.websocket;
    let client = end(play.client, !play.broker_speaks);
    let broker = end(play.broker, play.broker_speaks);
    let got = [&broker, &client].map(|end| Rc::clone(&end.got));
    let mut limits = Limits::default();
    limits.max_connect_size = MAX_PACKET;
    limits.max_packet_size = MAX_PACKET;
    let session = Session::new(Peer::new("pace")).limits(Arc::new(limits));
    let dial = |_: &Connect| std::future::ready(Ok::<_, io::Error>(broker));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    // for its clock only: the session is polled by hand
    let runtime = runtime.map_err(|error| error.to_string())?;
    let _entered = runtime.enter();
    let client: Box<dyn Io> = if websocket {
        Box::new(WsStream::server(
            client,
            Bytes::new(),
            &WsOptions::default(),
        ))
    } else {
        Box::new(client)
    };
    let mut session = pin!(session.run(client, admit, dial));
    let mut context = Context::from_waker(Waker::noop());
    let mut idle = 0;
    let summary = loop {
        let before = moved.get();
        match session.as_mut().poll(&mut context) {
            Poll::Ready(summary) => break summary,
            Poll::Pending if moved.get() == before => idle += 1,
            Poll::Pending => idle = 0,
        }
        if idle == IDLE_POLLS {
            return Err("the session waits".to_owned());
        }
    };
    if !matches!(
        summary.reason.as_str(),
        "eof" | "upstream_eof" | "disconnect" | "upstream_disconnect"
    ) {
        return Err(format!("{summary:?}"));
    }
    Ok(got.map(|got| got.get()))
}

/// One end: what it sends, in which pieces, and how much it takes at once. Behind each piece there
/// is a pause, as there is on a wire.
struct End {
    /// What is left: the first packet, and the stream.
    sends: VecDeque<Vec<u8>>,
    /// How much of the first of them is sent.
    at: usize,
    waits_for: usize,
    read: usize,
    write: usize,
    read_pause: bool,
    write_pause: bool,
    /// It closes when it has said everything; the other one when it is told to.
    speaks: bool,
    moved: Rc<Cell<usize>>,
    got: Rc<Cell<usize>>,
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.get_mut();
        end.read_pause = !end.read_pause;
        if !end.read_pause {
            return Poll::Pending;
        }
        let Some(bytes) = end.sends.front() else {
            return if end.speaks {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        };
        if end.sends.len() == 1 && end.got.get() < end.waits_for {
            return Poll::Pending;
        }
        let rest = &bytes[end.at..];
        let len = rest.len().min(end.read).min(buffer.remaining());
        buffer.put_slice(&rest[..len]);
        end.moved.set(end.moved.get() + len);
        end.at += len;
        if end.at == bytes.len() {
            end.sends.pop_front();
            end.at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = self.get_mut();
        end.write_pause = !end.write_pause && end.write < usize::MAX;
        if end.write_pause {
            return Poll::Pending;
        }
        let len = bytes.len().min(end.write);
        end.got.set(end.got.get() + len);
        end.moved.set(end.moved.get() + len);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().speaks = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list had one that there was not, with which the table ended, after an hour.
    #[test]
    fn every_stream_passes_whole_and_byte_by_byte() {
        for stream in STREAMS {
            for hooks in ["off", "seen", "refused"] {
                for (read, write) in [(usize::MAX, usize::MAX), (1, usize::MAX), (usize::MAX, 1)] {
                    let play = play(stream, hooks == "refused", 700).expect(stream);
                    let moved = run(play, hooks, read, write);
                    assert!(moved.is_ok(), "{stream} {hooks} {read} {write}: {moved:?}");
                }
            }
        }
    }
}
