//! Certificates by name, and files that cannot be used.

use std::fs;

use mproxy_transport::{TlsServer, TlsServerOptions};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::support::{Ca, Leaf, options, shake};

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
            "the server's own certificate must come first",
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
    assert_eq!(names.subject, "CN=device-7, O=Example");
    assert_eq!(names.dns_names, ["device-7"]);
    assert_eq!(names.uris, ["spiffe://example.org/device/7"]);
    assert!(names.issuer.contains("test CA") && names.serial.contains(':'));
    assert!(names.not_before < names.not_after);
    let garbage = CertificateDer::from(vec![1, 2, 3]);
    mproxy_transport::CertificateNames::of(&garbage).unwrap_err();
}
