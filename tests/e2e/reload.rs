//! A new configuration while clients are connected.

use std::fs;
use std::time::{Duration, Instant};

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Publish, Version, puback};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Port, Setup, http, server_binary, until};
use rustix::process::Signal;
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

/// Whatever is in the file, half of it or another kind of thing: each reload says why it is refused, and
/// nobody notices.
#[tokio::test]
async fn two_hundred_broken_files_change_nothing() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let (mut client, mut server) = session(&mproxy, &broker, "c").await;
    let good = fs::read(mproxy.config()).expect("it was written");
    for round in 0..200 {
        let mut bad = good.clone();
        match round % 4 {
            0 => bad.extend(format!("key_{round} = 1\n").bytes()),
            // the end of it is not written yet: within a string
            1 => bad.truncate(bad.len() - 2 - round % 8),
            2 => bad.extend(b"\xff\xfe"),
            _ => bad.extend(b"[[listeners]]\nname = \"mqtt\"\n"),
        }
        fs::write(mproxy.config(), bad).expect("the folder is ours");
        let answer = mproxy.ask_for_reload().await;
        assert_eq!(answer.status, 422, "{round}: {}", answer.body);
        let json: Value = serde_json::from_str(&answer.body).expect("JSON");
        let diagnostics = json["report"]["diagnostics"].as_array().expect("a list");
        assert!(!diagnostics.is_empty(), "{round}: {json}");
    }
    fs::remove_file(mproxy.config()).expect("it is there");
    fs::create_dir(mproxy.config()).expect("the folder is ours");
    assert_eq!(mproxy.ask_for_reload().await.status, 422);
    talk(&mut client, &mut server).await;
    let metrics = mproxy.metrics().await;
    assert_eq!(
        metrics.sum("mproxy_config_reloads_total{result=\"success\"}"),
        0.0
    );
    assert_eq!(metrics.sum("mproxy_listener_up"), 1.0);
}

