//! Names in the certificates of clients.

use mproxy_tests::Mosquitto;
use mproxy_tests::clients::{MosquittoSub, mosquitto_pub};
use mproxy_tests::tools::tool;
use mproxy_tests::wire::Version;
use rcgen::{DistinguishedName, DnType};
use tokio::process::Command;

use crate::tls::{args, listener, pki, shown};

/// A CA may put anything into a certificate: what means something in a filter fills no placeholder, and
/// what would break a line is no user name (mosquitto 2.0.16).
#[tokio::test]
async fn names_in_certificates_are_names_and_nothing_else() {
    let pki = pki();
    for (serial, (file, name)) in (20..).zip([("hash", "#"), ("level", "a/b"), ("line", "a\nb")]) {
        pki.client_named(file, name, serial);
    }
    pki.client_with("two", 23, |params| {
        let names = &mut params.distinguished_name;
        names.push(DnType::CommonName, "alice");
        // the type of a common name, and another one for rcgen
        names.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "device-7");
    });
    let broker = Mosquitto::start().await;
    let more = "client_auth = \"require\"\nusername_from = \"cn\"\n";
    let config = "[layers.acl]\ntype = \"acl\"\n[[layers.acl.rules]]\nname = \"own\"\n\
                  allow = [\"publish\"]\ntopics = [\"by/${cn}/#\", \"of/${username}/#\"]\n";
    let mproxy = listener(&pki, &broker.url(), more)
        .toml(config)
        .set("chains.default.layers", "[\"log\", \"acl\"]")
        .start()
        .await;
    let addr = mproxy.listener("mqtts");
    let publish = async |name: &str, topic: &str| {
        let args_of = ["-i", name, "-q", "1", "-t", topic, "-m", "m"];
        mosquitto_pub(addr, Version::V5, &args(&shown(&pki, name), &args_of)).await
    };
    let observer = MosquittoSub::start(broker.addr(), Version::V5, &["-t", "#"]).await;
    for (name, topic) in [
        ("hash", "by/x/y"),
        ("hash", "of/x/y"),
        ("level", "by/a/b/c"),
    ] {
        publish(name, topic).await;
        let denied = mproxy.event("the denial", |it| {
            it["event"] == "deny" && it["topic"] == topic
        });
        assert_eq!(denied.await["client_id"], name);
    }
    let (code, _) = publish("line", "by/a/b").await;
    assert_ne!(code, 0);
    let line = mproxy.end_of("line").await;
    assert_eq!(line["reason"], "auth_denied");
    assert!(
        line["detail"]
            .as_str()
            .is_some_and(|it| it.contains("control characters")),
        "{line}"
    );
    // two common names fill no placeholder, and are no user name
    let (code, _) = publish("two", "by/alice/x").await;
    assert_ne!(code, 0);
    assert_eq!(mproxy.end_of("two").await["reason"], "auth_denied");
    let (code, output) = publish("alice", "by/alice/x").await;
    assert_eq!(code, 0, "{output}");
    observer.message("by/alice/x 0 0 1 6d").await;
    assert_eq!(observer.messages().len(), 1, "{:?}", observer.messages());
}

/// `O="x, CN=admin"` was written like an organisation and a common name: a CA that gives out certificates with any
/// organisation gave out the user names of others. The form is that of OpenSSL, so that operators can copy it.
#[tokio::test]
async fn a_subject_is_not_that_of_another_certificate() {
    let pki = pki();
    let broker = Mosquitto::start().await;
    let more = "client_auth = \"require\"\nusername_from = \"subject\"\n";
    let mproxy = listener(&pki, &broker.url(), more).start().await;
    let mut subjects = Vec::new();
    for (serial, organisation) in (30..).zip(["x", "x, CN=admin", "x,CN=admin", " #é\"+\\<>;\n "])
    {
        let file = format!("s{serial}");
        let [cert, _] = pki.client_with(&file, serial, |params| {
            params.distinguished_name = DistinguishedName::new();
            let names = &mut params.distinguished_name;
            names.push(DnType::OrganizationName, organisation);
            if organisation == "x" {
                names.push(DnType::CommonName, "admin");
            }
        });
        let publish = ["-i", &file, "-t", "t", "-m", "m"];
        let addr = mproxy.listener("mqtts");
        let (code, output) =
            mosquitto_pub(addr, Version::V5, &args(&shown(&pki, &file), &publish)).await;
        assert_eq!(code, 0, "{output}");
        let line = mproxy.event("connect", |it| it["client_id"] == *file).await;
        let mut openssl = Command::new(tool("openssl"));
        openssl.args(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"]);
        let output = openssl.arg(&cert).output().await.expect("openssl runs");
        let told = String::from_utf8(output.stdout).expect("ASCII");
        let told = told
            .trim_end_matches('\n')
            .strip_prefix("subject=")
            .expect("a subject");
        assert_eq!(line["username"], told);
        assert!(!subjects.contains(&told.to_owned()), "{subjects:?}");
        subjects.push(told.to_owned());
    }
    assert_eq!(subjects[..2], ["CN=admin,O=x", r"O=x\, CN=admin"]);
}
