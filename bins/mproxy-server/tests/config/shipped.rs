//! The files in `config/`.

use crate::support::{mproxy, run, shipped, shown, toml_files};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use toml::Value;

#[test]
fn every_file_is_accepted_without_a_warning() {
    for file in toml_files(&shipped()) {
        let path = file.to_str().unwrap();
        let mut command = mproxy(["check", "--no-environment", "--deny-warnings", "-c", path]);
        let (code, stdout, stderr) = run(&mut command);
        assert_eq!((code, stderr.as_str()), (0, ""), "{path}");
        assert!(stdout.starts_with("configuration ok: "), "{stdout}");
    }
}

/// Of 130 browsers, 30 were refused: behind the TLS terminator that they need, all of them have its
/// address, and a limit for each address was one for all.
#[test]
fn the_example_for_browsers_lets_them_in_through_a_tls_terminator() {
    let text = fs::read_to_string(shipped().join("websocket.toml")).unwrap();
    let table = show_text(&text);
    for listener in table["listeners"].as_array().unwrap() {
        let limits = &listener["limits"];
        assert_eq!(limits["max_connections_per_ip"].as_integer(), Some(0));
        assert_eq!(limits["connection_rate"].as_str(), Some("0/s"));
    }
}

#[test]
fn the_default_configuration_is_the_defaults() {
    let (code, text, _) = run(&mut mproxy(["config", "default"]));
    assert_eq!(code, 0);
    assert_eq!(
        text,
        fs::read_to_string(shipped().join("mproxy.toml")).unwrap()
    );
    assert_eq!(show_text(&text), show_text(""));
    assert_eq!(show_text(""), shown(&mut mproxy(["config", "show"])));
}

#[test]
fn the_default_configuration_says_every_default() {
    let (_, text, _) = run(&mut mproxy(["config", "default"]));
    let written: toml::Table = text.parse().unwrap();
    // What is filled in is the same for every host but for the name of it.
    let mut effective = show_text("");
    effective["server"]["name"] = written["server"]["name"].clone();
    let (mut written_keys, mut effective_keys) = (BTreeSet::new(), BTreeSet::new());
    keys(&Value::Table(written), "", &mut written_keys);
    keys(&Value::Table(effective), "", &mut effective_keys);
    assert_eq!(written_keys, effective_keys);
}

