//! Recorded sessions through the real binary: in segments of every size, and cut at every byte.
//!
//! A session is played between a raw client and a raw broker, which compare what arrives byte by
//! byte. All cuts together are some twenty thousand; a sample of them is made each time, and all
//! with `MPROXY_CUTS=all`. What is chosen by chance is chosen again with the `MPROXY_SEED` that a
//! failed test printed.

use std::env;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mproxy_tests::raw::{Framing, RawPeer, Segments, UPGRADE};
use mproxy_tests::recording::{Party, Recording};
use mproxy_tests::{Chance, FakeBroker, Mproxy, Setup, tools};
use tokio::net::TcpStream;

/// How many cuts are made when not all of them are.
const SAMPLE: usize = 500;

/// How many proxies share the work.
const STAGES: usize = 4;

/// No side may learn later than that that the other one is gone.
const HANG: Duration = Duration::from_secs(2);

fn recordings() -> Vec<Recording> {
    Recording::all(&tools::root().join("crates/mproxy-session/tests/recordings"))
}

/// A way through the proxy.
#[derive(Clone, Copy, Debug)]
enum Route {
    /// TCP to TCP, and no layers: bytes pass untouched.
    Plain,
    /// TCP to TCP, with layers that see every packet.
    Checked,
    /// The client comes by WebSocket.
    FromWs,
    /// The broker is reached by WebSocket.
    ToWs,
}

impl Route {
    const ALL: [Self; 4] = [Self::Plain, Self::Checked, Self::FromWs, Self::ToWs];

    const fn listener(self) -> &'static str {
        match self {
            Self::Plain => "mqtt",
            Self::Checked => "checked",
            Self::FromWs => "ws",
            Self::ToWs => "bridge",
        }
    }

    const fn framing(self, party: Party) -> Framing {
        match (self, party) {
            (Self::FromWs, Party::Client) => Framing::WsClient,
            (Self::ToWs, Party::Broker) => Framing::WsServer,
            _ => Framing::Tcp,
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// In order: no more bytes in one direction.
    End,
    /// Broken, in both directions.
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    party: Party,
    /// How many bytes that party sends.
    at: usize,
    how: How,
}

/// A packet, as it is sent and as it is to arrive.
struct Line<'a> {
    from: Party,
    raw: Vec<u8>,
    packet: &'a [u8],
}

/// The lines of a recording; what opens a WebSocket is the first of them.
fn script(recording: &Recording, route: Route) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    if route.framing(Party::Client) == Framing::WsClient {
        lines.push(Line {
            from: Party::Client,
            raw: UPGRADE.to_vec(),
            packet: &[],
        });
    }
    lines.extend(
        recording
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| Line {
                from: step.from,
                raw: route.framing(step.from).wrap(&step.bytes, index),
                packet: &step.bytes,
            }),
    );
    lines
}

/// A proxy with a broker for each way, and what is played there, one session after the other.
struct Stage {
    broker: FakeBroker,
    ws_broker: FakeBroker,
    mproxy: Mproxy,
}

impl Stage {
    async fn new() -> Self {
        let (broker, ws_broker) = (FakeBroker::bind().await, FakeBroker::bind().await);
        let ws_url = ws_broker.url().replace("mqtt://", "ws://");
        let listener = |route: Route, more: &str| {
            format!(
                "[[listeners]]\nname = \"{}\"\nbind = \"127.0.0.1:0\"\n{more}\n",
                route.listener()
            )
        };
        let config = [
            listener(Route::Plain, "upstream = \"broker\""),
            listener(Route::Checked, "upstream = \"broker\"\nchain = \"checked\""),
            listener(Route::FromWs, "upstream = \"broker\"\nprotocol = \"ws\""),
            listener(Route::ToWs, "upstream = \"ws-broker\""),
            format!("[upstreams.broker]\naddress = \"{}\"\n", broker.url()),
            // the bytes of a session are all that comes here
            format!("[upstreams.ws-broker]\naddress = \"{ws_url}/mqtt\"\nhealth.check = \"off\"\n"),
            "[chains.default]\nlayers = []\n".to_owned(),
            "[chains.checked]\nlayers = [\"log\", \"acl\"]\n".to_owned(),
            "[layers.log]\ntype = \"access-log\"\n".to_owned(),
            "[layers.acl]\ntype = \"acl\"\ndefault = \"allow\"\n[[layers.acl.rules]]\n\
             name = \"all\"\nallow = [\"publish\", \"subscribe\"]\ntopics = [\"#\", \"$SYS/#\"]\n"
                .to_owned(),
            "[admin]\nbind = \"127.0.0.1:0\"\n".to_owned(),
        ];
        Self {
            broker,
            ws_broker,
            mproxy: Setup::new(&config.concat()).start().await,
        }
    }