/// A file that is replaced while it is read is the old one or the new one; those who ask at the same time
/// are answered one after the other; and a proxy that drains does not begin anything new.
#[tokio::test]
async fn reloads_do_not_get_in_each_others_way() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let (mut client, mut server) = session(&mproxy, &broker, "c").await;
    let (file, other) = (mproxy.config(), mproxy.config().with_extension("new"));
    let good = fs::read_to_string(&file).expect("it was written");
    let versions = ["1s", "2s"].map(|it| format!("{good}[server]\ndrain_timeout = \"{it}\"\n"));
    let swapping = tokio::task::spawn_blocking(move || {
        for round in 0..500 {
            fs::write(&other, &versions[round % 2]).expect("the folder is ours");
            fs::rename(&other, &file).expect("the folder is ours");
        }
    });
    while !swapping.is_finished() {
        let (first, second) = tokio::join!(mproxy.ask_for_reload(), mproxy.ask_for_reload());
        assert_eq!((first.status, second.status), (200, 200), "{}", first.body);
    }
    talk(&mut client, &mut server).await;
    // it does not leave, so that the drain goes on
    let message = Publish::new(Version::V5, "t").bytes(vec![7; 100_000]);
    let offering = tokio::spawn(async move { while server.try_send(&message).await {} });
    mproxy.signal(Signal::TERM);
    mproxy.until_ready(false).await;
    let answer = mproxy.ask_for_reload().await;
    assert!(
        answer.status == 409 && answer.body.contains("drains"),
        "{}",
        answer.body
    );
    drop(client);
    offering.abort();
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

    // the line said that there is no such listener any more
    mproxy.edit(&address.to_string(), "127.0.0.1:0");
    mproxy.reload().await;
    let moved = mproxy.event("moved", |it| {
        it["message"].to_string().contains("stopped listening")
    });
    let moved = moved.await["message"].to_string();
    assert!(
        moved.contains("its listener is now at 127.0.0.1:"),
        "{moved}"
    );
    mproxy.edit(&listener.replace(&address.to_string(), "127.0.0.1:0"), "");
    mproxy.reload().await;
    let gone = mproxy.event("gone", |it| {
        it["message"].to_string().contains("has no such listener")
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
    // names of listeners were kept forever
    let is_counted = async || {
        let metrics = http::get(mproxy.admin(), "/metrics").await;
        metrics.body.contains("listener=\"new\"")
    };
    assert!(is_counted().await);
    drop((second, at));
    until("the listener to be forgotten", async || {
        mproxy.reload().await;
        (!is_counted().await).then_some(())
    })
    .await;
    talk(&mut client, &mut server).await;
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

/// A level that a flag sets was listed as applied, and warnings of the new configuration were only in the
/// log.
#[tokio::test]
async fn the_answer_tells_what_has_no_effect_and_what_to_look_at() {
    let broker = FakeBroker::bind().await;
    let log = "[log]\nlevel = \"info\"\n";
    let mproxy = Setup::before(&broker.url()).toml(log).start().await;
    mproxy.edit("level = \"info\"", "level = \"debug\"");
    let unused = "\n[layers.unused]\ntype = \"acl\"\ndefault = \"deny\"\n";
    let text = fs::read_to_string(mproxy.config()).expect("the file is there");
    fs::write(mproxy.config(), text + unused).expect("the folder is ours");
    let answer = mproxy.ask_for_reload().await;
    let body: Value = serde_json::from_str(&answer.body).expect("the answer is JSON");
    assert_eq!(body["overridden"]["log.level"], "--log-level", "{body}");
    assert_eq!(body["applied"], serde_json::json!(["layers.unused"]));
    let diagnostic = &body["report"]["diagnostics"][0];
    assert_eq!(diagnostic["severity"], "warning", "{body}");
}

/// The warnings were only in the log of the process, which is not what the operator looks at.
#[tokio::test]
async fn the_command_prints_the_warnings_of_the_new_configuration() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let unused = "\n[layers.unused]\ntype = \"acl\"\ndefault = \"deny\"\n";
    let text = fs::read_to_string(mproxy.config()).expect("the file is there");
    fs::write(mproxy.config(), text + unused).expect("the folder is ours");
    let output = tokio::process::Command::new(server_binary())
        .args(["reload", "--url", &format!("http://{}", mproxy.admin())])
        .output()
        .await
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"reloaded: layers.unused\n");
    let warnings = String::from_utf8_lossy(&output.stderr);
    let warning = "warning: layer `unused` is not used\n --> ";
    assert!(warnings.contains(warning), "{warnings}");
    assert!(
        warnings.ends_with("\n   = no chain names it\n"),
        "{warnings}"
    );
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
    // the key is the same, but not what it stands for: it was listed as unchanged
    assert_eq!(mproxy.reload().await["applied"], "admin.token_file");
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
    // its will was judged by the old rules: the broker is told to forget it
    let (heard, _) = server.rest().await;
    assert!(
        matches!(&heard[..], [last] if last.kind() == 14),
        "{heard:?}"
    );
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

const ACL: &str = "[chains.default]\nlayers = [\"acl\"]\n\
                   [layers.acl]\ntype = \"acl\"\ndefault = \"allow\"\n\
                   [[layers.acl.rules]]\ndeny = [\"publish\", \"subscribe\"]\ntopics = [\"never/#\"]\n";

/// A member of a group whose deliveries new rules deny went on taking its share of the messages, which
/// nobody got then.
#[tokio::test]
async fn a_member_of_a_group_that_new_rules_deny_leaves_its_share_to_the_others() {
    const FILTER: &str = "$share/workers/jobs/#";
    let broker = Mosquitto::start().await;
    let mproxy = Setup::before(&broker.url()).toml(ACL).start().await;
    let worker = async |client_id| {
        let mut link = Link::client(mproxy.addr(), Version::V5, client_id).await;
        link.subscribe(FILTER, 0).await;
        link
    };
    let (denied, mut other) = (worker("denied").await, worker("other").await);
    let rule = "[[layers.acl.rules]]\ndeny = [\"subscribe\"]\ntopics = [\"jobs/#\"]\n\
                client_ids = [\"denied\"]\n[[layers.acl.rules]]";
    mproxy.edit("[[layers.acl.rules]]", rule);
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    denied.closed().await;
    let end = mproxy.event("the end", |it| it["event"] == "disconnect");
    assert_eq!(end.await["reason"], "rules_changed");

    let mut sender = Link::client(broker.addr(), Version::V5, "sender").await;
    for number in 0..10 {
        let job = Publish::new(Version::V5, "jobs/1").bytes(number.to_string());
        sender.send(&job).await;
        other.expect(&job).await;
    }
}

/// Publishes with QoS 1 until the topic is denied; what passes is acknowledged by the broker.
async fn until_denied(client: &mut Link, server: &mut Link) {
    let publish = Publish::new(Version::V5, "secret/t").qos(1, 7).bytes("x");
    until("the topic to be denied", async || {
        client.send(&publish).await;
        tokio::select! {
            // not authorized
            answer = client.packet() => (answer.body().get(2) == Some(&0x87)).then_some(()),
            _ = server.packet() => {
                server.send(&puback(7)).await;
                client.packet().await;
                None
            }
        }
    })
    .await;
}

/// A listener that got another name left its clients under the rules that they had, for good.
#[tokio::test]
async fn clients_of_a_listener_that_is_renamed_follow_it() {
    let broker = FakeBroker::bind().await;
    let port = Port::reserve();
    let config = Setup::head(&broker.url()).replacen("127.0.0.1:0", &port.addr().to_string(), 1);
    let mproxy = Setup::new(&config).toml(ACL).start().await;
    let (mut client, mut server) = session(&mproxy, &broker, "c").await;
    mproxy.edit("name = \"mqtt\"", "name = \"main\"");
    mproxy.edit("never/#", "secret/#");
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    until_denied(&mut client, &mut server).await;
    mproxy.until_ready(true).await;
}

/// So did one that was taken out.
#[tokio::test]
async fn clients_of_a_listener_that_is_gone_follow_their_chain() {
    let broker = FakeBroker::bind().await;
    let guests = "[[listeners]]\nname = \"guests\"\nbind = \"127.0.0.1:0\"\n";
    let setup = Setup::before(&broker.url()).toml(guests).toml(ACL);
    let mproxy = setup.start().await;
    let client = Link::client(mproxy.listener("guests"), Version::V5, "c");
    let (mut client, (mut server, _)) = tokio::join!(client, broker.accept());
    mproxy.edit(guests, "");
    mproxy.reload().await;
    talk(&mut client, &mut server).await;
    mproxy.edit("never/#", "secret/#");
    mproxy.reload().await;
    until_denied(&mut client, &mut server).await;
}

/// A client that was turned away by new rules had the broker publish its will all the same.
#[tokio::test]
async fn a_client_that_is_turned_away_leaves_no_will() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let connect = Connect::new(Version::V5, "c").will("secret/will", "x", 0, false);
    let mut client = Link::tcp(mproxy.addr()).await;
    let (_, (server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    let ids = "[chains.default]\nlayers = [\"ids\"]\n\
               [layers.ids]\ntype = \"client-id\"\nrequire = \"equals-username\"\n";
    mproxy.edit("[admin]", &format!("{ids}[admin]"));
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    let (said, _) = client.rest().await;
    assert!(said.iter().all(|it| it.kind() == 14), "{said:?}");
    let (heard, _) = server.rest().await;
    let kinds: Vec<_> = heard
        .iter()
        .map(|it| (it.kind(), it.body().first().copied()))
        .collect();
    // normal disconnection: the broker forgets the will
    assert!(matches!(kinds[..], [(14, None | Some(0))]), "{kinds:?}");
}

/// The will of a client that stayed was published to a topic that new rules had denied since.
#[tokio::test]
async fn a_will_that_new_rules_deny_is_forgotten_by_the_broker() {
    let broker = FakeBroker::bind().await;
    let mproxy = Mproxy::before(&broker.url()).await;
    let connect = Connect::new(Version::V5, "c").will("secret/will", "x", 0, false);
    let mut client = Link::tcp(mproxy.addr()).await;
    let (_, (mut server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    let acl = "[chains.default]\nlayers = [\"acl\"]\n[layers.acl]\ntype = \"acl\"\n";
    let allowed = "[[layers.acl.rules]]\nallow = [\"publish\"]\ntopics = [\"secret/#\"]\n";
    mproxy.edit("[admin]", &format!("{acl}{allowed}[admin]"));
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    talk(&mut client, &mut server).await;

    mproxy.edit("secret/#", "other/#");
    assert_eq!(mproxy.reload().await["message"], "configuration reloaded");
    client.closed().await;
    let (heard, _) = server.rest().await;
    assert!(matches!(&heard[..], [it] if it.kind() == 14), "{heard:?}");
    let is_end = |it: &Value| it["event"] == "disconnect";
    let end = mproxy.event("the end", is_end).await;
    assert_eq!(end["reason"], "rules_changed");
}

/// What waits for a restart went unmentioned at the next reload, and what was put back was complained of.
#[tokio::test]
async fn a_restart_is_required_for_what_differs_from_the_start() {
    let broker = FakeBroker::bind().await;
    let log = "[log]\nmax_rate = \"5/s\"\n";
    let mproxy = Setup::before(&broker.url()).toml(log).start().await;
    mproxy.edit("5/s", "6/s");
    for _ in 0..2 {
        let answer = mproxy.ask_for_reload().await;
        assert!(
            answer
                .body
                .contains("\"restart_required\":[\"log.max_rate\"]"),
            "{}",
            answer.body
        );
    }
    mproxy.edit("6/s", "5/s");
    let answer = mproxy.ask_for_reload().await;
    assert!(
        answer.body.contains("\"restart_required\":[]"),
        "{}",
        answer.body
    );
}

/// Under --watch a slow writer lifted all rules for a moment; and the operator who moved an address was
/// told to stop what listens there, which was mproxy.
#[tokio::test]
async fn an_empty_file_and_an_address_of_its_own_are_refused_with_the_way_out() {
    let broker = FakeBroker::bind().await;
    let port = Port::reserve();
    let (own, other) = (port.addr(), format!("0.0.0.0:{}", port.addr().port()));
    let config = Setup::head(&broker.url()).replacen("127.0.0.1:0", &own.to_string(), 1);
    let mproxy = Setup::new(&config).start().await;
    mproxy.edit(&own.to_string(), &other);
    let answer = mproxy.ask_for_reload().await;
    let told = format!("mproxy itself listens at {own}");
    assert!(
        answer.status == 422 && answer.body.contains(&told),
        "{}",
        answer.body
    );
    fs::write(mproxy.config(), "# nothing\n\n").expect("the folder is ours");
    let answer = mproxy.ask_for_reload().await;
    assert!(
        answer.status == 422 && answer.body.contains("is empty"),
        "{}",
        answer.body
    );
}

/// A listener whose clients may send so many packets in a time, with time-outs that are shorter than it.
async fn paced(broker: &FakeBroker, rate: &str) -> Mproxy {
    let limits = format!(
        "[listeners.limits]\npacket_timeout = \"1s\"\nwrite_timeout = \"1s\"\n\
         packet_rate_to_server = \"{rate}\"\n[upstreams"
    );
    Setup::new(&Setup::head(&broker.url()).replace("[upstreams", &limits))
        .start()
        .await
}

/// It is read later, and no time-out is about a side that mproxy does not read.
#[tokio::test]
async fn a_client_with_a_pace_is_slowed_and_not_cut() {
    let broker = FakeBroker::bind().await;
    let mproxy = paced(&broker, "20/s").await;
    let (mut client, mut server) = session(&mproxy, &broker, "quick").await;
    let packet = Publish::new(Version::V5, "a").bytes("x");
    let begun = Instant::now();
    for _ in 0..100 {
        client.send(&packet).await;
    }
    for _ in 0..100 {
        server.expect(&packet).await;
    }
    talk(&mut client, &mut server).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_new_pace_holds_for_connected_clients() {
    let broker = FakeBroker::bind().await;
    let mproxy = paced(&broker, "2/h").await;
    let (mut client, mut server) = session(&mproxy, &broker, "slow").await;
    let packet = Publish::new(Version::V5, "a").bytes("x");
    // more than it may, which a read takes all the same
    client.send(&packet.repeat(4)).await;
    for _ in 0..4 {
        server.expect(&packet).await;
    }
    client.send(&packet).await;
    // the other direction goes on
    server.send(&packet).await;
    client.expect(&packet).await;
    assert!(server.is_idle());
    mproxy.edit("\"2/h\"", "\"0/s\"");
    mproxy.reload().await;
    server.expect(&packet).await;
    talk(&mut client, &mut server).await;
}

/// A reload that changed the pace found the sessions by the listener of their CONNECT, so a client whose
/// CONNECT came after it kept the old pace.
#[tokio::test]
async fn a_new_pace_holds_for_a_client_that_has_not_sent_its_connect() {
    let broker = FakeBroker::bind().await;
    let mproxy = paced(&broker, "2/h").await;
    let mut client = Link::tcp(mproxy.addr()).await;
    mproxy
        .metric("mproxy_connections_accepted_total", 1.0)
        .await;
    mproxy.edit("\"2/h\"", "\"0/s\"");
    mproxy.reload().await;
    let connect = Connect::new(Version::V5, "late");
    let (_, (mut server, _)) = tokio::join!(client.connect(&connect), broker.accept());
    let packet = Publish::new(Version::V5, "a").bytes("x");
    for _ in 0..6 {
        client.send(&packet).await;
        server.expect(&packet).await;
    }
}
