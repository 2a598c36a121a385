//! A random client, a random broker and random hooks, held against a model.
//!
//! Both ends are honest: they acknowledge what they get and expect to be acknowledged. The model
//! says which publications must arrive, as what, and how each of them is answered. It is checked
//! while the ends talk: no byte of a refused packet arrives, every publication above QoS 0 is
//! answered once and with the right code, answers to requests come in order, whatever the
//! identifiers, and have the right codes in the right order, an alias means at the receiver what it
//! meant at the sender, and everything is in order. The ends slip now and then (DUP at QoS 0, flags
//! that MQTT 3.1 does not use), and what arrives has no slip. In MQTT 5.0 the ends refuse some of what
//! they get, too. In the end no identifier is left over. The same script, cut into other reads, gives
//! the same bytes.

#[path = "../support/mod.rs"]
mod support;

mod peer;
mod script;

use mproxy_codec::{Direction, Head, KindSet, PropertyId, ReasonCode, Value, Version};
use mproxy_session::{BoxError, Hooks, Packet, PacketService, Tap, Verdict};
use proptest::prelude::*;
use tower::service_fn;

use self::peer::Peer;
use self::script::{Step, What};
use self::support::frames::{ConnectParts, properties};
use self::support::hooks::Gate;
use self::support::memory::Wire;
use self::support::{Frames, Setup, admit, assert_bytes, settle};

/// Decides as [`What`] says.
fn hook(gate: &Gate) -> impl PacketService + Clone + use<> {
    let gate = gate.clone();
    service_fn(move |mut packet: Packet| {
        let gate = gate.clone();
        async move {
            let Some(publish) = packet.publish() else {
                packet.map_filters(|filter| match What::of(filter) {
                    What::Denied => Err(ReasonCode::NOT_AUTHORIZED),
                    what => Ok(what.renamed(filter)),
                })?;
                return Ok::<_, BoxError>(Verdict::Forward(packet));
            };
            let topic = publish.topic().to_owned();
            let payload = publish.payload();
            let what = What::of_publication(&topic, payload);
            if matches!(what, What::Held | What::HeldDenied) {
                gate.pass().await;
            }
            if let Some(renamed) = what.renamed(&topic) {
                packet.set_topic(&renamed)?;
            }
            Ok(match what {
                What::Denied | What::HeldDenied => Verdict::refuse(ReasonCode::NOT_AUTHORIZED),
                What::Dropped => Verdict::Discard,
                _ => Verdict::Forward(packet),
            })
        }
    })
}

/// Everything that arrived at the broker and at the client.
type Transcript = [Vec<u8>; 2];

/// Lets an end hear what has arrived and sends what it answers. True when there was something.
async fn hear(peer: &mut Peer, wire: &Wire, transcript: &mut Vec<u8>) -> bool {
    settle().await;
    let arrived = wire.drain();
    transcript.extend_from_slice(&arrived);
    let answers = peer.hear(&arrived);
    wire.send(&answers);
    !arrived.is_empty()
}

