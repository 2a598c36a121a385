//! Who is not let in, and what is known of it: other protocols, and CONNECT packets that are wrong,
//! not whole or not wanted.

use std::time::Duration;

use mproxy_codec::{Foreign, Version};
use mproxy_session::{CloseReason, ControlCharacters, Glimpse, Side, Summary, Versions};

use crate::support::frames::{ConnectParts, packet, string};
use crate::support::{Frames, Pair, Setup, admit_all, hex, settle};

/// O2: a TLS client, a load balancer with the PROXY protocol and a health check by HTTP were called
/// clients that break the protocol and should be updated. The summary says what came.
#[tokio::test(start_paused = true)]
async fn other_protocols_of_clients_are_named() {
    let connect = Frames(Version::V311).connect("c");
    let proxied = |header: &[u8]| [header, &connect].concat();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x80\0\x07\x5b";
    for (sent, foreign) in [
        (hex("16 03 01 02 00 01 00 01 fc 03 03"), Foreign::Tls),
        (hex("16 03 03 00 05 01 00 00 01 00"), Foreign::Tls),
        (hex("15 03 03 00 02 02 46"), Foreign::TlsAlert),
        (
            proxied(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 1883\r\n"),
            Foreign::ProxyProtocol,
        ),
        (proxied(b"PROXY UNKNOWN\r\n"), Foreign::ProxyProtocol),
        (proxied(v2), Foreign::ProxyProtocol),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Foreign::HttpRequest),
        (
            b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec(),
            Foreign::HttpRequest,
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            Foreign::HttpRequest,
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Foreign::Ssh),
    ] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(&sent);
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended(), "{foreign}");
        assert_eq!(pair.dials(), 0);
        let summary = pair.end().await;
        assert_eq!(
            (summary.side, summary.reason),
            (Side::Client, CloseReason::ProtocolError)
        );
        assert_eq!(summary.foreign, Some(foreign));
        let detail = format!("{foreign} instead of CONNECT");
        assert_eq!(summary.detail, Some(detail));
        assert_eq!((summary.version, summary.limit), (None, None));
        assert_eq!(summary.to_server.bytes, sent.len() as u64);
        assert!(summary.session.is_none() && summary.connack.is_none());
    }
}

/// What is none of them stays what it is.
#[tokio::test(start_paused = true)]
async fn what_is_nothing_known_is_no_protocol() {
    for sent in [&b"hello"[..], b"\x30\x03\x00\x01a", b"\0\0\0\0"] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(sent);
        pair.client.expect(b"").await;
        let summary = pair.end().await;
        assert_eq!(summary.reason, CloseReason::ProtocolError);
        assert_eq!(summary.foreign, None);
    }
}

/// Another protocol in the middle of a session is a broken packet.
#[tokio::test(start_paused = true)]
async fn other_protocols_are_looked_for_at_the_beginning_only() {
    for up in [true, false] {
        let pair = Setup::new().connected(Version::V311, admit_all()).await;
        let from = if up { &pair.client } else { &pair.broker };
        from.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        settle().await;
        let summary = pair.end().await;
        assert_eq!(summary.foreign, None);
    }
}

/// The parts of a glimpse.
fn parts(glimpse: &Glimpse) -> (Option<u8>, Option<&str>, Option<&str>, Option<&str>) {
    (
        glimpse.level,
        glimpse.client_id.as_deref(),
        glimpse.user_name.as_deref(),
        glimpse.field,
    )
}

async fn refused(pair: Pair) -> (Summary, Glimpse) {
    settle().await;
    assert_eq!(pair.dials(), 0);
    let summary = pair.end().await;
    assert!(summary.session.is_none());
    let glimpse = summary.glimpse.clone().expect("a glimpse");
    (summary, *glimpse)
}

/// O1: of a client that could not be let in the access log said nothing, and the operator had an
/// address to look for among 500 devices. What can be read of the CONNECT is in the summary.
#[tokio::test(start_paused = true)]
async fn a_connect_with_wrong_flags_says_who_it_was() {
    for (sent, level, told) in [
        // reserved flag, password without user name, will QoS 3
        ("10 0f 0004 4d515454 04 03 003c 0003 647631", 4, ""),
        ("10 10 0004 4d515454 04 42 003c 0004 64763131", 4, ""),
        ("10 0f 0004 4d515454 04 1e 003c 0003 647631", 4, ""),
        (
            "10 10 0004 4d515454 05 03 003c 00 0003 647631",
            5,
            "20 03 00 81 00",
        ),
    ] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(&hex(sent));
        pair.client.expect_plain(&hex(told)).await;
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.reason, CloseReason::Malformed, "{sent}");
        let id = if sent.ends_with("64763131") {
            "dv11"
        } else {
            "dv1"
        };
        let wanted = (Some(level), Some(id), None, Some("connect flags"));
        assert_eq!(parts(&glimpse), wanted);
    }
}

