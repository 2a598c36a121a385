//! How the proxy starts, and how it does not.

use std::fs;

use mproxy_tests::wire::{Connect, Publish, Version};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Process, Setup, server_binary};
use tempfile::TempDir;
use tokio::process::Command;

use crate::tools::root;

fn command<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(server_binary());
    command.args(args).env_clear();
    command
}

#[tokio::test]
async fn two_flags_are_enough() {
    let broker = Mosquitto::start().await;
    let mut command = command(["--listen", "127.0.0.1:0", "--upstream", &broker.url()]);
    command.args(["--set", "admin.bind=", "--log-format", "json"]);
    let process = Process::spawn(command);
    let line = process
        .line("its address", |it| it.contains("\"listening\""))
        .await;
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let addr = event["address"].as_str().expect("an address");
    let addr = addr.parse().expect("an address");
    Link::client(addr, Version::V5, "c").await.leave().await;
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.ended().await.0, 0);
}

#[tokio::test]
async fn one_socket_serves_both_kinds_of_ip() {
    let broker = Mosquitto::start().await;
    let setup = Setup::before(&broker.url()).set("listeners.mqtt.bind", "[::]:0");
    let mproxy = setup.start().await;
    let port = mproxy.addr().port();
    for host in ["127.0.0.1", "[::1]"] {
        let addr = format!("{host}:{port}").parse().expect("an address");
        Link::client(addr, Version::V311, "c").await.leave().await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_starts() {
    let broker = FakeBroker::bind().await;
    let first = Mproxy::before(&broker.url()).await;
    for (key, taken) in [
        ("listeners.mqtt.bind", first.addr()),
        ("admin.bind", first.admin()),
    ] {
        let taken = taken.to_string();
        let (process, _dir) = Setup::before(&broker.url()).set(key, &taken).spawn();
        let (code, output) = process.ended().await;
        assert_eq!(code, 1, "{output}");
        assert!(
            output.contains(&taken) && output.contains("Address already in use"),
            "{output}"
        );
        assert!(!output.contains("\"listening\""), "{output}");
    }
}

#[tokio::test]
async fn mistakes_have_exit_codes_of_their_own() {
    // of the command line
    let (code, _) = Process::run(command(["--no-such-flag"])).await;
    assert_eq!(code, 2);

    // of the configuration: all of them, each with its place
    let mistakes = "[[listeners]]\nname = \"mqtt\"\nbnid = \"127.0.0.1:0\"\nupstream = \"brokre\"\n\
                    [upstreams.broker]\naddress = \"mqtt://127.0.0.1:1883\"\n";
    let (process, _dir) = Setup::new(mistakes).spawn();
    let (code, output) = process.ended().await;
    assert_eq!(code, 78, "{output}");
    for part in [
        "mproxy.toml:3",
        "did you mean `bind`",
        "mproxy.toml:4",
        "brokre",
        "^^^^",
    ] {
        assert!(output.contains(part), "no {part}:\n{output}");
    }

    // of the surroundings
    let nobody = FakeBroker::bind().await.close();
    let mut command = command(["--listen", "127.0.0.1:0", "--set", "admin.bind="]);
    command.args([
        "--upstream",
        &format!("mqtt://{nobody}"),
        "--require-upstream",
    ]);
    assert_eq!(Process::run(command).await.0, 69);
}

/// What deployments ship is a configuration that the binary takes.
#[tokio::test]
async fn configurations_of_deployments_are_accepted() {
    let files = [
        "docker/mproxy.toml",
        "kustomize/components/sidecar/mproxy.toml",
    ];
    for file in files {
        let path = root().join("deploy").join(file);
        let mut check = command(["check", "--no-environment", "--config"]);
        check.arg(&path);
        let (code, output) = Process::run(check).await;
        assert_eq!(code, 0, "{output}");

        // and one with a mistake is not
        let dir = TempDir::new().expect("a temporary folder can be made");
        let wrong = dir.path().join("mproxy.toml");
        let text = fs::read_to_string(&path).expect("it was just read");
        fs::write(&wrong, text.replacen("drain_timeout", "drain_timeuot", 1)).expect("ours");
        let mut check = command(["check", "--no-environment", "--config"]);
        check.arg(&wrong);
        let (code, output) = Process::run(check).await;
        assert_eq!(code, 78, "{output}");
    }
}

/// Passwords of others do not belong on a command line, and what is there is not taken for one.
#[tokio::test]
async fn variables_and_flags_override_the_file() {
    let broker = Mosquitto::start().await;
    let nobody = FakeBroker::bind().await.close();
    let mproxy = Setup::before(&format!("mqtt://{nobody}"))
        .env("MPROXY_UPSTREAMS__BROKER__ADDRESS", &broker.url())
        .start()
        .await;
    Link::client(mproxy.addr(), Version::V5, "c")
        .await
        .leave()
        .await;
}

/// What is configured for one listener is for that one only.
#[tokio::test]
async fn each_listener_has_a_broker_and_a_chain_of_its_own() {
    let (open, closed) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let config = format!(
        r#"
[[listeners]]
name = "open"
bind = "127.0.0.1:0"
upstream = "one"
chain = "free"
[[listeners]]
name = "closed"
bind = "127.0.0.1:0"
upstream = "two"
chain = "nobody"
versions = ["5"]
[upstreams.one]
address = "{}"
[upstreams.two]
address = "{}"
[chains.free]
[chains.nobody]
layers = ["acl"]
[layers.acl]
type = "acl"
[admin]
bind = "127.0.0.1:0"
"#,
        open.url(),
        closed.url()
    );
    let mproxy = Setup::new(&config).start().await;
    let message = Publish::new(Version::V5, "t").qos(1, 1).bytes("x");
    let (mut client, (mut server, _)) = tokio::join!(
        Link::client(mproxy.listener("open"), Version::V5, "c"),
        open.accept()
    );
    client.send(&message).await;
    server.expect(&message).await;
    let (mut client, (server, _)) = tokio::join!(
        Link::client(mproxy.listener("closed"), Version::V5, "c"),
        closed.accept()
    );
    client.send(&message).await;
    client.expect(&[0x40, 3, 0, 1, 0x87]).await;
    drop(server);
    let mut old = Link::tcp(mproxy.listener("closed")).await;
    old.send(&Connect::new(Version::V311, "c").bytes()).await;
    old.expect(&[0x20, 2, 0, 1]).await;
}

/// The line `start` came first, also of a start that failed then: who looked for it took the process for a
/// running one.
#[tokio::test]
async fn a_start_that_fails_is_not_logged_as_one() {
    let broker = FakeBroker::bind().await;
    let other = Mproxy::before(&broker.url()).await;
    let taken = other.addr().to_string();
    let before = |upstream: &str| Setup::before(upstream).set("server.worker_threads", "2");
    let nobody = FakeBroker::bind().await.close();
    let missing = "[listeners.tls]\ncert = \"missing.crt\"\nkey = \"missing.key\"\n";
    let with_files = format!("[[listeners]]\nname = \"mqtts\"\nbind = \"127.0.0.1:0\"\n{missing}");
    for (setup, expected, why) in [
        (
            before(&broker.url()).set("listeners.mqtt.bind", &taken),
            1,
            "cannot start",
        ),
        (
            before(&broker.url()).set("admin.bind", &other.admin().to_string()),
            1,
            "cannot start",
        ),
        (before(&broker.url()).toml(&with_files), 78, "cannot start"),
        (
            before(&format!("mqtt://{nobody}")).flag("--require-upstream"),
            69,
            "cannot start: the broker does not serve clients",
        ),
    ] {
        let (process, _dir) = setup.spawn();
        let (code, output) = process.ended().await;
        assert_eq!(code, expected, "{output}");
        assert!(output.contains(why), "{output}");
        for event in ["start", "listen"] {
            let event = format!("\"event\":\"{event}\"");
            assert!(!output.contains(&event), "{output}");
        }
    }
}

/// A support case began with the question which version ran with which files: no line said so.
#[tokio::test]
async fn the_first_line_says_what_was_started() {
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.worker_threads", "3");
    let mproxy = setup.set("server.max_connections", "7").start().await;
    let first = mproxy.events().remove(0);
    assert_eq!(first["event"], "start");
    assert_eq!(first["release"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["pid"], mproxy.id());
    let config = first["config"].as_str().expect("the file");
    assert!(config.ends_with("/mproxy.toml"), "{first}");
    assert_eq!(
        (&first["workers"], &first["capacity"]),
        (&3.into(), &7.into())
    );
    assert!(first["descriptors"].is_u64(), "{first}");
    assert_eq!(first["memory_automatic"], true);
    let memory = mproxy.metrics().await.sum("mproxy_memory_limit_bytes");
    assert_eq!(first["memory_bytes"].as_f64(), Some(memory));

    let setup = Setup::before(&broker.url()).set("server.memory", "64MiB");
    let first = setup.start().await.events().remove(0);
    let memory = (&first["memory_bytes"], &first["memory_automatic"]);
    assert_eq!(memory, (&(64 << 20).into(), &false.into()));
}

/// With 64 descriptors mproxy served one client, and nothing said why the others were refused.
#[tokio::test]
async fn a_small_limit_of_descriptors_is_told() {
    for (limit, capacity) in [(64, 1), (1024, 479)] {
        let broker = FakeBroker::bind().await;
        let shell = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        let setup = Setup::before(&broker.url()).set("server.worker_threads", "1");
        let mproxy = setup.by(["sh", "-c", &shell]).start().await;
        let line = mproxy.event("a warning", |it| it["event"] == "limit").await;
        assert_eq!(line["level"], "WARN");
        assert_eq!(
            (&line["capacity"], &line["descriptors"]),
            (&capacity.into(), &limit.into())
        );
        let remedy = line["remedy"].as_str().expect("a remedy");
        assert!(remedy.contains("LimitNOFILE"), "{remedy}");
        if capacity == 1 {
            // nobody has set a key that could be raised
            let _first = Link::tcp(mproxy.addr()).await;
            mproxy.metric("mproxy_connections_pending", 1.0).await;
            Link::tcp(mproxy.addr()).await.closed().await;
            let line = mproxy
                .event("a refusal", |it| it["event"] == "refuse")
                .await;
            assert_eq!(line["limit"], "server.max_connections");
            let remedy = line["remedy"].as_str().expect("a remedy");
            assert!(remedy.contains("LimitNOFILE"), "{remedy}");
            assert!(!remedy.contains("this key"), "{remedy}");
        }
    }
    // who configures a small number is not told
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).set("server.max_connections", "10");
    let mproxy = setup
        .by(["sh", "-c", "ulimit -n 1024 && exec \"$0\" \"$@\""])
        .start()
        .await;
    assert!(mproxy.events().iter().all(|it| it["event"] != "limit"));
}
