//! Certificates by name, and files that cannot be used.

use std::fs;

use mproxy_transport::{
    TlsClient, TlsClientOptions, TlsFileError, TlsIdentity, TlsServer, TlsServerOptions, TlsSetting,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};

use crate::support::{Ca, Leaf, mutual, options, shake};

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_server_that_it_asks_for() {
    let ca = Ca::new();
    let [first, second, wild] = [
        &["a.test"][..],
        &["b.test", "c.test"],
        &["*.Wild.test", "wild.test"],
    ]
    .map(|names| ca.issue(names));
    let mut options = options(&first);
    options.certificates.push(second.identity.clone());
    options.certificates.push(wild.identity.clone());
    let server = TlsServer::load(&options).unwrap();
    assert_eq!(server.certificates()[1].dns_names, ["b.test", "c.test"]);
    let cases: [(&str, &Leaf); 6] = [
        ("a.test", &first),
        ("b.test", &second),
        ("C.TEST", &second),
        ("wild.test", &wild),
        ("x.wild.test", &wild),
        ("a.test", &first),
    ];
    for (name, leaf) in cases {
        let (_, connected) = shake(&server, ca.client(None), name).await;
        let connected = connected.unwrap();
        let shown = connected.get_ref().1.peer_certificates().unwrap();
        assert_eq!(shown, std::slice::from_ref(&leaf.cert), "{name}");
    }
    // the first one for all others, which then do not trust it
    for name in ["y.x.wild.test", "other.test"] {
        let (accepted, connected) = shake(&server, ca.client(None), name).await;
        let error = connected.unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{error}");
        let error = accepted.map(drop).unwrap_err().to_string();
        assert!(error.contains("BadCertificate"), "{error}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ca = Ca::new();
    let [leaf, other] = [ca.issue(&["a.test"]), ca.issue(&["b.test"])];
    let refused = |change: &dyn Fn(&mut TlsServerOptions)| {
        let mut options = options(&leaf);
        change(&mut options);
        TlsServer::load(&options).unwrap_err().to_string()
    };
    let file = |name: &str, text: &str| {
        let path = ca.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let whole = fs::read_to_string(&leaf.identity.cert).unwrap();
    let backwards = file("backwards.crt", &{
        let later = fs::read_to_string(&other.identity.cert).unwrap();
        later + &whole
    });
    let half = file("half.crt", &whole[..whole.len() / 2]);
    let empty = file("empty", "");
    let encrypted = file(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    type Change<'a> = Box<dyn Fn(&mut TlsServerOptions) + 'a>;
    let cases: Vec<(Change<'_>, &str, &str)> = vec![
        (
            Box::new(|it| it.certificates.clear()),
            "",
            "a certificate and its key are needed",
        ),
        (
            Box::new(|it| it.certificates[0].cert = "/nowhere.crt".into()),
            "/nowhere.crt",
            "No such file",
        ),
        (
            Box::new(|it| it.certificates[0].cert = half.clone()),
            "half.crt",
            "cut off",
        ),
        (
            Box::new(|it| it.certificates[0].cert = empty.clone()),
            "empty",
            "no certificate in it",
        ),
        (
            Box::new(|it| it.certificates[0].key = empty.clone()),
            "empty",
            "no private key in it",
        ),
        (
            Box::new(|it| it.certificates[0].key = encrypted.clone()),
            "encrypted.key",
            "openssl pkey",
        ),
        (
            Box::new(|it| it.certificates[0].key = other.identity.key.clone()),
            ".key",
            "not the key of the certificate in",
        ),
        (
            Box::new(|it| it.certificates[0].cert = backwards.clone()),
            "backwards.crt",
            "that of the key must come first",
        ),
        (
            Box::new(|it| it.certificates[0].cert = ca.dir.path().into()),
            "",
            "not a regular file",
        ),
    ];
    for (change, name, what) in cases {
        let error = refused(&*change);
        assert!(error.contains(name) && error.contains(what), "{error}");
        assert!(!error.contains("AAAA"), "no content of a key: {error}");
    }
}

/// Only the first error was told: who had set up three files wrongly found that out in three starts.
#[test]
fn everything_that_is_wrong_is_told_at_once_and_with_its_setting() {
    let ca = Ca::new();
    let [leaf, other] = [ca.issue(&["a.test"]), ca.issue(&["b.test"])];
    let garbage = ca.path("garbage");
    fs::write(&garbage, "nothing").unwrap();
    // with a time, and nothing that webpki wants to see
    let odd = ca.path("odd.crl");
    let list = CertificateRevocationListDer::from_pem_slice(ca.revoke(&[], true).as_bytes());
    let mut list = list.unwrap().to_vec();
    // of the version, 2, it makes another one
    let version = list.windows(3).position(|it| it == [2, 1, 1]).unwrap();
    list[version + 2] = 7;
    fs::write(&odd, list).unwrap();
    let mut options = mutual(&ca, &leaf);
    let mixed = TlsIdentity {
        cert: leaf.identity.cert.clone(),
        key: other.identity.key.clone(),
    };
    options.certificates.push(mixed);
    options.certificates.push(TlsIdentity {
        cert: garbage.clone(),
        key: "/nowhere.key".into(),
    });
    options.client_ca.push(garbage.clone());
    options.revocation_lists = vec![odd, garbage.clone()];
    options.ticket_key_file = Some(garbage.clone());
    options.key_log_file = Some("/nowhere/keys".into());
    options.algorithms.ciphers = vec!["ROT13".to_owned()];
    options.algorithms.groups = vec!["clock".to_owned()];
    let errors = TlsServer::load(&options).unwrap_err();
    let mut settings: Vec<_> = errors.iter().map(TlsFileError::setting).collect();
    settings.sort();
    use TlsSetting::{Cert, Ciphers, Groups, Key, KeyLog, RevocationLists, TicketKeys};
    let lists = [RevocationLists(0), RevocationLists(1)];
    let certificates = [Cert(2), Key(1), Key(2), TlsSetting::Ca(1)];
    let others = [Ciphers, Groups, TicketKeys, KeyLog];
    assert_eq!(settings, [&certificates[..], &lists, &others].concat());

    // a broker's side has the same
    let mut options = TlsClientOptions::default();
    options.ca = vec![garbage.clone(), ca.path("ca.crt")];
    options.revocation_lists = vec![garbage];
    options.identity = Some(TlsIdentity {
        cert: leaf.identity.cert,
        key: other.identity.key,
    });
    options.server_name = Some("not a name".to_owned());
    let errors = TlsClient::load(&options).unwrap_err();
    let mut settings: Vec<_> = errors.iter().map(TlsFileError::setting).collect();
    settings.sort();
    let expected = [
        Key(0),
        TlsSetting::Ca(0),
        RevocationLists(0),
        TlsSetting::ServerName,
    ];
    assert_eq!(settings, expected);
    let told = errors.to_string();
    assert!(told.contains("not the key of the certificate in"), "{told}");
}

/// Editors of Windows write one, and OpenSSL does not mind.
#[test]
fn a_byte_order_mark_before_pem_is_skipped() {
    let ca = Ca::new();
    let leaf = ca.issue(&["a.test"]);
    for file in [&leaf.identity.cert, &leaf.identity.key] {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, format!("\u{feff}{text}")).unwrap();
    }
    TlsServer::load(&options(&leaf)).unwrap();
}

#[test]
fn the_names_in_a_certificate() {
    let ca = Ca::new();
    let leaf = ca.issue(&["device-7", "spiffe://example.org/device/7"]);
    let names = mproxy_transport::CertificateNames::of(&leaf.cert).unwrap();
    assert_eq!(names.common_name.as_deref(), Some("device-7"));
    assert_eq!(names.subject, "O=Example,CN=device-7");
    assert_eq!(names.dns_names, ["device-7"]);
    assert_eq!(names.uris, ["spiffe://example.org/device/7"]);
    assert!(names.issuer.contains("test CA") && names.serial.contains(':'));
    assert!(names.not_before < names.not_after);
    let garbage = CertificateDer::from(vec![1, 2, 3]);
    mproxy_transport::CertificateNames::of(&garbage).unwrap_err();
}

/// An empty name was a panic at each dial of a debug build, and one of 300 bytes made a ClientHello that no server
/// reads.
#[test]
fn names_of_protocols_that_cannot_be_sent_are_refused() {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let mut server = options(&leaf);
    let mut client = TlsClientOptions::default();
    client.ca.push(ca.path("ca.crt"));
    let mut settings = |names: &[String]| {
        server.alpn = names.to_owned();
        client.alpn = names.to_owned();
        let [server, client] = [
            TlsServer::load(&server).err(),
            TlsClient::load(&client).err(),
        ]
        .map(|it| it.iter().flatten().map(TlsFileError::setting).collect());
        assert_eq!(server, client);
        let settings: Vec<TlsSetting> = server;
        settings
    };
    let (empty, longest) = (String::new(), "p".repeat(255));
    let bad = ["mqtt".to_owned(), empty, "p".repeat(300), longest.clone()];
    assert_eq!(settings(&bad), [TlsSetting::Alpn(1), TlsSetting::Alpn(2)]);
    assert_eq!(settings(&vec![longest.clone(); 16]), []);
    assert_eq!(settings(&vec![longest; 17]), [TlsSetting::Alpn(0)]);
}
