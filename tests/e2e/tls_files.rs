//! Files of TLS that cannot be used: every one of them is told, at the key that names it, by `check`, at the
//! start and by a reload.

use std::fs;

use mproxy_tests::pki::Pki;
use mproxy_tests::{Process, Setup, server_binary};
use serde_json::Value;
use tokio::process::Command;

/// A file of the folder with each kind of mistake: a CA, its server, another server's key, garbage, and lists.
fn pki() -> Pki {
    let pki = Pki::new();
    pki.server("server", 1);
    pki.server("other", 2);
    pki.revoke(&[]);
    let old = pki.list(&[], [2020, 2021]).pem().expect("a list");
    let write = |name: &str, text: &str| {
        fs::write(pki.dir().join(name), text).expect("the folder is ours");
    };
    write("old.crl", &old);
    write("garbage", "nothing");
    pki
}

/// Two listeners and a broker. What is wrong is marked with the key that is to be named, and why.
const WRONG: &str = r#"
[[listeners]]
name = "mqtts"
bind = "127.0.0.1:0"
[listeners.tls]
cert = "DIR/missing.crt" #! listeners.mqtts.tls.cert: No such file
key = "DIR/garbage" #! listeners.mqtts.tls.key: no private key in it
client_auth = "require"
client_ca = [
  "DIR/ca.crt",
  "DIR/garbage", #! listeners.mqtts.tls.client_ca: no certificate in it
  "DIR/missing.ca", #! listeners.mqtts.tls.client_ca: No such file
]
ciphers = ["ROT13"] #! listeners.mqtts.tls.ciphers: no cipher suite `ROT13`
ticket_key_file = "DIR/garbage" #! listeners.mqtts.tls.ticket_key_file: not base64
[listeners.tls.revocation]
crl_files = [
  "DIR/ca.crl",
  "DIR/garbage", #! listeners.mqtts.tls.revocation.crl_files: no revocation list in it
]

[[listeners]]
name = "wss"
bind = "127.0.0.1:0"
protocol = "ws"
[listeners.tls]
cert = "DIR/server.crt"
key = "DIR/other.key" #! listeners.wss.tls.key: not the key of the certificate
[[listeners.tls.certificates]]
cert = "DIR/garbage" #! listeners.wss.tls.certificates.cert: no certificate in it
key = "DIR/missing.key" #! listeners.wss.tls.certificates.key: No such file

[upstreams.broker]
address = "mqtts://127.0.0.1:1"
[upstreams.broker.tls]
ca = ["DIR/missing.ca"] #! upstreams.broker.tls.ca: No such file
cert = "DIR/server.crt"
key = "DIR/other.key" #! upstreams.broker.tls.key: not the key of the certificate
alpn = ["LONG"] #! upstreams.broker.tls.alpn: has 300 bytes

[admin]
bind = "127.0.0.1:0"
token_file = "DIR/missing.token" #! admin.token_file: No such file
"#;

/// Where and what is wrong: the line of each mark, and what is marked.
fn marked(config: &str) -> Vec<(u64, String, String)> {
    let marks = (1..).zip(config.lines()).filter_map(|(line, text)| {
        let (_, mark) = text.split_once("#! ")?;
        let (key, why) = mark.split_once(": ")?;
        Some((line, key.to_owned(), why.to_owned()))
    });
    marks.collect()
}

/// Whether a problem says what is marked in this line.
fn is_told(message: &str, key: &str, why: &str) -> bool {
    message.contains(&format!("`{key}`")) && message.contains(why)
}

fn command(config: &str, dir: &Pki, args: &[&str]) -> Command {
    let file = dir.file("mproxy.toml");
    fs::write(&file, config).expect("the folder is ours");
    let mut command = Command::new(server_binary());
    command.args(args).args(["--config", &file]).env_clear();
    command
}

