//! A new configuration while clients are connected.

use std::fs;

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Publish, Version, puback};
use mproxy_tests::{FakeBroker, Link, Mproxy, Setup, http, until};
use serde_json::Value;
use tokio::net::TcpStream;

/// A client and its broker can hear each other.
async fn talk(client: &mut Link, server: &mut Link) {
    client.send(&PINGREQ).await;
    server.expect(&PINGREQ).await;
    server.send(&PINGRESP).await;
    client.expect(&PINGRESP).await;
}

async fn session(mproxy: &Mproxy, broker: &FakeBroker, client_id: &str) -> (Link, Link) {
    let client = Link::client(mproxy.addr(), Version::V5, client_id);
    let (client, (server, _)) = tokio::join!(client, broker.accept());
    (client, server)
}

async fn alice(mproxy: &Mproxy, broker: &FakeBroker) -> (Link, Link) {
    let connect = Connect::new(Version::V5, "alice").credentials("alice", "secret");
    let mut client = Link::tcp(mproxy.addr()).await;
    let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    (client, server)
}

fn refused(line: &Value) {
    assert_eq!(
        line["message"],
        "not reloaded: the old configuration stays in effect"
    );
}

/// What an operator changes holds for the next client, and those that are there notice nothing.
#[tokio::test]
async fn nobody_who_is_connected_notices() {
    let (old, new) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let mproxy = Mproxy::before(&old.url()).await;
    let (mut client, mut server) = session(&mproxy, &old, "first").await;

    mproxy.edit(&old.url(), &new.url());
    let line = mproxy.reload().await;
    assert_eq!(line["message"], "configuration reloaded");
    assert_eq!(
        (&line["by"], &line["level"]),
        (&"SIGHUP".into(), &"INFO".into())
    );
    talk(&mut client, &mut server).await;
    let (mut second, mut at) = session(&mproxy, &new, "second").await;
    talk(&mut second, &mut at).await;
    talk(&mut client, &mut server).await;

    let metrics = mproxy.metrics().await;
    assert_eq!(metrics.sum("mproxy_config_last_reload_successful"), 1.0);
    assert_eq!(
        metrics.sum("mproxy_config_reloads_total{result=\"success\"}"),
        1.0
    );
}

/// Any mistake refuses all of it: the listener that would be fine is not opened.
#[tokio::test]
async fn a_configuration_that_is_refused_changes_nothing() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let (mut client, mut server) = session(&mproxy, &broker, "c").await;
    let good = fs::read_to_string(mproxy.config()).expect("it was written");
    let other = "[[listeners]]\nname = \"other\"\nbind = \"127.0.0.1:0\"\n";
    for bad in [
        format!("{other}{good}\nunknown = 1\n"),
        format!("{other}{good}[server]\ndrain_timeout = \"-1s\"\n"),
        // half of a file that is being written
        format!("{other}{good}[serv"),
    ] {
        fs::write(mproxy.config(), &bad).expect("the temporary folder is ours");
        refused(&mproxy.reload().await);
        let events = mproxy.events();
        let place = events.iter().rev().find_map(|it| it["place"].as_str());
        assert!(
            place.is_some_and(|it| it.contains("mproxy.toml:")),
            "{place:?}"
        );
        assert!(!events.iter().any(|it| it["listener"] == "other"));
        talk(&mut client, &mut server).await;
    }
    let metrics = mproxy.metrics().await;
    assert_eq!(metrics.sum("mproxy_config_last_reload_successful"), 0.0);
    assert_eq!(
        metrics.sum("mproxy_config_reloads_total{result=\"failure\"}"),
        3.0
    );
    // an empty file would be a good one, with other addresses
    fs::remove_file(mproxy.config()).expect("it is there");
    refused(&mproxy.reload().await);
    fs::write(mproxy.config(), good).expect("the temporary folder is ours");
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    let metrics = mproxy.metrics().await;
    assert_eq!(metrics.sum("mproxy_config_last_reload_successful"), 1.0);
    talk(&mut client, &mut server).await;
}

