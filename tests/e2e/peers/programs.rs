//! `mosquitto_pub` and `mosquitto_sub`: the same as the scripts of `tests/clients`, with programs that
//! are run anew for everything that they do.

use std::io::Write;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use mproxy_tests::clients::{MosquittoSub, mosquitto_pub, mosquitto_sub};
use mproxy_tests::wire::Version;
use rustix::process::Signal;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::cases::{self, Case};

/// How long is waited for what a broker does not do.
const SHORT: Duration = Duration::from_secs(2);

/// How many cases are tried at a time: each is some programs.
const AT_ONCE: usize = 8;

struct Attempt<'a> {
    case: &'a Case<'a>,
    version: Version,
    /// Names of the clients so far.
    clients: AtomicUsize,
}

/// A line for each case.
pub(super) async fn run(
    broker: SocketAddr,
    proxy: SocketAddr,
    versions: &[&str],
    cannot: &str,
) -> String {
    let attempt = async |case: &Case<'_>| {
        let attempt = Attempt {
            case,
            version: version(case.version),
            clients: AtomicUsize::new(0),
        };
        attempt.result().await
    };
    cases::run(broker, proxy, versions, cannot, AT_ONCE, attempt).await
}

fn version(name: &str) -> Version {
    match name {
        "3.1" => Version::V31,
        "3.1.1" => Version::V311,
        _ => Version::V5,
    }
}