    async fn connect(&self, route: Route) -> RawPeer {
        let stream = TcpStream::connect(self.mproxy.listener(route.listener())).await;
        let stream = stream.expect("the proxy listens");
        RawPeer::over(stream, route.framing(Party::Client))
    }

    async fn accept(&self, route: Route) -> RawPeer {
        let framing = route.framing(Party::Broker);
        let broker = match framing {
            Framing::WsServer => &self.ws_broker,
            Framing::Tcp | Framing::WsClient => &self.broker,
        };
        loop {
            let (stream, _) = broker.session().await.into_tcp();
            let mut peer = RawPeer::over(stream, framing);
            if framing == Framing::WsServer {
                peer.upgrade().await;
            }
            // whoever asks only whether the broker is there says no more than that
            if peer.speaks().await {
                return peer;
            }
        }
    }

    /// Plays lines; each must arrive as it was sent before the next one is. The broker is there
    /// once the CONNECT was sent.
    async fn play(&self, route: Route, lines: &[Line<'_>], segments: &mut Segments) -> Sides {
        let mut client = self.connect(route).await;
        let mut broker = None;
        for line in lines {
            match (line.from, &mut broker) {
                (Party::Client, None) => {
                    client.send(&line.raw, segments).await;
                    if line.packet.is_empty() {
                        client.upgraded().await;
                    } else {
                        let mut peer = self.accept(route).await;
                        arrives(&mut peer, line.packet).await;
                        broker = Some(peer);
                    }
                }
                (Party::Client, Some(broker)) => {
                    client.send(&line.raw, segments).await;
                    arrives(broker, line.packet).await;
                }
                (Party::Broker, Some(broker)) => {
                    broker.send(&line.raw, segments).await;
                    arrives(&mut client, line.packet).await;
                }
                (Party::Broker, None) => panic!("a client speaks first"),
            }
        }
        Sides { client, broker }
    }

    /// Nothing is left of the sessions, and none of them ended by a mistake of the proxy's.
    async fn clean(&self) {
        self.mproxy.metric("mproxy_connections", 0.0).await;
        let metrics = self.mproxy.metrics().await;
        assert!(metrics.sum("mproxy_session_panics_total") < 0.5);
        let internal = metrics.sum("mproxy_connections_closed_total{reason=\"internal\"}");
        assert!(internal < 0.5, "{}", metrics.0);
    }
}

struct Sides {
    client: RawPeer,
    broker: Option<RawPeer>,
}

async fn arrives(at: &mut RawPeer, packet: &[u8]) {
    let received = at.take(packet.len()).await;
    assert!(
        received == packet,
        "sent {packet:02x?}, received {received:02x?}"
    );
}

/// Each turn of the conversation is one piece, cut as `segments` says.
async fn in_segments(stage: &Stage, recording: &Recording, route: Route, segments: &mut Segments) {
    println!("{}, {route:?}, {segments:?}", recording.name);
    let mut turns: Vec<Line<'_>> = Vec::new();
    let lines = script(recording, route);
    let joined = recording.turns();
    let mut joined = joined.iter();
    for line in &lines {
        match turns.last_mut() {
            Some(last) if last.from == line.from && !last.packet.is_empty() => {
                last.raw.extend_from_slice(&line.raw);
            }
            _ => turns.push(Line {
                from: line.from,
                raw: line.raw.clone(),
                packet: match line.packet {
                    [] => &[],
                    _ => &joined.next().expect("a turn").bytes,
                },
            }),
        }
    }
    let Sides { mut client, broker } = stage.play(route, &turns, segments).await;
    let mut broker = broker.expect("every recording has a CONNECT");
    client.finish().await;
    broker.closed().await;
    drop(broker);
    only_an_end(&client.rest().await);
}

/// What a client hears when the other side is gone: nothing, as it would without the proxy.
fn only_an_end(bytes: &[u8]) {
    assert!(bytes.is_empty(), "{bytes:02x?}");
}

/// Plays a session up to the cut and makes it.
async fn cut(stage: &Stage, recording: &Recording, route: Route, cut: Cut) {
    let what = format!("{}, {route:?}, {cut:?}", recording.name);
    println!("{what}");
    let lines = script(recording, route);
    let mut left = cut.at;
    let mut whole = lines.len();
    let mut part: &[u8] = &[];
    for (index, line) in lines.iter().enumerate() {
        if line.from == cut.party {
            if line.raw.len() > left {
                (whole, part) = (index, &line.raw[..left]);
                break;
            }
            left -= line.raw.len();
        }
    }
    let Sides { mut client, broker } = stage
        .play(route, &lines[..whole], &mut Segments::Whole)
        .await;
    let since = Instant::now();
    match (cut.party, broker) {
        (Party::Client, broker) => {
            client.send(part, &mut Segments::Whole).await;
            let client = match cut.how {
                How::End => {
                    client.finish().await;
                    Some(client)
                }
                How::Reset => {
                    client.reset();
                    None
                }
            };
            // no part of a packet; and no DISCONNECT but the client's own, which was played if it
            // was whole, so that the broker publishes the will exactly when it was not
            if let Some(mut broker) = broker {
                broker.closed().await;
            }
            if let Some(mut client) = client {
                only_an_end(&client.rest().await);
            }
        }
        (Party::Broker, None) => panic!("{what}: a broker that nobody calls cannot be cut off"),
        (Party::Broker, Some(mut broker)) => {
            broker.send(part, &mut Segments::Whole).await;
            let broker = match cut.how {
                How::End => {
                    broker.finish().await;
                    Some(broker)
                }
                How::Reset => {
                    broker.reset();
                    None
                }
            };
            let rest = client.rest().await;
            only_an_end(&rest);
            drop(client);
            if let Some(mut broker) = broker {
                broker.closed().await;
            }
        }
    }
    assert!(since.elapsed() < HANG, "{what}: {:?}", since.elapsed());
}

#[tokio::test]
async fn a_session_in_segments_of_any_size_is_the_same() {
    let mut chance = Chance::new();
    let stage = Stage::new().await;
    for route in Route::ALL {
        for recording in recordings() {
            in_segments(&stage, &recording, route, &mut Segments::Whole).await;
            in_segments(&stage, &recording, route, &mut Segments::Bytes).await;
            for _ in 0..3 {
                let mut segments = Segments::Random(chance.fork());
                in_segments(&stage, &recording, route, &mut segments).await;
            }
        }
    }
    stage.clean().await;
}

/// Every cut that there is.
fn all_cuts(recordings: &[Recording]) -> Vec<(usize, Route, Cut)> {
    let mut cuts = Vec::new();
    for (index, recording) in recordings.iter().enumerate() {
        for route in Route::ALL {
            let lines = script(recording, route);
            for party in Party::BOTH {
                let own = lines.iter().filter(|line| line.from == party);
                let total: usize = own.map(|line| line.raw.len()).sum();
                // the same request opens each WebSocket: one recording is enough to cut it
                let from = if lines[0].packet.is_empty() && party == Party::Client && index > 0 {
                    UPGRADE.len()
                } else {
                    0
                };
                for at in from..=total {
                    for how in [How::End, How::Reset] {
                        cuts.push((index, route, Cut { party, at, how }));
                    }
                }
            }
        }
    }
    cuts
}

#[tokio::test]
async fn a_session_that_is_cut_anywhere_leaves_nothing_half_done() {
    let mut chance = Chance::new();
    let recordings = recordings();
    let all = all_cuts(&recordings);
    let cuts: Vec<_> = match env::var("MPROXY_CUTS").as_deref() {
        Ok("all") => all,
        _ => (0..SAMPLE).map(|_| *chance.one_of(&all)).collect(),
    };
    println!("{} cuts", cuts.len());
    let shares = cuts.chunks(cuts.len().div_ceil(STAGES));
    join_all(shares.map(async |share| {
        let stage = Stage::new().await;
        for (index, route, at) in share {
            cut(&stage, &recordings[*index], *route, *at).await;
        }
        stage.clean().await;
    }))
    .await;
}