/// The input of the report: its length says two bytes more than come.
#[tokio::test(start_paused = true)]
async fn a_connect_that_is_never_whole_says_who_it_was() {
    let whole = Frames(Version::V311).connect_with(&ConnectParts {
        client_id: "device",
        user_name: Some("user"),
        password: Some(b"secret"),
        ..Default::default()
    });
    let device = (Some(4), Some("device"));
    for (sent, who, user) in [
        (
            hex("10 0f 00 04 4d 51 54 54 03 02 00 3c 00 01 70"),
            (Some(3), Some("p")),
            None,
        ),
        (whole[..whole.len() - 1].to_vec(), device, Some("user")),
        (whole[..whole.len() - 8].to_vec(), device, Some("user")),
        (whole[..whole.len() - 9].to_vec(), device, None),
        (whole[..14].to_vec(), (Some(4), None), None),
        (whole[..6].to_vec(), (None, None), None),
        (Vec::new(), (None, None), None),
    ] {
        let pair = Setup::new().start(admit_all());
        pair.client.send(&sent);
        settle().await;
        tokio::time::advance(Duration::from_secs(31)).await;
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended());
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.reason, CloseReason::ConnectTimeout);
        assert_eq!(summary.limit, Some("connect_timeout"));
        // it is not whole, so nothing in it is wrong
        assert_eq!(parts(&glimpse), (who.0, who.1, user, None), "{sent:02x?}");
        assert_eq!(summary.to_server.bytes, sent.len() as u64);
    }
}

/// A listener with `versions = ["5"]` and a client of MQTT 3.1.1.
#[tokio::test(start_paused = true)]
async fn a_connect_of_a_version_that_is_not_served_says_who_it_was() {
    for (served, version, told) in [
        (Version::V5, Version::V311, "20 02 00 01"),
        (Version::V5, Version::V31, "20 02 00 01"),
        (Version::V311, Version::V5, "20 03 00 84 00"),
    ] {
        let pair = Setup::new()
            .limits(|limits| limits.versions = Versions::NONE.with(served))
            .start(admit_all());
        pair.client
            .send(&Frames(version).connect_with(&ConnectParts {
                client_id: "device",
                user_name: Some("user"),
                password: Some(b"secret"),
                ..Default::default()
            }));
        pair.client.expect_plain(&hex(told)).await;
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.reason, CloseReason::UnsupportedVersion);
        assert_eq!(
            (summary.limit, summary.version),
            (Some("versions"), Some(version))
        );
        // nothing is wrong with it but that it is not wanted
        let wanted = (Some(version.level()), Some("device"), Some("user"), None);
        assert_eq!(parts(&glimpse), wanted);
    }
}

/// A client of whom all is known has no glimpse.
#[tokio::test(start_paused = true)]
async fn a_session_has_no_glimpse() {
    let pair = Setup::new().connected(Version::V311, admit_all()).await;
    let summary = pair.end().await;
    assert!(summary.session.is_some() && summary.glimpse.is_none());
}

/// A level 6 CONNECT in the form of MQTT 5.0, in which it is answered, was read in that of 3.1.1: the
/// summary had an empty client identifier, which the client had not sent, and no user name.
#[tokio::test(start_paused = true)]
async fn a_client_of_a_later_mqtt_says_who_it_was() {
    for properties in ["00", "05 11 0000003c"] {
        let pair = Setup::new().start(admit_all());
        let body = format!("0004 4d515454 06 82 003c {properties} 0004 64657636 0002 7536")
            .replace(' ', "");
        let length = body.len() / 2;
        pair.client.send(&hex(&format!("10 {length:02x} {body}")));
        pair.client.expect_plain(&hex("20 03 00 84 00")).await;
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.reason, CloseReason::UnsupportedVersion);
        let detail = "unsupported protocol level [MQTT-3.1.2-2]";
        assert_eq!(summary.detail.as_deref(), Some(detail));
        let wanted = (Some(6), Some("dev6"), Some("u6"), Some("protocol level"));
        assert_eq!(parts(&glimpse), wanted);
    }
}

