//! Clients that misbehave again and again, and what an operator bans.

use mproxy_tests::wire::{Connect, PINGREQ, Packet, Publish, Version, connack, frame};
use mproxy_tests::{
    FakeBroker, Link, Mosquitto, Mproxy, PASSWORD, Rest, Setup, USER, connect_from, until,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs a command against the admin port; its exit code and what it wrote.
async fn run(mproxy: &Mproxy, arguments: &[&str]) -> (i32, String) {
    let (code, out, err) = mproxy.command(arguments).await;
    (code, out + &err)
}

async fn bans(mproxy: &Mproxy) -> Value {
    let (code, out) = run(mproxy, &["bans", "list", "--format", "json"]).await;
    assert_eq!(code, 0, "{out}");
    serde_json::from_str(&out).expect("JSON")
}

/// A connection from 127.0.0.N.
async fn from(last: u8, mproxy: &Mproxy) -> Link {
    let stream = connect_from([127, 0, 0, last], mproxy.addr()).await;
    Link::over(stream.expect("it listens"))
}

fn enforcing(upstream: &str) -> Setup {
    Setup::before(upstream).toml("[bans]\nmode = \"enforce\"\nforgive = \"1h\"\n")
}

/// Five packets that are not MQTT, each of which costs 20 points.
#[tokio::test]
async fn an_address_that_sends_garbage_is_banned_and_others_are_not() {
    let broker = Mosquitto::start().await;
    let mproxy = enforcing(&broker.url()).start().await;
    for count in 1..=5 {
        let mut link = from(2, &mproxy).await;
        link.send(&[0x10, 3, 0, 4, b'X']).await;
        link.closed().await;
        let offences = "mproxy_offences_total{offence=\"protocol_error\"}";
        mproxy.metric(offences, f64::from(count)).await;
    }
    let ban = mproxy.event("the ban", |it| it["event"] == "ban").await;
    assert_eq!(
        (&ban["subject"], &ban["banned"]),
        (&"address".into(), &"127.0.0.2".into())
    );
    let remedy = ban["remedy"].as_str().expect("a remedy");
    assert!(
        remedy.contains("bans remove --address '127.0.0.2'"),
        "{remedy}"
    );
    from(2, &mproxy).await.closed().await;
    let refused = mproxy
        .event("the refusal", |it| it["reason"] == "banned")
        .await;
    let detail = refused["detail"].as_str().expect("why");
    assert!(
        detail.contains("127.0.0.2 is banned for") && detail.contains("protocol_error"),
        "{detail}"
    );
    mproxy.metric("mproxy_bans{subject=\"address\"}", 1.0).await;
    let mut other = from(3, &mproxy).await;
    other.connect(&Connect::new(Version::V5, "other")).await;

    // an operator lifts it
    let all = bans(&mproxy).await;
    assert_eq!(
        (&all["total"], &all["bans"][0]["by"]),
        (&1.into(), &"points".into())
    );
    let lift = ["bans", "remove", "--address", "127.0.0.2"];
    assert_eq!(run(&mproxy, &lift).await, (0, "lifted\n".to_owned()));
    let (code, out) = run(&mproxy, &lift).await;
    assert!(code == 1 && out.contains("it is not banned"), "{out}");
    let mut again = from(2, &mproxy).await;
    again.connect(&Connect::new(Version::V5, "again")).await;
}

/// Anybody can claim a name: wrong passwords must not have its owner banned.
#[tokio::test]
async fn wrong_passwords_ban_the_address_and_never_the_name() {
    let broker = Mosquitto::guarded().await;
    let mproxy = enforcing(&broker.url()).start().await;
    for count in 1..=10 {
        let mut link = from(2, &mproxy).await;
        let wrong = Connect::new(Version::V5, "victim").credentials(USER, "guess");
        link.send(&wrong.bytes()).await;
        link.rest().await;
        let offences = "mproxy_offences_total{offence=\"auth_failed\"}";
        mproxy.metric(offences, f64::from(count)).await;
    }
    from(2, &mproxy).await.closed().await;
    let all = bans(&mproxy).await;
    assert_eq!(
        (&all["total"], &all["bans"][0]["value"]),
        (&1.into(), &"127.0.0.2".into())
    );
    assert_eq!(all["total_scores"], 0, "{all}");
    let mut owner = from(3, &mproxy).await;
    let right = Connect::new(Version::V5, "victim").credentials(USER, PASSWORD);
    owner.connect(&right).await;
}

/// Sixty PINGREQs in a row cost 20 points: after four times, the session ends, after five, its names and its
/// address are banned.
#[tokio::test]
async fn a_client_that_pings_without_end_is_closed_gently_and_then_banned() {
    let broker = Mosquitto::start().await;
    let all = "subjects = [\"address\", \"username\", \"client_id\"]\n";
    let mproxy = enforcing(&broker.url()).toml(all).start().await;
    let mut link = from(2, &mproxy).await;
    let connect = Connect::new(Version::V5, "pinger").credentials("ann", "");
    link.connect(&connect).await;
    for _ in 0..4 * 60 {
        link.send(&PINGREQ).await;
    }
    let (packets, end) = link.rest().await;
    let last = packets.last().map(Packet::bytes);
    assert_eq!(last, Some(&[0xe0, 1, 0x96][..]), "message rate too high");
    assert_eq!(end, Rest::Clean);
    let line = mproxy.end_of("pinger").await;
    assert_eq!(line["reason"], "misbehaved");
    let mut link = from(2, &mproxy).await;
    link.connect(&connect).await;
    for _ in 0..60 {
        link.send(&PINGREQ).await;
    }
    link.rest().await;
    let all = bans(&mproxy).await;
    let mut banned: Vec<_> = (0..3)
        .map(|it| all["bans"][it]["subject"].to_string())
        .collect();
    banned.sort();
    assert_eq!(banned, ["\"address\"", "\"client_id\"", "\"username\""]);
    // from another address it is known by its names
    let mut link = from(3, &mproxy).await;
    link.send(&connect.bytes()).await;
    link.expect(&connack(Version::V5, 0x8a)).await;
    link.closed().await;
}

#[tokio::test]
async fn while_observing_the_log_says_who_would_be_banned() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url())
        .toml("[bans]\nmode = \"observe\"\npoints.protocol_error = 60\n")
        .start()
        .await;
    for _ in 0..2 {
        let mut link = Link::tcp(mproxy.addr()).await;
        link.send(&[0x10, 3, 0, 4, b'X']).await;
        link.closed().await;
    }
    let line = mproxy
        .event("the ban that is none", |it| it["event"] == "ban")
        .await;
    assert!(
        line["message"]
            .as_str()
            .is_some_and(|it| it.starts_with("would be banned")),
        "{line}"
    );
    let mut link = Link::tcp(mproxy.addr()).await;
    let connect = Connect::new(Version::V5, "good");
    let (_, server) = tokio::join!(link.connect(&connect), broker.accept());
    // a reload enforces it from then on
    mproxy.edit("\"observe\"", "\"enforce\"");
    mproxy.reload().await;
    for _ in 0..2 {
        let mut bad = Link::tcp(mproxy.addr()).await;
        bad.send(&[0x10, 3, 0, 4, b'X']).await;
        bad.closed().await;
    }
    until("the ban", async || {
        (bans(&mproxy).await["total"] == 1).then_some(())
    })
    .await;
    Link::tcp(mproxy.addr()).await.closed().await;
    // the session that runs goes on
    link.send(&Publish::new(Version::V5, "t").bytes("x")).await;
    let (mut server, _) = server;
    server
        .expect(&Publish::new(Version::V5, "t").bytes("x"))
        .await;
}