/// The default configuration with its examples: a `#` right before a key or a table.
fn with_examples() -> toml::Table {
    let (_, text, _) = run(&mut mproxy(["config", "default"]));
    let live = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with([' ', ':']) => example,
        _ => line,
    });
    show_text(&live.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_examples_in_the_default_configuration_hold() {
    let table = with_examples();
    assert_eq!(table["layers"].as_table().unwrap().len(), 7);
    assert_eq!(table["layers"]["acl"]["rules"].as_array().unwrap().len(), 3);
    assert_eq!(table["listeners"].as_array().unwrap().len(), 4);
}

/// What `config explain` says about a key.
fn explained(key: &str) -> String {
    let (code, text, stderr) = run(&mut mproxy(["config", "explain", key]));
    assert_eq!((code, stderr.as_str()), (0, ""), "{key}");
    text
}

#[test]
fn every_key_of_the_schema_is_explained_as_in_the_default_configuration() {
    let (_, default, _) = run(&mut mproxy(["config", "default"]));
    let (_, schema, _) = run(&mut mproxy(["config", "schema"]));
    let mut paths = BTreeSet::new();
    key_paths(&serde_json::from_str(&schema).unwrap(), "", &mut paths);
    assert!(paths.contains("layers.acl.rules.topics"), "{paths:?}");
    for path in paths {
        let text = explained(&path);
        let mut lines = text.lines();
        let title = lines.next().and_then(|it| it.split(' ').next());
        assert_eq!(title, Some(path.as_str()));
        let about = format!("# {}", lines.nth(1).unwrap());
        assert!(about.len() <= 100, "{about}");
        assert!(default.lines().any(|it| it == about), "`{about}` of {path}");
    }
}

#[test]
fn every_key_of_the_default_configuration_is_explained() {
    let mut written = BTreeSet::new();
    keys(&Value::Table(with_examples()), "", &mut written);
    for path in written {
        // The names of properties are not keys.
        let path = path.strip_prefix('.').unwrap();
        let named = [".set.", ".add."].iter().find_map(|it| path.find(it));
        let text = explained(&path[..named.map_or(path.len(), |it| it + ".set".len())]);
        assert!(text.contains("\ntype  "), "{path}: {text}");
    }
}

#[test]
fn a_key_is_explained_at_length() {
    let text = explained("listeners.mqtt.limits.max_pending");
    let lines = [
        "listeners.limits.max_pending",
        "type      a whole number, 0 or more",
        "default   0",
        "on reload at once, for new connections",
        "example   [listeners.limits]",
        "          max_pending = 1000",
    ];
    for line in lines {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
    assert!(text.contains("Set it well below max_connections"), "{text}");
    assert_eq!(explained("max_pending"), text);
    assert!(explained("server.name").contains("after a restart: every log line"));
    assert!(explained("acl").contains("\non_deny "));
    let (code, _, stderr) = run(&mut mproxy(["config", "explain", "limits.max_pendin"]));
    let meant = "unknown key `limits.max_pendin`; did you mean `listeners.limits.max_pending`?";
    assert_eq!((code, stderr), (2, format!("error: {meant}\n")));
}

#[test]
fn the_schema_beside_the_files_is_the_one_of_the_binary() {
    let (code, schema, _) = run(&mut mproxy(["config", "schema"]));
    assert_eq!(code, 0);
    let file = shipped().join("mproxy.schema.json");
    if std::env::var_os("MPROXY_BLESS").is_some() {
        fs::write(&file, &schema).unwrap();
    }
    assert_eq!(schema, fs::read_to_string(file).unwrap());
}

#[test]
fn the_schema_refuses_what_it_does_not_know() {
    let (_, schema, _) = run(&mut mproxy(["config", "schema"]));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["type"], "object");
    let limits = &schema["properties"]["listeners"]["items"]["properties"]["limits"];
    assert_eq!(limits["properties"]["max_packet_size"]["default"], "256MiB");
    let types = schema["properties"]["layers"]["additionalProperties"]["oneOf"].as_array();
    let types = types
        .unwrap()
        .iter()
        .map(|it| &it["properties"]["type"]["const"]);
    assert!(types.eq([
        "access-log",
        "acl",
        "topic-map",
        "client-id",
        "property-edit",
        "publish-rules"
    ]));
    closed(&schema);
}

/// Asserts that every table of the schema lists all of its keys, or is a map of names.
fn closed(schema: &serde_json::Value) {
    match schema {
        serde_json::Value::Object(map) => {
            if schema["type"] == "object" {
                let rest = &map["additionalProperties"];
                assert!(rest == false || rest.is_object(), "{schema}");
            }
            map.values().for_each(closed);
        }
        serde_json::Value::Array(items) => items.iter().for_each(closed),
        _ => {}
    }
}

/// The paths of all keys in a schema, without the names that operators choose.
fn key_paths(schema: &serde_json::Value, path: &str, paths: &mut BTreeSet<String>) {
    let serde_json::Value::Object(map) = schema else {
        return;
    };
    for (name, value) in map
        .get("properties")
        .and_then(|it| it.as_object())
        .into_iter()
        .flatten()
    {
        let path = format!("{path}.{name}");
        paths.insert(path[1..].to_owned());
        key_paths(value, &path, paths);
    }
    for inner in ["items", "additionalProperties"] {
        key_paths(&schema[inner], path, paths);
    }
    for layer in map
        .get("oneOf")
        .and_then(|it| it.as_array())
        .into_iter()
        .flatten()
    {
        let kind = layer["properties"]["type"]["const"].as_str().unwrap();
        key_paths(layer, &format!("{path}.{kind}"), paths);
    }
}

/// The paths of all keys, with array elements alike.
fn keys(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                keys(value, &format!("{path}.{key}"), out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().for_each(|it| keys(it, path, out));
        }
        _ => _ = out.insert(path.to_owned()),
    }
}

/// The effective configuration of a text.
fn show_text(text: &str) -> toml::Table {
    let mut command = mproxy(["config", "show", "--config", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}
