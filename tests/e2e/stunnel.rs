//! docs/stunnel.md: devices with a pre-shared key come through stunnel.

use std::fs;
use std::path::Path;

use mproxy_tests::clients::{MosquittoSub, mosquitto_pub};
use mproxy_tests::tools::tool;
use mproxy_tests::wire::Version;
use mproxy_tests::{Mosquitto, Mproxy, Port, Process, Setup, until};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

/// The block of this language in the page that contains this text.
fn block(language: &str, with: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stunnel.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let blocks = page
        .split("\n```")
        .filter_map(|it| it.strip_prefix(language));
    let block = blocks.map(str::trim).find(|it| it.contains(with));
    block.expect("the page has such a block").to_owned() + "\n"
}

/// What stunnel says when it has read its files.
const READY: &str = "Configuration successful";

/// stunnel as on the page, in front of this listener.
struct Stunnel {
    process: Process,
    port: Port,
    dir: TempDir,
}

impl Stunnel {
    async fn before(mproxy: &Mproxy) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let port = Port::reserve();
        let keys = dir.path().join("psk.txt");
        fs::write(&keys, block("text", "device-7:")).expect("the folder is ours");
        let mut config = block("text", "[mqtt-psk]");
        for (on_the_page, here) in [
            ("0.0.0.0:8884", port.addr().to_string()),
            ("127.0.0.1:1884", mproxy.listener("psk").to_string()),
            ("/etc/stunnel/psk.txt", keys.display().to_string()),
        ] {
            assert!(config.contains(on_the_page), "{config}");
            config = config.replace(on_the_page, &here);
        }
        let file = dir.path().join("mqtt.conf");
        fs::write(&file, config).expect("the folder is ours");
        let mut command = Command::new(tool("stunnel4"));
        command.arg(file);
        let process = Process::spawn(command);
        process
            .line("stunnel to listen", |it| it.contains(READY))
            .await;
        Self { process, port, dir }
    }

    /// Publishes through it, as a device with this identity and key. It comes from another address than
    /// stunnel.
    async fn publish(&self, identity: &str, key: &str) -> i32 {
        let args = ["--psk-identity", identity, "--psk", key, "-A", "127.0.0.2"];
        let publish = ["-i", identity, "-q", "1", "-t", "psk", "-m", "hello"];
        let args = [&args[..], &publish].concat();
        mosquitto_pub(self.port.addr(), Version::V5, &args).await.0
    }
}

#[tokio::test]
async fn a_device_with_a_key_comes_through_stunnel_with_its_own_address() {
    let broker = Mosquitto::start().await;
    let config = block("toml", "name = \"psk\"").replace("127.0.0.1:1884", "127.0.0.1:0");
    let mproxy = Setup::new(&format!(
        "{config}\n[upstreams.broker]\naddress = \"{}\"\n[chains.default]\nlayers = [\"log\"]\n\
         [layers.log]\ntype = \"access-log\"\n[admin]\nbind = \"127.0.0.1:0\"\n",
        broker.url()
    ));
    let mproxy = mproxy.start().await;
    let stunnel = Stunnel::before(&mproxy).await;
    let observer = MosquittoSub::start(broker.addr(), Version::V5, &["-t", "psk"]).await;
    let keys = block("text", "device-7:");
    let key = keys
        .trim()
        .split_once(':')
        .expect("an identity and a key")
        .1;
    assert_eq!(stunnel.publish("device-7", key).await, 0);
    observer.message("psk 0 0 5 68656c6c6f").await;
    let line = mproxy.event("connect", |it| it["event"] == "connect").await;
    let peer = line["peer"].as_str().unwrap_or_default();
    assert!(peer.starts_with("127.0.0.2:"), "{line}");

    // another key, and somebody who is not in the file
    let wrong = key.replace('7', "8");
    assert_ne!(stunnel.publish("device-7", &wrong).await, 0);
    assert_ne!(stunnel.publish("device-8", &wrong).await, 0);
    let more = format!("{keys}device-8:{wrong}\n");
    fs::write(stunnel.dir.path().join("psk.txt"), more).expect("the folder is ours");
    stunnel.process.signal(Signal::HUP);
    until("the new keys", async || {
        let lines = stunnel.process.lines();
        let read = lines.iter().filter(|it| it.contains(READY)).count();
        (read == 2).then_some(())
    })
    .await;
    assert_eq!(stunnel.publish("device-8", &wrong).await, 0);
    let connects = mproxy.events();
    let connects = connects.iter().filter(|it| it["event"] == "connect");
    assert_eq!(connects.count(), 2, "those with the right key");
}
