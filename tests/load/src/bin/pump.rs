//! Moves packets through one session over in-memory IO and does nothing else: what valgrind's
//! callgrind counts of it is the proxy's own cost, the same on every run and every machine.
//!
//! `tests/load/instructions` runs it and prints instructions a packet.

use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};

use mproxy_codec::{ConnectBuilder, Direction, Head, KindSet, PublishLayout, Version};
use mproxy_layers::acl::{Acl, AclLayer, Actions, Rule};
use mproxy_session::{Forward, Hooks, Peer, Session, Summary, Tap, new_hooks};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Layer;

/// 64 bytes of payload, a topic of 20 bytes, QoS 0: the packet of the `batched` load.
const TOPIC: &[u8] = b"devices/0001/readings";

/// Message Expiry Interval and a User Property: those of the `v5-batched` load.
const PROPERTIES: &[u8] = b"\x02\x00\x00\x0e\x10\x26\x00\x05trace\x00\x0800f067aa";

/// Rules of the access list; the last one allows.
const RULES: usize = 100;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(what), Some(packets)) = (args.next(), args.next().and_then(|n| n.parse().ok()))
    else {
        eprintln!("usage: pump scan|layout|off|acl|forward PACKETS [3.1.1|5|5-properties]");
        return ExitCode::from(2);
    };
    let (version, properties) = match args.next().as_deref() {
        Some("5") => (Version::V5, &[][..]),
        Some("5-properties") => (Version::V5, PROPERTIES),
        _ => (Version::V311, &[][..]),
    };
    let packet = publish(version, properties);
    let moved = match what.as_str() {
        "scan" => scan(packets, version, &packet, false),
        "layout" => scan(packets, version, &packet, true),
        "off" | "acl" | "forward" => pump(&what, packets, version, &packet),
        other => {
            eprintln!("pump: no such run: {other}");
            return ExitCode::from(2);
        }
    };
    println!("{moved} packets");
    if moved == packets {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One PUBLISH.
fn publish(version: Version, properties: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x30, 0];
    packet.extend_from_slice(&[0, TOPIC.len() as u8]);
    packet.extend_from_slice(TOPIC);
    if version.is_v5() {
        packet.push(properties.len() as u8);
        packet.extend_from_slice(properties);
    }
    packet.extend_from_slice(&[b'x'; 64]);
    packet[1] = (packet.len() - 2) as u8;
    packet
}

/// The codec alone: heads, or heads and everything in front of the payload.
fn scan(packets: usize, version: Version, packet: &[u8], layout: bool) -> usize {
    let batch = packet.repeat(512);
    let mut seen = 0;
    while seen < packets {
        let mut at = 0;
        while at < batch.len() && seen < packets {
            let bytes = std::hint::black_box(&batch[at..]);
            let Ok(Some(head)) = Head::parse(bytes) else {
                return seen;
            };
            if layout {
                let parsed = PublishLayout::parse(head, version, Direction::ToServer, bytes);
                let Ok(Some(layout)) = parsed else {
                    return seen;
                };
                std::hint::black_box(layout);
            }
            at += head.total_len();
            seen += 1;
        }
    }
    seen
}

/// A session over a client that sends `packets` packets and a broker that takes them.
fn pump(what: &str, packets: usize, version: Version, packet: &[u8]) -> usize {
    let client = Feed::client(packets, version, packet);
    let broker = Feed::broker(version);
    let session = Session::new(Peer::new("pump"));
    let dial = |_: &mproxy_session::Connect| std::future::ready(Ok::<_, io::Error>(broker));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else { return 0 };
    let summary: Summary = runtime.block_on(async {
        match what {
            "acl" => {
                let layer = AclLayer::new(rules());
                session
                    .run(client, layer.layer(new_hooks(|_| Hooks::none())), dial)
                    .await
            }
            "forward" => {
                let hooks = new_hooks(|_| {
                    Hooks::new(
                        Tap::only(KindSet::PUBLISH, Forward).head_only(),
                        Tap::none(),
                    )
                });
                session.run(client, hooks, dial).await
            }
            _ => {
                session
                    .run(client, new_hooks(|_| Hooks::none()), dial)
                    .await
            }
        }
    });
    summary.to_server.publishes as usize
}

/// 99 rules about other topics, and one that allows.
fn rules() -> Acl {
    let mut acl = Acl::builder();
    for index in 1..RULES {
        let rule = Rule::allow(Actions::PUBLISH).topic(format!("plants/{index}/+/status"));
        acl.rule(rule).expect("a valid pattern");
    }
    acl.rule(Rule::allow(Actions::PUBLISH).topic("devices/#"))
        .expect("a valid pattern");
    acl.build()
}

/// One side: what it sends, over and over, and an end.
struct Feed {
    first: Vec<u8>,
    batch: Vec<u8>,
    at: usize,
    left: usize,
}

impl Feed {
    fn client(packets: usize, version: Version, packet: &[u8]) -> Self {
        let connect = ConnectBuilder::new(version).client_id("c").build();
        let first = connect.expect("a valid CONNECT").as_bytes().to_vec();
        Self {
            first,
            batch: packet.repeat(2048),
            at: 0,
            left: packets * packet.len(),
        }
    }

    fn broker(version: Version) -> Self {
        let connack: &[u8] = if version.is_v5() {
            &[0x20, 3, 0, 0, 0]
        } else {
            &[0x20, 2, 0, 0]
        };
        Self {
            first: connack.to_vec(),
            batch: Vec::new(),
            at: 0,
            left: 0,
        }
    }
}

impl AsyncRead for Feed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            buffer.put_slice(&first);
            return Poll::Ready(Ok(()));
        }
        if self.batch.is_empty() {
            // the broker says nothing more; it closes when the client is done
            return if self.at > 0 {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
        let from = self.at % self.batch.len();
        let len = buffer
            .remaining()
            .min(self.left)
            .min(self.batch.len() - from);
        buffer.put_slice(&self.batch[from..from + len]);
        self.at += len;
        self.left -= len;
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.at = 1;
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }
}