#[tokio::test]
async fn an_operator_bans_names_and_networks_and_their_sessions_end() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    let connect = Connect::new(Version::V5, "sensor-1").credentials("ann", "");
    for (subject, value) in [
        ("--client", "sensor-1"),
        ("--username", "ann"),
        ("--address", "127.0.0.2/31"),
    ] {
        let mut link = from(2, &mproxy).await;
        link.connect(&connect).await;
        let add = [
            "bans", "add", subject, value, "--for", "1h", "--reason", "stolen",
        ];
        let made = run(&mproxy, &add).await;
        assert_eq!(
            made,
            (0, "banned; disconnected: 1\n".to_owned()),
            "{subject}"
        );
        link.expect(&frame(0xe0, &[0x98])).await;
        assert_eq!(link.rest().await.1, Rest::Clean);
        let mut link = from(2, &mproxy).await;
        if subject != "--address" {
            link.send(&connect.bytes()).await;
            link.expect(&connack(Version::V5, 0x8a)).await;
        }
        link.closed().await;
        let (code, table) = run(&mproxy, &["bans", "list"]).await;
        assert!(
            code == 0 && table.contains("stolen") && table.ends_with("1 of 1\n"),
            "{table}"
        );
        let lift = ["bans", "remove", subject, value];
        assert_eq!(run(&mproxy, &lift).await.0, 0, "{subject}");
    }
    // with the kick, so that it does not come back
    let mut link = from(2, &mproxy).await;
    link.connect(&connect).await;
    let kick = ["conns", "kick", "--client", "sensor-*", "--ban", "10m"];
    assert_eq!(run(&mproxy, &kick).await.0, 0);
    link.rest().await;
    let all = bans(&mproxy).await;
    assert_eq!(all["bans"][0]["value"], "sensor-1");
}

