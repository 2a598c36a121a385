//! Events as they end up in the log.

use super::{Style, lines};
use mproxy_admin::LogMetrics;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::SubscriberExt;

/// A sink that can be looked at.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn logged(style: Style, events: impl FnOnce()) -> Vec<String> {
    let memory = Memory::default();
    let (layer, queue) = lines(style, None, LogMetrics::default(), memory.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, events);
    queue.drain();
    let bytes = memory.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with('\n'));
    text.split_terminator('\n').map(str::to_owned).collect()
}

const HOSTILE: &str = "dev\r\n2026-01-01T00:00:00.000Z  INFO x: ok\u{1b}[2J\u{2028}\u{202e}\" a=b";

fn hostile_events() {
    let span = tracing::info_span!("session", client_id = HOSTILE, username = %HOSTILE);
    let _entered = span.enter();
    tracing::info!(topic = ?HOSTILE, reason = %HOSTILE, "closed by {HOSTILE}");
    tracing::warn!(target: "mproxy", suppressed = 3, ok = true, share = 0.5, "next");
}

#[test]
fn a_hostile_value_stays_one_line_of_text() {
    let lines = logged(Style::Text { color: false }, hostile_events);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for line in &lines {
        assert!(
            !line.contains(['\r', '\u{1b}', '\u{2028}', '\u{202e}']),
            "{line}"
        );
        assert!(line.contains(r#"client_id="dev\u{d}\u{a}2026"#), "{line}");
    }
    assert!(
        lines[0].contains(r" INFO mproxy_server::telemetry::lines::tests: closed by dev\u{d}\u{a}")
    );
    assert!(lines[1].contains(" WARN mproxy: next suppressed=3 ok=true share=0.5 client_id="));
}

#[test]
fn a_hostile_value_stays_one_string_of_json() {
    let lines = logged(Style::Json, hostile_events);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for line in &lines {
        assert!(
            !line.contains(['\r', '\u{1b}', '\u{2028}', '\u{202e}']),
            "{line}"
        );
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["client_id"], HOSTILE);
        assert_eq!(json["username"], HOSTILE);
        assert!(json["ts"].as_str().unwrap().ends_with('Z'));
    }
    let json: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(json["level"], "WARN");
    assert_eq!(json["target"], "mproxy");
    assert_eq!(json["message"], "next");
    assert_eq!(json["suppressed"], 3);
    assert_eq!(json["ok"], true);
}

#[test]
fn a_long_value_is_cut_in_text() {
    let long = "x".repeat(100_000);
    let lines = logged(Style::Text { color: false }, || {
        tracing::info!(client_id = long.as_str(), "connected");
    });
    let shown = format!("client_id={}…", "x".repeat(253));
    assert!(lines[0].ends_with(&shown), "{}", lines[0].len());
}

/// Layers cut names at 512 bytes, and what comes from the server itself is cut here: an id of more
/// than that read differently in the lines of one client.
#[test]
fn a_name_that_was_cut_before_reads_as_one_that_was_not() {
    let name = "é".repeat(1000);
    let cut_before = format!("{}…", "é".repeat(254));
    let lines = logged(Style::Json, || {
        tracing::info!(client_id = name.as_str(), "x");
        tracing::info!(client_id = cut_before.as_str(), "x");
        tracing::info!(filters = name.as_str(), "x");
    });
    let values: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values[0]["client_id"], cut_before);
    assert_eq!(values[1]["client_id"], cut_before);
    assert_eq!(values[2]["filters"], name);
}

/// A client without a name had `client_id=""` and `username=""`, which the documents say are left out.
#[test]
fn a_client_without_a_name_has_no_field_for_it() {
    for style in [Style::Json, Style::Text { color: false }] {
        let lines = logged(style, || {
            let span = tracing::info_span!("session", client_id = "", username = %"");
            let _entered = span.enter();
            tracing::info!(client_id = Some(""), username = "", topic = "", "x");
        });
        assert!(!lines[0].contains("client_id"), "{}", lines[0]);
        assert!(!lines[0].contains("username"), "{}", lines[0]);
        assert!(lines[0].contains("topic"), "{}", lines[0]);
    }
}

#[test]
fn the_innermost_value_of_a_name_counts() {
    let lines = logged(Style::Json, || {
        let outer = tracing::info_span!("a", id = 1, user = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("user", "u");
        let inner = tracing::info_span!("b", id = 2);
        let _inner = inner.enter();
        tracing::info!(level = 9, "x");
    });
    assert_eq!(lines[0].matches("\"id\"").count(), 1);
    let json: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(json["id"], 2);
    assert_eq!(json["user"], "u");
    assert_eq!(
        (&json["level"], &json["level_"]),
        (&"INFO".into(), &9.into())
    );
}