/// An operator with three wrong files learned of the first one only, without the line of the configuration
/// that names it, and of the next one at the next try.
#[tokio::test]
async fn every_file_that_cannot_be_used_is_told_at_the_key_that_names_it() {
    let pki = pki();
    let config = WRONG.replace("DIR", &pki.dir().display().to_string());
    let config = config.replace("LONG", &"p".repeat(300));
    let marks = marked(&config);
    assert!(marks.len() > 10);

    let (code, report) = Process::run(command(&config, &pki, &["check", "--format", "json"])).await;
    assert_eq!(code, 78, "{report}");
    let json = report.find('{').map_or("", |start| &report[start..]);
    let report: Value = serde_json::from_str(json).expect("JSON");
    let problems = report["diagnostics"].as_array().expect("problems");
    let errors: Vec<_> = problems
        .iter()
        .filter(|it| it["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), marks.len(), "{errors:#?}");
    for (line, key, why) in &marks {
        let told = errors
            .iter()
            .find(|it| it["line"] == *line && it["column"].as_u64() > Some(2));
        let message = told.map_or("", |it| it["message"].as_str().unwrap_or_default());
        assert!(
            is_told(message, key, why),
            "line {line}, {key}: {errors:#?}"
        );
    }

    // the start has the same in words
    let (code, output) = Process::run(command(&config, &pki, &["--log-format", "json"])).await;
    assert_eq!(code, 78, "{output}");
    let file = pki.file("mproxy.toml");
    for (line, key, why) in &marks {
        assert!(output.contains(&format!("--> {file}:{line}:")), "{output}");
        let mut titles = output.lines().filter(|it| it.starts_with("error: "));
        assert!(titles.any(|it| is_told(it, key, why)), "{key}: {output}");
    }
    // and in the log, which leaves out none of them
    let lines = output.lines().filter(|it| it.starts_with('{'));
    let lines: Vec<Value> = lines
        .filter_map(|it| serde_json::from_str(it).ok())
        .collect();
    let places = lines.iter().filter(|it| it["place"].is_string());
    assert_eq!(places.count(), marks.len(), "{lines:#?}");
    let last = format!("{} errors: configuration refused", marks.len());
    assert!(output.contains(&last), "{output}");
    assert!(!output.contains("\"event\":\"listen\""), "{output}");
}

/// A reload points to the keys as well. If only a certificate has changed, the configuration is not read again,
/// and the key was named without its line.
#[tokio::test]
async fn a_reload_names_every_key_whose_file_cannot_be_used() {
    let pki = pki();
    let listener = |name: &str| {
        let [cert, key] = ["server.crt", "server.key"].map(|it| pki.file(it));
        format!(
            "[[listeners]]\nname = \"{name}\"\nbind = \"127.0.0.1:0\"\n[listeners.tls]\n\
             cert = \"{cert}\"\nkey = \"{key}\"\n"
        )
    };
    let config = format!(
        "{}{}[admin]\nbind = \"127.0.0.1:0\"\n",
        listener("one"),
        listener("two")
    );
    let mproxy = Setup::new(&config).start().await;
    mproxy.edit("server.crt", "missing.crt");
    let (code, _, told) = mproxy.command(&["reload"]).await;
    assert_eq!(code, 78, "{told}");
    for (listener, line) in [("one", 5), ("two", 11)] {
        let key = format!("`listeners.{listener}.tls.cert` cannot be used");
        assert!(told.contains(&key), "{told}");
        let event = mproxy.event("the problem", |it| {
            it["message"].as_str().is_some_and(|it| it.contains(&key))
        });
        let place = event.await["place"].to_string();
        assert!(place.contains(&format!("mproxy.toml:{line}:8")), "{place}");
    }
    fs::write(pki.file("server.crt"), "nothing").expect("the folder is ours");
    for (listener, line) in [("one", 5), ("two", 11)] {
        let key = format!("`listeners.{listener}.tls.cert` ");
        let event = mproxy.event("the problem of a changed certificate", |it| {
            let message = it["message"].as_str().unwrap_or_default();
            message.contains(&key) && message.contains("no certificate in it")
        });
        let place = event.await["place"].to_string();
        assert!(place.contains(&format!("mproxy.toml:{line}:8")), "{place}");
    }
}

/// `check` said nothing about what has expired, and the log named the listener and no file.
#[tokio::test]
async fn what_has_expired_is_told_at_its_key() {
    let pki = pki();
    pki.client_with("expired", 5, |it| {
        it.not_after = rcgen::date_time_ymd(2024, 1, 1);
    });
    let config = r#"
[[listeners]]
name = "mqtts"
bind = "127.0.0.1:0"
[listeners.tls]
cert = "DIR/expired.crt" #! listeners.mqtts.tls.cert: CN=expired
key = "DIR/expired.key"
client_auth = "require"
client_ca = ["DIR/ca.crt"]
[listeners.tls.revocation]
crl_files = [
  "DIR/ca.crl",
  "DIR/old.crl", #! listeners.mqtts.tls.revocation.crl_files: old.crl` has expired
]

[upstreams.broker]
address = "mqtts://127.0.0.1:1"
[upstreams.broker.tls]
ca = ["DIR/ca.crt"]
crl_files = ["DIR/old.crl"] #! upstreams.broker.tls.crl_files: mproxy does not trust the broker
cert = "DIR/expired.crt" #! upstreams.broker.tls.cert: the broker does not trust it
key = "DIR/expired.key"

[admin]
bind = "127.0.0.1:0"
"#;
    let config = config.replace("DIR", &pki.dir().display().to_string());
    let (code, report) = Process::run(command(&config, &pki, &["check", "--format", "json"])).await;
    assert_eq!(code, 0, "{report}");
    let mproxy = Setup::new(&config).start().await;
    let json = report.find('{').map_or("", |start| &report[start..]);
    let report: Value = serde_json::from_str(json).expect("JSON");
    let problems = report["diagnostics"].as_array().expect("problems");
    for (line, key, why) in marked(&config) {
        let told = problems.iter().find(|it| it["line"] == line);
        let message = told.map_or("", |it| it["message"].as_str().unwrap_or_default());
        assert!(
            is_told(message, &key, &why),
            "line {line}, {key}: {problems:#?}"
        );
        let place = format!("mproxy.toml:{line}:");
        let event = mproxy.event(format!("{key} of the start"), |it| {
            let message = it["message"].as_str().unwrap_or_default();
            is_told(message, &key, &why)
                && it["place"].as_str().is_some_and(|it| it.contains(&place))
        });
        assert!(event.await["remedy"].is_string());
    }
}

/// There are lists, so the operator thinks that each client can be revoked. A CA was added without its list:
/// with "allow", no list revokes its clients, and with "deny", they are kept out; nothing said so.
#[tokio::test]
async fn a_ca_without_a_revocation_list_is_told_at_its_key() {
    let (pki, new, twin) = (pki(), Pki::named("new CA"), Pki::new());
    let config = r#"
[[listeners]]
name = "mqtts"
bind = "127.0.0.1:0"
[listeners.tls]
cert = "DIR/server.crt"
key = "DIR/server.key"
client_auth = "require"
client_ca = [
  "DIR/ca.crt",
  "NEW/ca.crt", #! listeners.mqtts.tls.client_ca: no revocation list of `CN=new CA`: EFFECT
]
[listeners.tls.revocation]
crl_files = ["DIR/ca.crl"]
on_unavailable = "allow"

[[listeners]]
name = "twins"
bind = "127.0.0.1:0"
[listeners.tls]
cert = "DIR/server.crt"
key = "DIR/server.key"
client_auth = "require"
client_ca = [
  "DIR/ca.crt",
  "TWIN/ca.crt", #! listeners.twins.tls.client_ca: another CA with the name `CN=test CA` has signed
]
[listeners.tls.revocation]
crl_files = ["DIR/ca.crl"]
on_unavailable = "allow"

[[listeners]]
name = "unchecked"
bind = "127.0.0.1:0"
[listeners.tls]
cert = "DIR/server.crt"
key = "DIR/server.key"
client_auth = "require"
client_ca = ["NEW/ca.crt"]

[upstreams.broker]
address = "mqtts://127.0.0.1:1"
[upstreams.broker.tls]
ca = ["NEW/ca.crt", "DIR/ca.crt"] #! upstreams.broker.tls.ca: mproxy trusts no broker
crl_files = ["DIR/ca.crl"]

[admin]
bind = "127.0.0.1:0"
"#;
    let folder = |pki: &Pki| pki.dir().display().to_string();
    let config = config
        .replace("DIR", &folder(&pki))
        .replace("NEW", &folder(&new))
        .replace("TWIN", &folder(&twin));
    for (allow, effect) in [
        (
            "\"allow\"",
            "certificates that it has issued cannot be revoked",
        ),
        (
            "\"deny\"",
            "clients whose certificates it has issued are kept out",
        ),
    ] {
        let config = config.replace("EFFECT", effect);
        // of the first listener
        let config = config.replacen("\"allow\"", allow, 1);
        let marks = marked(&config);
        let args = ["check", "--no-environment", "--format", "json"];
        let (code, report) = Process::run(command(&config, &pki, &args)).await;
        assert_eq!(code, 0, "{report}");
        assert!(
            !report.contains("revocation list of"),
            "no file was read: {report}"
        );
        let (_, report) =
            Process::run(command(&config, &pki, &["check", "--format", "json"])).await;
        let json = report.find('{').map_or("", |start| &report[start..]);
        let report: Value = serde_json::from_str(json).expect("JSON");
        let problems = report["diagnostics"].as_array().expect("problems");
        let told = problems.iter().filter(|it| it["line"].is_u64());
        assert_eq!(told.count(), marks.len(), "{problems:#?}");
        let mproxy = Setup::new(&config).start().await;
        for (line, key, why) in &marks {
            let told = problems.iter().find(|it| it["line"] == *line);
            let message = told.map_or("", |it| it["message"].as_str().unwrap_or_default());
            assert!(is_told(message, key, why), "line {line}: {problems:#?}");
            let place = format!("mproxy.toml:{line}:");
            let event = mproxy.event(format!("{key} of the start"), |it| {
                let message = it["message"].as_str().unwrap_or_default();
                is_told(message, key, why)
                    && it["place"].as_str().is_some_and(|it| it.contains(&place))
            });
            assert!(event.await["remedy"].is_string());
        }
    }
}