impl Attempt<'_> {
    async fn result(&self) -> Result<(), String> {
        let attempt = AssertUnwindSafe(self.run()).catch_unwind();
        let ended = if self.case.is_doubtful {
            timeout(SHORT, attempt).await
        } else {
            Ok(attempt.await)
        };
        match ended {
            Ok(Ok(())) => Ok(()),
            // what was wrong has been printed
            Ok(Err(_)) => Err("failed".to_owned()),
            Err(_) => Err("not in time".to_owned()),
        }
    }

    fn label(&self) -> String {
        self.case.label("mq")
    }

    /// 23 letters are the most in MQTT 3.1.
    fn client_id(&self) -> String {
        let client = self.clients.fetch_add(1, Ordering::Relaxed);
        format!("mq{}-{client}", self.case.number)
    }

    async fn subscriber(&self, addr: SocketAddr, qos: &str, args: &[&str]) -> MosquittoSub {
        let id = self.client_id();
        let args = [&["-i", &id, "-q", qos], args].concat();
        MosquittoSub::start(addr, self.version, &args).await
    }

    async fn publish(&self, addr: SocketAddr, qos: &str, args: &[&str]) {
        let id = self.client_id();
        let args = [&["-i", &id, "-q", qos], args].concat();
        let (code, output) = mosquitto_pub(addr, self.version, &args).await;
        assert_eq!(code, 0, "{}: {output}", self.label());
    }

    /// The two directions: from whom, to whom, by which topic.
    fn directions(&self) -> [(SocketAddr, SocketAddr, String); 2] {
        let label = self.label();
        [
            (self.case.addr, self.case.broker, format!("{label}/up")),
            (self.case.broker, self.case.addr, format!("{label}/down")),
        ]
    }

    async fn run(&self) {
        let label = self.label();
        match self.case.feature {
            "qos0" => self.both_ways("0", &["-m", "hi"], "2 6869").await,
            "qos1" => self.both_ways("1", &["-m", "hi"], "2 6869").await,
            "qos2" => self.both_ways("2", &["-m", "hi"], "2 6869").await,
            "empty" => self.both_ways("1", &["-n"], "0 ").await,
            "large" => {
                const LEN: usize = 256 * 1024;
                let mut file = NamedTempFile::new().expect("a temporary file can be made");
                file.write_all(&[0xa5; LEN]).expect("the file is ours");
                let path = file.path().to_str().expect("a path of letters");
                let payload = format!("{LEN} {}", "a5".repeat(LEN));
                self.both_ways("1", &["-f", path], &payload).await;
            }
            "long_topic" => {
                let filter = format!("{label}/#");
                let topic = format!("{label}/{}", "t".repeat(65_534 - label.len()));
                let service = self
                    .subscriber(self.case.broker, "1", &["-t", &filter])
                    .await;
                self.publish(self.case.addr, "1", &["-t", &topic, "-m", "x"])
                    .await;
                service.message(&format!("{topic} 1 0 1 78")).await;
            }
            "retained" => self.retained().await,
            "will" => {
                let will = |text: &'static str| {
                    let topic = ["-t", "nothing", "--will-topic", &label];
                    [&topic[..], &["--will-qos", "1", "--will-payload", text]].concat()
                };
                let service = self
                    .subscriber(self.case.broker, "1", &["-t", &label])
                    .await;
                // one that has subscribed and leaves
                let id = self.client_id();
                let leaves = [&["-i", &id, "-E"], &will("no")[..]].concat();
                let (code, output) = mosquitto_sub(self.case.addr, self.version, &leaves).await;
                assert_eq!(code, 0, "{label}: {output}");
                let dies = self.subscriber(self.case.addr, "1", &will("will")).await;
                dies.process().signal(Signal::KILL);
                let message = format!("{label} 1 0 4 77696c6c");
                service.message(&message).await;
                assert_eq!(service.messages(), [message]);
            }
            "takeover" => {
                let old = self
                    .subscriber(self.case.addr, "1", &["-t", "nothing"])
                    .await;
                let service = self
                    .subscriber(self.case.broker, "1", &["-t", &label])
                    .await;
                let args = [
                    "-i",
                    &format!("mq{}-0", self.case.number),
                    "-q",
                    "1",
                    "-t",
                    &label,
                ];
                let args = [&args[..], &["-m", "new"]].concat();
                let (code, output) = mosquitto_pub(self.case.addr, self.version, &args).await;
                assert_eq!(code, 0, "{label}: {output}");
                service.message(&format!("{label} 1 0 3 6e6577")).await;
                // the old one comes back after a second; in 5.0 not if it is told that it was sent away,
                // as the proxy does where this broker just closes
                let mut connects = 0;
                old.process()
                    .line("the end of the old connection", |line| {
                        connects += usize::from(line.contains("sending CONNECT"));
                        connects == 2 || line.starts_with("Received DISCONNECT")
                    })
                    .await;
            }
            "unsubscribe" => {
                let [gone, fence] = ["gone", "fence"].map(|name| format!("{label}/{name}"));
                let args = ["-t", &gone, "-t", &fence, "-U", &gone];
                let device = self.subscriber(self.case.addr, "1", &args).await;
                device
                    .process()
                    .line("UNSUBACK", |line| line.contains("received UNSUBACK"))
                    .await;
                for topic in [&gone, &fence] {
                    self.publish(self.case.broker, "1", &["-t", topic, "-m", "x"])
                        .await;
                }
                let message = format!("{fence} 1 0 1 78");
                device.message(&message).await;
                assert_eq!(device.messages(), [message]);
            }
            "persistent" => {
                let id = self.client_id();
                let mut args = vec!["-i", &id, "-c", "-q", "1", "-t", &label];
                if self.version.is_v5() {
                    args.extend(["-x", "60"]);
                }
                let once = [&args[..], &["-E"]].concat();
                let (code, output) = mosquitto_sub(self.case.addr, self.version, &once).await;
                assert_eq!(code, 0, "{label}: {output}");
                for number in ["0", "1", "2"] {
                    self.publish(self.case.broker, "1", &["-t", &label, "-m", number])
                        .await;
                }
                let device = MosquittoSub::start(self.case.addr, self.version, &args).await;
                let all = [0, 1, 2].map(|number| format!("{label} 1 0 1 3{number}"));
                device.message(&all[2]).await;
                assert_eq!(device.messages(), all);
            }
            feature => panic!("nobody knows how to try {feature}"),
        }
    }

    async fn both_ways(&self, qos: &str, payload: &[&str], received: &str) {
        for (from, to, topic) in self.directions() {
            let subscriber = self.subscriber(to, qos, &["-t", &topic]).await;
            let args = [&["-t", &topic], payload].concat();
            self.publish(from, qos, &args).await;
            let message = format!("{topic} {qos} 0 {received}");
            subscriber.message(&message).await;
        }
    }

    async fn retained(&self) {
        for (from, to, topic) in self.directions() {
            self.publish(from, "1", &["-r", "-t", &topic, "-m", "kept"])
                .await;
            let late = self.subscriber(to, "1", &["-t", &topic]).await;
            late.message(&format!("{topic} 1 1 4 6b657074")).await;
            // an empty payload removes it: the next one that comes is another
            self.publish(from, "1", &["-r", "-t", &topic, "-n"]).await;
            let later = self.subscriber(to, "1", &["-t", &topic]).await;
            self.publish(from, "1", &["-t", &topic, "-m", "new"]).await;
            let message = format!("{topic} 1 0 3 6e6577");
            later.message(&message).await;
            assert_eq!(later.messages(), [message]);
        }
    }
}
