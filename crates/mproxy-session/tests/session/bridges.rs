//! Bridges of mosquitto, which say what they are in bit 7 of their protocol level.

use mproxy_codec::Version;
use mproxy_session::{Admission, BoxError, Bridges, CloseReason, Connect, Forward, Hooks};
use tower::service_fn;

use crate::support::frames::{packet, string};
use crate::support::hooks::Seen;
use crate::support::{Frames, Setup, admit, admit_all, hex};

fn connect(version: Version, level: u8, client_id: &str) -> Vec<u8> {
    let name = if version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    let fields = [level, 2, 0, 60];
    packet(
        0x10,
        &[&string(name)[..], &fields, &string(client_id)].concat(),
    )
}

const LEVELS: [(Version, u8); 2] = [(Version::V31, 0x83), (Version::V311, 0x84)];

/// C11: a mosquitto bridge was turned away with return code 1 and came back as an ordinary client
/// after 8.7 seconds: the broker then sent it its own messages back, each of them twice on the
/// bridging side, and retained ones came without RETAIN. The byte goes on as it came.
#[tokio::test(start_paused = true)]
async fn a_bridge_is_let_in_as_one() {
    assert_eq!(
        connect(Version::V311, 0x84, "c00000"),
        hex("101200044d5154548402003c0006633030303030")
    );
    for (version, level) in LEVELS {
        let f = Frames(version);
        for (level, is_bridge) in [(level, true), (level & 0x7f, false)] {
            let seen = Seen::default();
            let notes = seen.clone();
            let pair = Setup::new().start(admit(move |session| {
                notes.push(format!("{} {}", session.version(), session.is_bridge()));
                Hooks::<Forward, Forward>::none()
            }));
            pair.client.send(&connect(version, level, "c00000"));
            pair.broker.expect(&connect(version, level, "c00000")).await;
            assert_eq!(seen.take(), [format!("{version} {is_bridge}")]);
            pair.broker.send(&f.connack());
            pair.client.expect(&f.connack()).await;
            // a client of its version in everything else
            let publish = f.publish("x/1", 1, 1, b"x");
            pair.client.send(&publish);
            pair.broker.expect(&publish).await;
            let summary = pair.end().await;
            assert!(summary.established());
            assert_eq!(summary.version, Some(version));
        }
    }
}

/// A hook that sets a field has the packet written anew, and the bit must not be lost: the broker
/// would take the bridge for a client, and its messages would go round in a loop.
#[tokio::test(start_paused = true)]
async fn a_bridge_stays_one_when_a_hook_changes_its_client_id() {
    for (version, level) in LEVELS {
        let pair = Setup::new().start(service_fn(|mut connect: Connect| async move {
            connect.packet_mut().set_client_id("site-7/bridge")?;
            assert!(connect.info().is_bridge());
            let hooks = Hooks::<Forward, Forward>::none();
            Ok::<_, BoxError>(Admission::admit(connect, hooks))
        }));
        pair.client.send(&connect(version, level, "bridge"));
        pair.broker
            .expect(&connect(version, level, "site-7/bridge"))
            .await;
    }
}

/// The other choice: return code 1, after which mosquitto tries again without the bit.
#[tokio::test(start_paused = true)]
async fn bridges_are_refused_where_they_are_not_wanted() {
    for (version, level) in LEVELS {
        let setup = || Setup::new().limits(|limits| limits.bridges = Bridges::Refuse);
        let pair = setup().start(admit_all());
        pair.client.send(&connect(version, level, "bridge"));
        pair.client.expect(&hex("20 02 00 01")).await;
        assert!(pair.client.is_ended());
        assert_eq!(pair.dials(), 0);
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::UnsupportedVersion);
        assert_eq!(summary.limit, Some("bridges"));
        let glimpse = summary.glimpse.expect("a glimpse of it");
        assert_eq!(glimpse.level, Some(level));
        assert_eq!(glimpse.client_id.as_deref(), Some("bridge"));

        let pair = setup().start(admit_all());
        let second = connect(version, level & 0x7f, "bridge");
        pair.client.send(&second);
        pair.broker.expect(&second).await;
    }
}

/// A bridge is of a version like any client, and a listener without that version does not serve it.
#[tokio::test(start_paused = true)]
async fn a_bridge_of_a_version_that_is_not_served_is_refused() {
    for (version, level) in LEVELS {
        let served = mproxy_session::Versions::NONE.with(Version::V5);
        let pair = Setup::new()
            .limits(|limits| limits.versions = served)
            .start(admit_all());
        pair.client.send(&connect(version, level, "bridge"));
        pair.client.expect(&hex("20 02 00 01")).await;
        assert_eq!(pair.end().await.limit, Some("versions"));
    }
}

/// With `bridges = "refuse"` and `versions = ["5"]`, a bridge of MQTT 3.1.1 was said to need its
/// version served. Whoever added it found the bridge refused for being one.
#[tokio::test(start_paused = true)]
async fn a_bridge_that_is_not_wanted_is_refused_as_one_whatever_its_version() {
    for (version, level) in LEVELS {
        let pair = Setup::new()
            .limits(|limits| {
                limits.bridges = Bridges::Refuse;
                limits.versions = mproxy_session::Versions::NONE.with(Version::V5);
            })
            .start(admit_all());
        pair.client.send(&connect(version, level, "bridge"));
        pair.client.expect(&hex("20 02 00 01")).await;
        let summary = pair.end().await;
        assert_eq!(summary.limit, Some("bridges"));
        let detail = format!(
            "a mosquitto bridge: bit 7 of its protocol level is set; nor is MQTT {version} served \
             here"
        );
        assert_eq!(summary.detail, Some(detail));
    }
}