/// The user name `b\x07` was refused without a word about which field it was; and where names with
/// control characters may pass, no field is wrong with a client that is refused for its version.
#[tokio::test(start_paused = true)]
async fn the_field_with_a_control_character_is_named() {
    for (id, user, field) in [
        ("dv1", "b\x07", "user name"),
        ("dv1\n", "b\x07", "client identifier"),
    ] {
        for (version, told) in [(Version::V311, ""), (Version::V5, "20 03 00 81 00")] {
            let connect = Frames(version).connect_with(&ConnectParts {
                client_id: id,
                user_name: Some(user),
                ..Default::default()
            });
            let pair = Setup::new().start(admit_all());
            pair.client.send(&connect);
            pair.client.expect_plain(&hex(told)).await;
            let (summary, glimpse) = refused(pair).await;
            assert_eq!(summary.limit, Some("control_characters"));
            let wanted = (Some(version.level()), Some(id), Some(user), Some(field));
            assert_eq!(parts(&glimpse), wanted);

            let pair = Setup::new()
                .limits(|limits| {
                    limits.control_characters = ControlCharacters::Pass;
                    limits.versions = Versions::NONE;
                })
                .start(admit_all());
            pair.client.send(&connect);
            pair.client.take().await;
            let (summary, glimpse) = refused(pair).await;
            assert_eq!(summary.limit, Some("versions"));
            assert_eq!(glimpse.field, None);
        }
    }
}

/// What is repaired is not wrong: will retain without a will, which MQTT 3.1 does not forbid, was
/// named as the field of a CONNECT that was refused for another.
#[tokio::test(start_paused = true)]
async fn a_field_that_is_repaired_is_not_named() {
    for (id, limit, field) in [
        ("c\n", "control_characters", Some("client identifier")),
        ("c", "versions", None),
    ] {
        let pair = Setup::new()
            .limits(|limits| limits.versions = Versions::NONE.with(Version::V5))
            .start(admit_all());
        let body = [&string("MQIsdp")[..], &[3, 0x22, 0, 60], &string(id)].concat();
        pair.client.send(&packet(0x10, &body));
        pair.client.take().await;
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.limit, Some(limit));
        assert_eq!(parts(&glimpse), (Some(3), Some(id), None, field));
    }
}

/// A client that calls its protocol `mqtt` had a line that said "unknown protocol name", and not
/// which. It is told nothing, so what the name holds harms nobody; a log line must not break at it,
/// nor be filled with it.
#[tokio::test(start_paused = true)]
async fn an_unknown_protocol_name_is_shown() {
    let long = "x".repeat(200);
    let cut = format!("{}\u{2026}", &long[..32]);
    for (name, shown) in [
        ("mqtt", "mqtt"),
        ("AMQP\n", "AMQP\\n"),
        ("", ""),
        ("\"é\0", "\\\"\\xc3\\xa9\\x00"),
        (&long, &cut),
    ] {
        let pair = Setup::new().start(admit_all());
        let body = [&string(name)[..], &[4, 2, 0, 60], &string("c")].concat();
        pair.client.send(&packet(0x10, &body));
        pair.client.expect(b"").await;
        assert!(pair.client.is_ended());
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.reason, CloseReason::UnsupportedVersion);
        let detail = format!("unknown protocol name \"{shown}\" [MQTT-3.1.2-1]");
        assert_eq!(summary.detail, Some(detail));
        assert_eq!(parts(&glimpse), (None, None, None, Some("protocol name")));
    }
}

/// `MQTT` with level 3 was "unsupported protocol level" beside `protocol_level=0x03`, which is that
/// of MQTT 3.1 and supported. What is wrong is the name that came with it.
#[tokio::test(start_paused = true)]
async fn a_level_with_the_name_of_another_version_is_called_that() {
    for (name, level, statement) in [
        ("MQTT", 3, "MQTT-3.1.2-2"),
        ("MQTT", 0x83, "MQTT-3.1.2-2"),
        ("MQIsdp", 4, "3.1"),
        ("MQIsdp", 0x84, "3.1"),
        ("MQIsdp", 5, "3.1"),
    ] {
        let pair = Setup::new().start(admit_all());
        let body = [&string(name)[..], &[level, 2, 0, 60], &string("c")].concat();
        pair.client.send(&packet(0x10, &body));
        pair.client.expect_plain(&hex("20 02 00 01")).await;
        let (summary, glimpse) = refused(pair).await;
        assert_eq!(summary.reason, CloseReason::UnsupportedVersion);
        let detail = format!(
            "protocol name \"{name}\" and level {level:#04x} do not go together [{statement}]"
        );
        assert_eq!(summary.detail, Some(detail));
        let wanted = (Some(level), Some("c"), None, Some("protocol level"));
        assert_eq!(parts(&glimpse), wanted);
    }
}
