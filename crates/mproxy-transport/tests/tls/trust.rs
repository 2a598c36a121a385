//! Clients with certificates.

use std::fs;

use mproxy_transport::{ClientAuth, TlsServer, TlsSetting, TlsViolation};
use rcgen::date_time_ymd;
use tokio::io::AsyncReadExt;

use crate::support::{Ca, Leaf, mutual, options, shake};

#[tokio::test]
async fn whether_a_client_needs_a_certificate() {
    let ca = Ca::new();
    let stranger = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let device = ca.issue(&["device-7"]);
    let expired = ca.issue_with(&["device-8"], |it| it.not_after = date_time_ymd(2024, 1, 1));
    let foreign = stranger.issue(&["device-7"]);
    for (auth, with, without) in [
        (ClientAuth::Off, true, true),
        (ClientAuth::Optional, true, true),
        (ClientAuth::Require, true, false),
    ] {
        let mut options = mutual(&ca, &leaf);
        options.client_auth = auth;
        if auth == ClientAuth::Off {
            options.client_ca.clear();
        }
        let server = TlsServer::load(&options).unwrap();
        let (accepted, _) = shake(&server, ca.client(Some(&device)), "broker.test").await;
        assert_eq!(accepted.is_ok(), with, "{auth:?}");
        let shown = accepted.unwrap().1.certificates;
        let expected = if auth == ClientAuth::Off { 0 } else { 1 };
        assert_eq!(shown.len(), expected, "{auth:?}");
        let (accepted, _) = shake(&server, ca.client(None), "broker.test").await;
        assert_eq!(accepted.is_ok(), without, "{auth:?}");
        for wrong in [&expired, &foreign] {
            let (accepted, connected) = shake(&server, ca.client(Some(wrong)), "broker.test").await;
            assert_eq!(accepted.is_ok(), auth == ClientAuth::Off, "{auth:?}");
            if let Err(error) = accepted {
                assert!(
                    error.to_string().contains("invalid peer certificate"),
                    "{error}"
                );
                // in TLS 1.3, a client learns of it behind its handshake
                let error = connected.unwrap().read(&mut [0; 1]).await.unwrap_err();
                assert!(error.to_string().contains("fatal alert"), "{error}");
            }
        }
    }
}

fn judged(server: &TlsServer, device: &Leaf) -> Result<(), TlsViolation> {
    server.judge(std::slice::from_ref(&device.cert))
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let [good, bad] = [ca.issue(&["good"]), ca.issue(&["bad"])];
    let list = ca.revoke(&[&bad], true);
    fs::create_dir(ca.path("lists")).unwrap();
    fs::write(ca.path("lists/one.pem"), &list).unwrap();
    fs::write(ca.path("lists/.hidden"), "not a list").unwrap();
    let mut options = mutual(&ca, &leaf);
    options.revocation_lists.push(ca.path("lists"));
    let server = TlsServer::load(&options).unwrap();
    for (device, is_in) in [(&good, true), (&bad, false)] {
        let (accepted, _) = shake(&server, ca.client(Some(device)), "broker.test").await;
        assert_eq!(accepted.is_ok(), is_in);
        // and who is in already is found by judging again
        assert_eq!(judged(&server, device).is_ok(), is_in);
    }
    let error = judged(&server, &bad).unwrap_err().to_string();
    assert!(error.contains("Revoked"), "{error}");

    // a list that is out of date says nothing: nobody comes in, unless that is allowed
    fs::write(ca.path("lists/one.pem"), ca.revoke(&[&bad], false)).unwrap();
    let server = TlsServer::load(&options).unwrap();
    let error = judged(&server, &good).unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    options.allows_unknown_revocation = true;
    let server = TlsServer::load(&options).unwrap();
    judged(&server, &good).unwrap();
    judged(&server, &bad).unwrap_err();

    fs::write(ca.path("lists/one.pem"), "no list").unwrap();
    let error = TlsServer::load(&options).unwrap_err().to_string();
    assert!(error.contains("CRL") || error.contains("list"), "{error}");
}

/// What is said about a CA without a list, and what happens to its clients.
#[test]
fn a_ca_without_a_list_is_named() {
    let (ca, other, twin) = (Ca::new(), Ca::named("other CA"), Ca::new());
    let devices = [&ca, &other, &twin].map(|it| it.issue(&["device"]));
    let mut options = mutual(&ca, &ca.issue(&["broker.test"]));
    options.client_ca = vec![ca.path("ca.crt"), other.path("ca.crt"), ca.path("ca.crt")];
    let named = |options: &_| {
        let server = TlsServer::load(options).unwrap();
        let unlisted = server.unlisted_cas().iter();
        let names: Vec<_> = unlisted
            .map(|it| (it.setting, it.has_list_of_other_key))
            .collect();
        (
            names,
            devices.each_ref().map(|it| judged(&server, it).is_ok()),
        )
    };
    // without any list, nothing is checked
    assert_eq!(named(&options), (Vec::new(), [true, true, false]));
    fs::write(ca.path("list"), ca.revoke(&[], true)).unwrap();
    options.revocation_lists = vec![ca.path("list")];
    let other_is_missing = vec![(TlsSetting::Ca(1), false)];
    assert_eq!(
        named(&options),
        (other_is_missing.clone(), [true, false, false])
    );
    options.allows_unknown_revocation = true;
    assert_eq!(named(&options), (other_is_missing, [true, true, false]));
    // one that is still to come may be that of the other CA
    options.kept_lists = vec![None];
    assert_eq!(named(&options).0, []);
    options.kept_lists.clear();
    // no list of its own, and that of its name does not let its clients in
    options.client_ca = vec![ca.path("ca.crt"), twin.path("ca.crt")];
    let twin_has_another = vec![(TlsSetting::Ca(1), true)];
    assert_eq!(named(&options), (twin_has_another, [true, false, false]));
    fs::write(ca.path("list"), other.revoke(&[], true)).unwrap();
    options.client_ca = vec![other.path("ca.crt")];
    assert_eq!(named(&options), (Vec::new(), [false, true, false]));
}

#[test]
fn mutual_tls_without_a_ca_is_refused() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut options = options(&leaf);
    options.client_auth = ClientAuth::Require;
    let error = TlsServer::load(&options).unwrap_err().to_string();
    assert!(error.contains("no root trust anchors"), "{error}");
}

/// Who sets `client_ca` and leaves `client_auth` at its default got a listener that let in everybody, even if the
/// file did not exist.
#[test]
fn cas_and_lists_without_client_auth_are_refused() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut options = options(&leaf);
    options.client_ca.push("/nowhere/ca.crt".into());
    let refused = |options: &_| {
        let errors = TlsServer::load(options).unwrap_err();
        assert!(errors.to_string().contains("without `client_auth`"));
        errors.iter().map(|it| it.setting()).collect::<Vec<_>>()
    };
    assert_eq!(refused(&options), [TlsSetting::Ca(0)]);
    options.client_ca.clear();
    options.kept_lists.push(None);
    assert_eq!(refused(&options), [TlsSetting::RevocationLists(0)]);
    options.kept_lists.clear();
    options.revocation_lists.push(ca.path("ca.crl"));
    options.client_ca.push(ca.path("ca.crt"));
    let both = [TlsSetting::Ca(0), TlsSetting::RevocationLists(0)];
    assert_eq!(refused(&options), both);
}