async fn play(version: Version, script: &[Step], chunks: &[usize]) -> Transcript {
    let (up, down) = (Gate::new(), Gate::new());
    let (up_gate, down_gate) = (up.clone(), down.clone());
    let kinds = KindSet::PUBLISH | KindSet::SUBSCRIBE | KindSet::UNSUBSCRIBE;
    let pair = Setup::new()
        .limits(|limits| limits.hook_timeout = std::time::Duration::from_secs(3600))
        .start(admit(move |_| {
            Hooks::new(
                Tap::only(kinds, hook(&up_gate)),
                Tap::only(kinds, hook(&down_gate)),
            )
        }));
    let f = Frames(version);
    let maximum = properties(&[
        (PropertyId::MaximumPacketSize, Value::U32(0x8_0000)),
        (PropertyId::TopicAliasMaximum, Value::U16(peer::ALIASES)),
    ]);
    let connect = f.connect_with(&ConnectParts {
        client_id: "c",
        properties: &maximum,
        ..Default::default()
    });
    pair.open(&connect, &f.connack_with(0, &maximum)).await;
    let repeat = |chunks: &[usize]| {
        chunks
            .iter()
            .copied()
            .cycle()
            .take(20_000)
            .collect::<Vec<_>>()
    };
    pair.client.set_chunks(repeat(chunks), usize::MAX);
    pair.broker.set_chunks(repeat(chunks), usize::MAX);

    let mut client = Peer::new(version, Direction::ToServer);
    let mut broker = Peer::new(version, Direction::ToClient);
    let mut transcript = Transcript::default();
    let [at_broker, at_client] = &mut transcript;
    for step in script {
        match step {
            Step::Client(says) => {
                let said = client.say(says, &mut broker);
                pair.client.send(&said);
            }
            Step::Broker(says) => {
                let said = broker.say(says, &mut client);
                pair.broker.send(&said);
            }
            Step::OpenUp(waiters) => up.open(*waiters),
            Step::OpenDown(waiters) => down.open(*waiters),
        }
        hear(&mut broker, &pair.broker, at_broker).await;
        hear(&mut client, &pair.client, at_client).await;
    }
    // until nobody has anything left to say
    up.open(100_000);
    hear(&mut broker, &pair.broker, at_broker).await;
    down.open(100_000);
    loop {
        let heard = hear(&mut client, &pair.client, at_client).await;
        if !hear(&mut broker, &pair.broker, at_broker).await && !heard {
            break;
        }
    }
    client.assert_done("the client");
    broker.assert_done("the broker");
    pair.client.send(&f.disconnect());
    settle().await;
    assert_eq!(pair.broker.drain(), f.disconnect());
    let summary = pair.end().await;
    assert_eq!(summary.reason.as_str(), "disconnect", "{summary:?}");
    assert_eq!(summary.to_server.publishes, client.published());
    assert_eq!(summary.to_client.publishes, broker.published());
    transcript
}

/// The packets of a transcript, publications first and then the rest by type and identifier. What
/// the proxy answers itself stands between what it forwards, and where is a matter of time.
fn by_origin(mut transcript: &[u8]) -> Vec<u8> {
    let mut packets = Vec::new();
    while let Some(head) = Head::parse(transcript).expect("a fixed header") {
        let (packet, rest) = transcript.split_at(head.total_len());
        packets.push(packet);
        transcript = rest;
    }
    packets.sort_by_key(|packet| match packet[0] >> 4 {
        3 => (0, &packet[..0]),
        kind => (kind, packet.get(2..4).unwrap_or_default()),
    });
    packets.concat()
}

fn run(version: Version, script: &[Step], chunks: &[Vec<usize>]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let whole = play(version, script, &[usize::MAX]).await;
        for chunks in chunks {
            let cut = play(version, script, chunks).await;
            let [broker, client] = [0, 1].map(|end| (by_origin(&cut[end]), by_origin(&whole[end])));
            assert_bytes(&broker.0, &broker.1, &format!("the broker, cut {chunks:?}"));
            assert_bytes(&client.0, &client.1, &format!("the client, cut {chunks:?}"));
        }
    });
}

/// Steps of a script, on average.
const STEPS: u32 = 30;

/// Scripts of each version, so that all together have the steps that `MPROXY_MODEL_STEPS` asks for;
/// without it, as many as a gate has time for. Each is played three times, cut differently.
fn scripts() -> u32 {
    let steps = std::env::var("MPROXY_MODEL_STEPS");
    let steps = steps.map_or(10_000, |steps| steps.parse().expect("a number of steps"));
    steps / STEPS / 3
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scripts()))]

    #[test]
    fn mqtt_3_1_holds(
        script in script::script(false),
        chunks in prop::collection::vec(1_usize..30, 1..8),
    ) {
        run(Version::V31, &script, &[vec![1], chunks]);
    }

    #[test]
    fn mqtt_3_1_1_holds(
        script in script::script(false),
        chunks in prop::collection::vec(1_usize..30, 1..8),
    ) {
        run(Version::V311, &script, &[vec![1], chunks]);
    }

    #[test]
    fn mqtt_5_holds(
        script in script::script(true),
        chunks in prop::collection::vec(1_usize..30, 1..8),
    ) {
        run(Version::V5, &script, &[vec![1], chunks]);
    }
}
