//! Keys from the environment, from flags, from several files.

use crate::support::{mproxy, run, shipped, shown};
use std::fs;
use tempfile::TempDir;

/// A folder with files.
fn folder<const N: usize>(files: [(&str, &str); N]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_the_environment() {
    let folder = folder([("a.toml", "[server]\nname = 'file'\nworker_threads = 1\n")]);
    let path = folder.path().join("a.toml");
    let mut command = mproxy(["config", "show", "--set", "server.name=flag"]);
    command.env("MPROXY_CONFIG", path);
    command.env("MPROXY_SERVER__NAME", "environment");
    command.env("MPROXY_SERVER__WORKER_THREADS", "3");
    command.env("MPROXY_SERVER__RAISE_FD_LIMIT", "false");
    let table = shown(&mut command);
    assert_eq!(table["server"]["name"].as_str(), Some("flag"));
    assert_eq!(table["server"]["worker_threads"].as_integer(), Some(3));
    assert_eq!(table["server"]["raise_fd_limit"].as_bool(), Some(false));
}

#[test]
fn listeners_are_addressed_by_name_and_by_index() {
    let file = shipped().join("websocket.toml");
    let mut command = mproxy(["config", "show", "--set", "listeners.ws.bind=[::1]:1"]);
    command.args(["--set", "listeners.0.limits.max_replies=\"2MiB\""]);
    command.args(["--set", "listeners.mqtt.versions=[\"5\"]"]);
    command.env("MPROXY_CONFIG", file);
    command.env("MPROXY_LISTENERS__MQTT__BIND", "127.0.0.1:2");
    command.env("MPROXY_LISTENERS__1__VERSIONS", "3.1.1,5");
    let table = shown(&mut command);
    let [mqtt, ws] = [&table["listeners"][0], &table["listeners"][1]];
    assert_eq!(mqtt["bind"].as_str(), Some("127.0.0.1:2"));
    assert_eq!(mqtt["limits"]["max_replies"].as_str(), Some("2MiB"));
    assert_eq!(mqtt["versions"].as_array().unwrap().len(), 1);
    assert_eq!(ws["bind"].as_str(), Some("[::1]:1"));
    assert_eq!(ws["versions"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_there_by_default_can_be_overridden_and_extended() {
    let mut command = mproxy(["config", "show", "--set", "layers.my-acl.type=acl"]);
    command.args(["--set", "chains.default.layers=my-acl"]);
    command.args([
        "--set",
        "layers.my-acl.rules=[{ deny = ['publish'], topics = ['#'] }]",
    ]);
    command.env("MPROXY_LISTENERS__MQTT__BIND", "127.0.0.1:2");
    command.env("MPROXY_UPSTREAMS__BROKER__ADDRESS", "unix:/run/broker.sock");
    command.env("MPROXY_ADMIN__BIND", "");
    let table = shown(&mut command);
    assert_eq!(table["listeners"][0]["bind"].as_str(), Some("127.0.0.1:2"));
    assert_eq!(
        table["upstreams"]["broker"]["address"].as_str(),
        Some("unix:/run/broker.sock")
    );
    assert_eq!(
        table["layers"]["my-acl"]["rules"][0]["name"].as_str(),
        Some("rule 1")
    );
    assert_eq!(table["admin"]["bind"].as_str(), Some(""));
}

#[test]
fn names_from_the_environment_know_no_dash_and_no_lower_case() {
    let folder = folder([(
        "a.toml",
        "[layers.my-Acl]\ntype = 'acl'\n[chains.default]\nlayers = ['my-Acl']\n",
    )]);
    let mut command = mproxy(["config", "show"]);
    command.env("MPROXY_CONFIG", folder.path().join("a.toml"));
    command.env("MPROXY_LAYERS__MY_ACL__DEFAULT", "allow");
    let table = shown(&mut command);
    assert_eq!(table["layers"].as_table().unwrap().len(), 1);
    assert_eq!(table["layers"]["my-Acl"]["default"].as_str(), Some("allow"));
}

#[test]
fn a_wrong_override_is_shown_under_its_own_name() {
    let mut command = mproxy(["check", "--no-environment", "--set", "log.level=infoo"]);
    command.args(["--set", "server", "--set", "listeners.mqtt.versions=["]);
    command.env("MPROXY_ADMIN__BIND", ":9883");
    command.env("MPROXY_LISTENERS__MQTTS__BIND", "127.0.0.1:1");
    command.env("MPROXY_SERVER__DRAIN_TIMOUT", "1s");
    command.env("MPROXY_SERVER__WORKER_THREADS", "many");
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 78);
    for text in [
        "environment variable MPROXY_ADMIN__BIND:1:20",
        "MPROXY_ADMIN__BIND=:9883\n  |                    ^^^^^ did you mean `0.0.0.0:9883`?",
        "no element `MQTTS`",
        "expected `mqtt` or an index from 0",
        "environment variable MPROXY_SERVER__DRAIN_TIMOUT:1:1",
        "did you mean `drain_timeout`?",
        "invalid value `many`",
        "--set:1:11",
        "log.level=infoo\n  |           ^^^^^ did you mean `info`?",
        "not an assignment",
        "not a valid value",
        "7 errors: configuration refused",
    ] {
        assert!(stderr.contains(text), "{text:?} is not in\n{stderr}");
    }
}

#[test]
fn variables_of_kubernetes_are_left_alone_and_misspelt_ones_are_noticed() {
    let mut command = mproxy(["check", "--no-environment"]);
    command.env("MPROXY_PORT", "tcp://10.0.0.1:1884");
    command.env("MPROXY_SERVICE_HOST", "10.0.0.1");
    command.env("MPROXY_PORT_1884_TCP_ADDR", "10.0.0.1");
    let (code, _, stderr) = run(&mut command);
    assert_eq!((code, stderr.as_str()), (0, ""));
    command.env("MPROXY_CONFG", "/nowhere");
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 0);
    assert_eq!(
        stderr,
        "warning: environment variable MPROXY_CONFG is unknown\n  = did you mean MPROXY_CONFIG?\n"
    );
}

#[test]
fn listen_and_upstream_are_for_running_without_a_file() {
    let flags = ["--listen", "127.0.0.1:7", "--upstream", "mqtt://broker"];
    let table = shown(mproxy(["config", "show"]).args(flags));
    assert_eq!(table["listeners"][0]["bind"].as_str(), Some("127.0.0.1:7"));
    assert_eq!(
        table["upstreams"]["broker"]["address"].as_str(),
        Some("mqtt://broker:1883")
    );
    let (code, _, stderr) = run(mproxy(["--config", "x.toml"]).args(flags));
    assert_eq!(code, 2);
    assert!(
        stderr.contains("use --set listeners.NAME.bind=..."),
        "{stderr}"
    );
    let (code, _, stderr) =
        run(mproxy(["check", "--listen", ":7", "--upstream", "broker"]).env("MPROXY_CONFIG", ""));
    assert_eq!(code, 78);
    assert!(stderr.contains(" --> --listen:1:1\n"), "{stderr}");
    assert!(stderr.contains("did you mean `mqtt://broker`?"), "{stderr}");
}

#[test]
fn the_files_of_a_directory_are_merged_in_the_order_of_their_names() {
    let folder = folder([
        (
            "10-base.toml",
            "[server]\nname = 'base'\n[[listeners]]\nname = 'a'\nbind = '127.0.0.1:1'\n",
        ),
        (
            "20-site.toml",
            "[server]\nname = 'site'\n[[listeners]]\nname = 'a'\n[listeners.limits]\nmax_connections = 5\n\
             [[listeners]]\nname = 'b'\nbind = '127.0.0.1:2'\n",
        ),
        (".hidden.toml", "nonsense"),
        ("README", "nonsense"),
    ]);
    let path = folder.path().to_str().unwrap();
    let table = shown(&mut mproxy(["config", "show", "--config", path]));
    assert_eq!(table["server"]["name"].as_str(), Some("site"));
    let listeners = table["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 2);
    assert_eq!(listeners[0]["bind"].as_str(), Some("127.0.0.1:1"));
    assert_eq!(
        listeners[0]["limits"]["max_connections"].as_integer(),
        Some(5)
    );

    fs::write(
        folder.path().join("30-wrong.toml"),
        "\n[server]\nnmae = 'x'\n",
    )
    .unwrap();
    let (code, _, stderr) = run(&mut mproxy(["check", "--config", path]));
    assert_eq!(code, 78);
    assert!(stderr.contains("30-wrong.toml:3:1"), "{stderr}");

    let empty = TempDir::new().unwrap();
    let path = empty.path().to_str().unwrap();
    let (code, _, stderr) = run(&mut mproxy(["check", "--config", path]));
    assert_eq!(code, 78);
    assert!(stderr.starts_with("error: no *.toml in "), "{stderr}");
}

#[test]
fn a_rule_remembers_where_it_was_written() {
    let folder = folder([
        (
            "1.toml",
            "[layers.acl]\ntype = 'acl'\n[chains.default]\nlayers = ['acl']\n",
        ),
        (
            "2.toml",
            "# rules\n\n[[layers.acl.rules]]\nallow = ['publish']\ntopics = ['#']\n",
        ),
    ]);
    let path = folder.path().to_str().unwrap();
    let (code, stdout, stderr) = run(&mut mproxy(["config", "show", "--config", path]));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("\n# 2.toml:3\n[[layers.acl.rules]]\n"),
        "{stdout}"
    );
}

#[test]
fn placeholders_are_filled_in_and_secrets_are_hidden() {
    let folder = folder([("secret", "mqtt://hidden:1883\n")]);
    let secret = folder.path().join("secret");
    let text = format!(
        "[server]\nname = '${{env:NAME}}-${{env:NONE:-x}}'\nworker_threads = '${{env:THREADS}}'\n\
         [upstreams.broker]\naddress = '${{file:{}}}'\n\
         [layers.map]\ntype = 'topic-map'\nprefix = '${{env:NAME}}/${{username}}/'\n\
         [chains.default]\nlayers = ['map']\n",
        secret.display()
    );
    let file = folder.path().join("a.toml");
    fs::write(&file, text).unwrap();
    let mut command = mproxy(["config", "show", "--config", file.to_str().unwrap()]);
    // A value is a value: it cannot add keys.
    command.env("NAME", "a\"b").env("THREADS", "2");
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("hidden"), "{stdout}");
    let table: toml::Table = stdout.parse().unwrap();
    assert_eq!(table["server"]["name"].as_str(), Some("a\"b-x"));
    assert_eq!(table["server"]["worker_threads"].as_integer(), Some(2));
    assert_eq!(
        table["upstreams"]["broker"]["address"].as_str(),
        Some("***")
    );
    assert_eq!(
        table["layers"]["map"]["prefix"].as_str(),
        Some("a\"b/${username}/")
    );
}

#[test]
fn a_secret_that_is_wrong_is_not_quoted() {
    let folder = folder([("secret", "hunter2"), ("a.toml", "")]);
    let secret = folder.path().join("secret");
    let address = format!("upstreams.broker.address=${{file:{}}}", secret.display());
    let (code, stdout, stderr) = run(&mut mproxy(["check", "--set", &address]));
    assert_eq!(code, 78);
    assert!(
        stderr.contains("error: the inserted text is not valid"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("hunter2") && !stdout.contains("hunter2"),
        "{stderr}"
    );
    fs::write(&secret, "unix:/nonexistent/hunter2").unwrap();
    let (code, stdout, stderr) = run(&mut mproxy(["check", "--set", &address]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(" -> *** "), "{stdout}");
    assert!(
        !stderr.contains("hunter2") && !stdout.contains("hunter2"),
        "{stderr}"
    );
}

#[test]
fn without_the_environment_what_would_be_inserted_may_be_missing() {
    let text = "[[listeners]]\nbind = '${env:NOWHERE}'\n[upstreams.broker]\naddress = '${file:/nonexistent/x}'\n";
    let folder = folder([("a.toml", text)]);
    let file = folder.path().join("a.toml");
    let path = file.to_str().unwrap();
    let (code, _, stderr) = run(&mut mproxy(["check", "--no-environment", "--config", path]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (code, _, stderr) = run(&mut mproxy(["check", "--config", path]));
    assert_eq!(code, 78);
    assert!(
        stderr.contains("environment variable `NOWHERE` is not set"),
        "{stderr}"
    );
    assert!(stderr.contains("cannot read `/nonexistent/x`"), "{stderr}");
}

/// An empty list of names must match nobody; from an empty variable it matched everybody.
#[test]
fn an_empty_variable_does_not_open_a_rule() {
    let text = "[layers.acl]\ntype = 'acl'\n[[layers.acl.rules]]\nname = 'operators'\n\
        allow = ['publish']\ntopics = ['#']\nusernames = '${env:OPERATORS}'\n";
    let folder = folder([("a.toml", text)]);
    let check = |operators| {
        let mut command = mproxy(["check"]);
        command.env("MPROXY_CONFIG", folder.path().join("a.toml"));
        run(command.env("OPERATORS", operators))
    };
    for nobody in ["", " ", ","] {
        let (code, _, stderr) = check(nobody);
        assert_eq!(code, 78, "{stderr}");
        assert!(
            stderr.contains("rule `operators` matches no client"),
            "{stderr}"
        );
    }
    let (code, _, stderr) = check("alice, bob");
    assert_eq!(code, 0, "{stderr}");
}