/// Garbage of clients without an identifier banned the empty one, and with it every client without one; and a
/// web page could have its visitors' address banned, by requests that any browser sends.
#[tokio::test]
async fn nobody_is_banned_for_what_others_can_make_it_do() {
    let broker = Mosquitto::start().await;
    let all = "subjects = [\"address\", \"username\", \"client_id\"]\n";
    let setup = enforcing(&broker.url()).toml(all).websocket();
    let mproxy = setup
        .set("listeners.ws.origins", "[\"https://app.example\"]")
        .start()
        .await;
    for _ in 0..5 {
        let mut link = from(2, &mproxy).await;
        link.connect(&Connect::new(Version::V311, "")).await;
        link.send(&[0xf0, 0]).await;
        link.rest().await;
    }
    mproxy.metric("mproxy_bans", 1.0).await;
    from(2, &mproxy).await.closed().await;
    let mut other = from(3, &mproxy).await;
    other.connect(&Connect::new(Version::V311, "")).await;
    // a request to the wrong port, and one of a page that may not connect
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://b.example\r\n\r\n";
    for _ in 0..6 {
        for addr in [mproxy.addr(), mproxy.listener("ws")] {
            let stream = connect_from([127, 0, 0, 4], addr).await;
            let mut stream = stream.expect("it listens");
            stream.write_all(request).await.expect("it is not banned");
            // the answer, if there is one, and the end
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    let all = bans(&mproxy).await;
    assert_eq!(
        (&all["total"], &all["bans"][0]["value"]),
        (&1.into(), &"127.0.0.2".into())
    );
    assert_eq!(all["total_scores"], 0, "{all}");
}

/// A connection that was open before its address was banned sent its CONNECT, and was let in.
#[tokio::test]
async fn a_ban_holds_for_connections_that_are_older() {
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    let mut link = from(2, &mproxy).await;
    mproxy.metric("mproxy_connections_pending", 1.0).await;
    let add = ["bans", "add", "--address", "127.0.0.2", "--forever"];
    assert_eq!(run(&mproxy, &add).await.0, 0);
    let connect = Connect::new(Version::V5, "late");
    link.send(&connect.bytes()).await;
    link.expect(&connack(Version::V5, 0x8a)).await;
    link.closed().await;
    let line = mproxy
        .event("the refusal", |it| it["reason"] == "banned")
        .await;
    assert_eq!(
        line["detail"],
        "address 127.0.0.2 is banned: by an operator"
    );
}
