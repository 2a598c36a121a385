//! What a client and a broker see of the gateway.

use std::time::Duration;

use gateway::{Curfew, Directory, Gateway, TEST_RATE};
use mproxy_codec::{
    ConnectBuilder, Direction, Frame, Framer, Kind, QoS, ReasonCode, SubscriptionOptions, Version,
    View, Will, encode_connack, encode_publish, encode_subscribe,
};
use mproxy_session::{CloseReason, Summary};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

const VERSION: Version = Version::V5;

/// One end of a connection, that speaks in packets.
struct End {
    io: DuplexStream,
    framer: Framer,
}

impl End {
    fn client(io: DuplexStream) -> Self {
        let framer = Framer::new(VERSION, Direction::ToClient, 1 << 20);
        Self { io, framer }
    }

    fn broker(io: DuplexStream) -> Self {
        let framer = Framer::before_connect(1 << 20);
        Self { io, framer }
    }

    async fn send(&mut self, packet: impl AsRef<[u8]>) {
        self.io
            .write_all(packet.as_ref())
            .await
            .expect("it is open");
    }

    /// The next packet; `None` when the connection is closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.framer.next_frame().expect("valid packets") {
                return Some(frame);
            }
            let mut room = [0; 4096];
            match self.io.read(&mut room).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.framer.push(&room[..read]),
            }
        }
    }
}

struct Connected {
    client: End,
    broker: End,
    session: JoinHandle<Summary>,
}

fn gateway(curfew: &Curfew) -> Gateway {
    let directory = Directory::new([("secret", "works"), ("trial", "test")]);
    Gateway::new(directory, curfew.clone()).expect("valid rules")
}

/// Connects as machine `m7`; nothing is answered yet.
async fn connect(gateway: &Gateway, token: &str, will: Option<Will<'_>>) -> Connected {
    let (client, of_client) = duplex(1 << 16);
    let (of_broker, broker) = duplex(1 << 16);
    let gateway = gateway.clone();
    let session = tokio::spawn(async move {
        let dial = || std::future::ready(Ok::<_, std::io::Error>(of_broker));
        gateway.serve(of_client, dial).await
    });
    let mut connect = ConnectBuilder::new(VERSION).client_id("m7").keep_alive(60);
    connect = connect.user_name("m7").password(token.as_bytes());
    if let Some(will) = will {
        connect = connect.will(will);
    }
    let mut client = End::client(client);
    client
        .send(connect.build().expect("valid").as_bytes())
        .await;
    Connected {
        client,
        broker: End::broker(broker),
        session,
    }
}

/// Connects, and is let in by the broker.
async fn connected(gateway: &Gateway, token: &str) -> Connected {
    let mut all = connect(gateway, token, None).await;
    let first = all.broker.next().await.expect("the broker is dialled");
    assert_eq!(first.kind(), Kind::Connect);
    let bytes = first.as_bytes();
    assert!(!contains(bytes, token.as_bytes()), "the token stays here");
    let connack = encode_connack(VERSION, false, ReasonCode::SUCCESS, &[]);
    all.broker.send(connack.expect("valid")).await;
    let connack = all.client.next().await.expect("the client is answered");
    assert_eq!(connack.kind(), Kind::Connack);
    all
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn publish(topic: &str, id: u16) -> impl AsRef<[u8]> + use<> {
    encode_publish(VERSION, topic, QoS::AtLeastOnce, id, &[], b"21.5").expect("valid")
}

/// The code of the CONNACK or PUBACK that comes next.
async fn code(client: &mut End) -> ReasonCode {
    let frame = client.next().await.expect("an answer");
    match frame.view().expect("valid") {
        View::Connack(connack) => connack.reason(VERSION),
        View::Ack(ack) => ack.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_knows_is_refused() {
    let mut all = connect(&gateway(&Curfew::default()), "wrong", None).await;
    let refused = code(&mut all.client).await;
    assert_eq!(refused, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert!(
        all.broker.next().await.is_none(),
        "the broker is not dialled"
    );
    drop(all.client);
    let summary = all.session.await.expect("no panic");
    assert_eq!(summary.reason, CloseReason::AuthDenied);
}

#[tokio::test(start_paused = true)]
async fn a_will_is_judged_as_what_a_client_publishes() {
    let curfew = Curfew::default();
    let gateway = gateway(&curfew);
    let foreign = Will::new("machines/m8/gone", b"x");
    let mut all = connect(&gateway, "secret", Some(foreign)).await;
    assert_eq!(code(&mut all.client).await, ReasonCode::NOT_AUTHORIZED);
    assert!(all.broker.next().await.is_none());

    let own = Will::new("machines/m7/gone", b"x");
    let mut all = connect(&gateway, "secret", Some(own)).await;
    assert!(contains(
        all.broker.next().await.expect("CONNECT").as_bytes(),
        b"machines/m7/gone"
    ));

    // by a layer of the packet stage that knows nothing of wills
    curfew.set(true);
    let mut all = connect(&gateway, "secret", Some(own)).await;
    assert_eq!(code(&mut all.client).await, ReasonCode::QUOTA_EXCEEDED);
    assert!(all.broker.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn rules_and_curfew_judge_what_is_published() {
    let curfew = Curfew::default();
    let mut all = connected(&gateway(&curfew), "secret").await;
    all.client.send(publish("machines/m7/t", 1)).await;
    let frame = all.broker.next().await.expect("it passes");
    assert_eq!(frame.kind(), Kind::Publish);
    all.client.send(publish("machines/m8/t", 2)).await;
    assert_eq!(code(&mut all.client).await, ReasonCode::NOT_AUTHORIZED);
    curfew.set(true);
    all.client.send(publish("machines/m7/t", 3)).await;
    assert_eq!(code(&mut all.client).await, ReasonCode::QUOTA_EXCEEDED);
    curfew.set(false);
    // a payload of a megabyte is judged by its head, and streams past
    let large = vec![b'x'; 1_000_000];
    let large = encode_publish(VERSION, "machines/m7/t", QoS::AtLeastOnce, 4, &[], &large);
    let large = large.expect("valid");
    let (sent, frame) = tokio::join!(all.client.send(&large), all.broker.next());
    let () = sent;
    assert_eq!(frame.expect("it passes").as_bytes(), &large);
    all.client.send(subscribe(&["machines/#"])).await;
    let refused = all.client.next().await.expect("SUBACK");
    let View::Suback(suback) = refused.view().expect("valid") else {
        panic!("{refused:?}");
    };
    assert_eq!(suback.codes, [0x87]);
}

fn subscribe(filters: &[&str]) -> impl AsRef<[u8]> + use<> {
    let options = SubscriptionOptions::new(QoS::AtMostOnce);
    let filters = filters.iter().map(|filter| (*filter, options));
    encode_subscribe(VERSION, 9, &[], filters).expect("valid")
}

/// Machines of the plant "test" are slowed down, and none is thrown out for it.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_slows_down() {
    let mut all = connected(&gateway(&Curfew::default()), "trial").await;
    let begun = tokio::time::Instant::now();
    let ids = 1..=u16::try_from(TEST_RATE).expect("few") + 1;
    for id in ids.clone() {
        all.client.send(publish("machines/m7/t", id)).await;
    }
    for _ in ids {
        let frame = all.broker.next().await.expect("it passes");
        assert_eq!(frame.kind(), Kind::Publish);
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(59),
        "{:?}",
        begun.elapsed()
    );
    assert!(!all.session.is_finished());
}
