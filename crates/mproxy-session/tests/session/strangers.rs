//! Who is not let in, and what is known of it: other protocols, and CONNECT packets that are wrong,
//! not whole or not wanted.

use std::time::Duration;

use mproxy_codec::{Foreign, Version};
use mproxy_session::{CloseReason, Glimpse, Side, Summary, Versions};

use crate::support::frames::ConnectParts;
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