/// An address that is in use refuses a reload; one that is free is listened on, and one that is not
/// configured any more is not, while its clients stay.
#[tokio::test]
async fn listeners_come_and_go() {
    let broker = FakeBroker::bind().await;
    let mproxy = Setup::before(&broker.url()).start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = taken.local_addr().expect("it is bound");
    let (mut client, mut server) = session(&mproxy, &broker, "c").await;

    let listener = format!("[[listeners]]\nname = \"new\"\nbind = \"{address}\"\n");
    mproxy.edit("[admin]", &format!("{listener}[admin]"));
    refused(&mproxy.reload().await);
    let detail = mproxy
        .event("why", |it| it["message"].to_string().contains("in use"))
        .await;
    assert_eq!(detail["level"], "ERROR");

    drop(taken);
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    let second = Link::client(address, Version::V5, "second");
    let (mut second, (mut at, _)) = tokio::join!(second, broker.accept());
    talk(&mut second, &mut at).await;

    mproxy.edit(&listener, "");
    mproxy.reload().await;
    let gone = mproxy.event("gone", |it| {
        it["message"].to_string().contains("not listening any more")
    });
    assert_eq!(gone.await["listener"], "new");
    until("the port to be free", async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    talk(&mut second, &mut at).await;
    talk(&mut client, &mut server).await;
    let ready = http::get(mproxy.admin(), "/readyz?verbose").await;
    assert!(!ready.body.contains("new"), "{}", ready.body);
}

/// To see more of a fault that is there now, nobody restarts what shows it.
#[tokio::test]
async fn the_log_says_more_at_once() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).toml("[log]\nlevel = \"info\"\n");
    let mproxy = setup.configured_log_level().start().await;
    let is_debug = |it: &Value| it["level"] == "DEBUG";
    let (mut first, mut at) = session(&mproxy, &broker, "first").await;
    assert!(!mproxy.events().iter().any(is_debug));
    mproxy.edit("level = \"info\"", "level = \"debug\"");
    mproxy.reload().await;
    let _second = session(&mproxy, &broker, "second").await;
    mproxy.event("a line of the new level", is_debug).await;
    talk(&mut first, &mut at).await;
}

/// Who has the token may use the API from any host; a file that cannot be used refuses the reload, and
/// the token stays.
#[tokio::test]
async fn the_token_of_the_admin_port_follows_its_file() {
    let broker = FakeBroker::bind().await;
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let file = dir.path().join("token");
    fs::write(&file, "first\n").expect("the folder is ours");
    let mproxy = Setup::before(&broker.url())
        .set("admin.token_file", &file.to_string_lossy())
        .start()
        .await;
    let ask = async |token: &str| {
        let request = format!(
            "GET /api/v1/connections HTTP/1.0\r\nHost: mproxy.example\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        http::request(mproxy.admin(), &request).await.status
    };
    assert_eq!((ask("first").await, ask("second").await), (200, 401));
    fs::write(&file, "second").expect("the folder is ours");
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    assert_eq!((ask("first").await, ask("second").await), (401, 200));
    for bad in ["", "two\nlines"] {
        fs::write(&file, bad).expect("the folder is ours");
        refused(&mproxy.reload().await);
        assert_eq!(ask("second").await, 200);
    }
    for event in mproxy.events() {
        assert!(!event.to_string().contains("second"), "{event}");
    }
}

/// What a client has subscribed to is at the old place: under another map it would hear nothing, and
/// nobody would know why.
#[tokio::test]
async fn another_map_ends_sessions_so_that_they_subscribe_again() {
    let broker = FakeBroker::bind().await;
    let chain = "[chains.default]\nlayers = [\"ids\", \"map\"]\n\
                 [layers.ids]\ntype = \"client-id\"\nrequire = \"equals-username\"\n";
    let map = "[layers.map]\ntype = \"topic-map\"\nprefix = \"a/${username}/\"\n";
    let setup = Setup::before(&broker.url()).toml(chain).toml(map);
    let mproxy = setup.start().await;
    let (mut client, mut server) = alice(&mproxy, &broker).await;
    mproxy.edit("[admin]", "[server]\ndrain_timeout = \"1s\"\n[admin]");
    mproxy.reload().await;
    talk(&mut client, &mut server).await;

    mproxy.edit("prefix = \"a/", "prefix = \"b/");
    mproxy.reload().await;
    client.closed().await;
    let end = mproxy
        .event("the end", |it| it["event"] == "disconnect")
        .await;
    assert_eq!(end["reason"], "rules_changed");
    let (mut client, mut server) = alice(&mproxy, &broker).await;
    client
        .send(&Publish::new(Version::V5, "t").bytes("x"))
        .await;
    server
        .expect(&Publish::new(Version::V5, "b/alice/t").bytes("x"))
        .await;
}

/// A client without layers, as most are, gets rules by a reload.
#[tokio::test]
async fn a_chain_that_was_empty_judges_those_who_are_connected() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let (mut client, mut server) = session(&mproxy, &broker, "c").await;
    let publish = |id| Publish::new(Version::V5, "secret/t").qos(1, id).bytes("x");
    client.send(&publish(1)).await;
    server.expect(&publish(1)).await;
    server.send(&puback(1)).await;
    client.expect(&puback(1)).await;
    let acl = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n\
               [[layers.acl.rules]]\nallow = [\"publish\"]\ntopics = [\"public/#\"]\n";
    mproxy.edit("[admin]", &format!("{acl}[admin]"));
    let line = mproxy.reload().await;
    assert_eq!(line["message"], "configuration reloaded", "{line}");
    until("the topic to be denied", async || {
        client.send(&publish(2)).await;
        tokio::select! {
            answer = client.packet() => {
                // not authorized
                (answer.body().get(2) == Some(&0x87)).then_some(())
            }
            _ = server.packet() => {
                server.send(&puback(2)).await;
                client.packet().await;
                None
            }
        }
    })
    .await;
}
