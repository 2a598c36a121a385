//! A wall clock that jumps: of a machine without a battery, after the first answer of NTP. libfaketime shows it to the
//! proxy; the monotonic clock goes on as it is.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use mproxy_tests::clients::mosquitto_pub;
use mproxy_tests::pki::Pki;
use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Version};
use mproxy_tests::{FakeBroker, Link, Mosquitto, Mproxy, Setup};
use rcgen::date_time_ymd;
use tempfile::TempDir;

use crate::tls::{args, listener, pki, shown};

const HALF_A_DAY: Duration = Duration::from_secs(43_200);

/// What the proxy takes for the time.
struct Clock(TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(TempDir::new().expect("a temporary folder can be made"));
        clock.jump("+0");
        clock
    }

    /// From now on, it is away from the true time by so much: `+1d`.
    fn jump(&self, offset: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, offset).expect("the folder is ours");
        fs::rename(new, self.file()).expect("the folder is ours");
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("clock")
    }

    fn shown_to(&self, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", &library().display().to_string())
            .env(
                "FAKETIME_TIMESTAMP_FILE",
                &self.file().display().to_string(),
            )
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

/// The library of Debian's package: each architecture has a folder of its own.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("it is there").flatten();
    let mut files = folders.map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    let found = files.find(|it| it.is_file());
    found.expect("libfaketime is not installed: run tests/setup.sh")
}

/// Whether a client with this certificate gets in.
async fn gets_in(mproxy: &Mproxy, pki: &Pki, name: &str) -> bool {
    let shown = shown(pki, name);
    let args = args(&shown, &["-t", "t", "-m", "m"]);
    mosquitto_pub(mproxy.listener("mqtts"), Version::V5, &args)
        .await
        .0
        == 0
}

#[tokio::test]
async fn a_clock_that_jumps_ends_no_session_and_certificates_follow_it() {
    let broker = Mosquitto::start().await;
    let (pki, clock) = (pki(), Clock::new());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = date_time_ymd(1970, 1, 1) + now.expect("it is later than 1970");
    pki.client_with("ends", 21, |it| it.not_after = now + HALF_A_DAY);
    pki.client_with("begins", 22, |it| it.not_before = now - HALF_A_DAY);
    // a broker that leaves it to the proxy to end silent sessions
    let patient = FakeBroker::bind().await;
    let more = format!(
        "[[listeners]]\nname = \"mqtt\"\nbind = \"127.0.0.1:0\"\nconformance = \"strict\"\nupstream = \"patient\"\n\
         [upstreams.patient]\naddress = \"{}\"\nhealth.check = \"off\"\n",
        patient.url()
    );
    let setup = listener(&pki, &broker.url(), "client_auth = \"require\"\n").toml(&more);
    let setup = setup.set("listeners.mqtts.upstream", "broker");
    let mproxy = clock.shown_to(setup).start().await;
    let session = async |keep_alive| {
        let mut client = Link::tcp(mproxy.addr()).await;
        let connect = Connect::new(Version::V311, "c").keep_alive(keep_alive);
        let (_, (server, _)) = tokio::join!(client.connect(&connect), patient.accept());
        (client, server)
    };
    let (mut stays, mut server) = session(600).await;
    let mut is_there = async || {
        stays.send(&PINGREQ).await;
        server.expect(&PINGREQ).await;
        server.send(&PINGRESP).await;
        stays.expect(&PINGRESP).await;
    };
    for (offset, ends, begins) in [
        ("+0", true, true),
        ("+1d", false, true),
        ("-1d", true, false),
        ("+0", true, true),
    ] {
        let sent = Instant::now();
        let (silent, _server) = session(2).await;
        clock.jump(offset);
        assert_eq!(gets_in(&mproxy, &pki, "ends").await, ends, "{offset}");
        assert_eq!(gets_in(&mproxy, &pki, "begins").await, begins, "{offset}");
        is_there().await;
        // one and a half times its keep-alive
        silent.closed().await;
        let closed = sent.elapsed();
        assert!(closed >= Duration::from_secs(3), "{offset}: {closed:?}");
        assert!(closed < Duration::from_secs(6), "{offset}: {closed:?}");
        is_there().await;
    }
    let refused = mproxy
        .events()
        .into_iter()
        .filter(|it| it["reason"] == "tls_error");
    let details: Vec<_> = refused.map(|it| it["detail"].to_string()).collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details[0].contains("expired"), "{details:?}");
    assert!(
        details[1].contains("not valid yet") || details[1].contains("NotValidYet"),
        "{details:?}"
    );
}
