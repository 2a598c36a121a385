//! Any values make a line, one each, and it is the one that a writer makes that does it character by
//! character and keeps no memory.

use super::Style;
use super::tests::logged;
use proptest::prelude::*;
use std::fmt::Write;

/// The values of an event and of the span around it.
#[derive(Clone, Debug)]
struct Values {
    message: String,
    client_id: Option<String>,
    topic: String,
    detail: Option<String>,
    count: u64,
    offset: i64,
    share: f64,
    is_new: Option<bool>,
    level: String,
    span_client_id: String,
    span_detail: String,
    span_note: String,
}

/// Text as it comes, and made of what is dangerous: quotes, ends of lines, marks of direction, pieces
/// of JSON, and characters of every length; and so long that it is cut.
fn text() -> impl Strategy<Value = String> {
    let dangerous = prop::sample::select(vec![
        '"',
        '\\',
        '\n',
        '\r',
        '\t',
        '\0',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{2028}',
        '\u{202e}',
        '\u{feff}',
        '\u{e0041}',
        '\u{10ffff}',
        '=',
        ' ',
        '\u{a0}',
        '{',
        '}',
        ',',
        'a',
        'é',
        '€',
        '😀',
    ]);
    let dangerous = prop::collection::vec(dangerous, 0..40)
        .prop_map(|list| list.into_iter().collect::<String>());
    let unit = prop_oneof![any::<String>(), dangerous];
    prop_oneof![
        4 => unit.clone(),
        1 => (unit, 1_usize..3000).prop_map(|(unit, times)| {
            let mut long = unit.repeat(times.min(9000 / unit.len().max(1)));
            long.push_str("end");
            long
        }),
    ]
}

prop_compose! {
    fn values()(
        (message, client_id, topic, detail) in
            (text(), prop::option::of(text()), text(), prop::option::of(text())),
        (count, offset, share, is_new) in
            (any::<u64>(), any::<i64>(), any::<f64>(), prop::option::of(any::<bool>())),
        (level, span_client_id, span_detail, span_note) in (text(), text(), text(), text()),
    ) -> Values {
        Values {
            message, client_id, topic, detail, count, offset, share, is_new, level,
            span_client_id, span_detail, span_note,
        }
    }
}

fn write(it: &Values) {
    let span = tracing::info_span!(
        "session",
        client_id = it.span_client_id,
        detail = %it.span_detail,
        note = tracing::field::Empty,
    );
    let _entered = span.enter();
    span.record("note", "first");
    span.record("note", it.span_note.as_str());
    tracing::warn!(
        target: "mproxy::session",
        client_id = it.client_id.as_deref(),
        topic = %it.topic,
        detail = it.detail.as_ref().map(tracing::field::debug),
        count = it.count,
        offset = it.offset,
        share = it.share,
        is_new = it.is_new,
        level = it.level,
        "{}", it.message
    );
}

enum Value {
    Literal(String),
    Text(String),
}

/// The fields in their order: those of the event, then those of the span.
fn fields(it: &Values) -> Vec<(&'static str, Value)> {
    let text = |text: &String| Value::Text(text.clone());
    let debug = |text: &String| Value::Text(format!("{text:?}"));
    let own = [
        ("client_id", it.client_id.as_ref().map(text)),
        ("topic", Some(text(&it.topic))),
        ("detail", it.detail.as_ref().map(debug)),
        ("count", Some(Value::Literal(it.count.to_string()))),
        ("offset", Some(Value::Literal(it.offset.to_string()))),
        (
            "share",
            Some(match it.share.is_finite() {
                true => Value::Literal(it.share.to_string()),
                false => Value::Text(it.share.to_string()),
            }),
        ),
        ("is_new", it.is_new.map(|it| Value::Literal(it.to_string()))),
        ("level", Some(text(&it.level))),
        // of the span, where the event has none
        ("client_id", Some(text(&it.span_client_id))),
        ("detail", Some(text(&it.span_detail))),
        ("note", Some(text(&it.span_note))),
    ];
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for (name, value) in own {
        let Some(value) = value else { continue };
        let is_nobody =
            name == "client_id" && matches!(&value, Value::Text(text) if text.is_empty());
        if !is_nobody && !fields.iter().any(|(it, _)| *it == name) {
            fields.push((name, value));
        }
    }
    fields
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(limit - 3)])
}

fn harmful(it: char) -> bool {
    it.is_control()
        || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{feff}".contains(it)
        || ('\u{202a}'..='\u{202e}').contains(&it)
        || ('\u{2066}'..='\u{2069}').contains(&it)
        || ('\u{fff9}'..='\u{fffb}').contains(&it)
        || ('\u{e0000}'..='\u{e007f}').contains(&it)
}

fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for it in text.chars() {
        match it {
            '"' | '\\' => out.extend(['\\', it]),
            it if harmful(it) => {
                for unit in it.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            }
            it => out.push(it),
        }
    }
    out + "\""
}

fn plain(text: &str, quotes: bool) -> String {
    let mut out = String::new();
    for it in text.chars() {
        match it {
            '"' | '\\' if quotes => out.extend(['\\', it]),
            it if harmful(it) => out.extend(it.escape_unicode()),
            it => out.push(it),
        }
    }
    out
}

/// The line, but for its time.
fn expected(style: Style, it: &Values) -> String {
    let message = cut(&it.message, 4096);
    let mut out = match style {
        Style::Json => format!(
            r#"","level":"WARN","target":"mproxy::session","message":{}"#,
            json(&message)
        ),
        Style::Text { .. } => format!("  WARN mproxy::session: {}", plain(&message, false)),
    };
    for (name, value) in fields(it) {
        let is_name = ["client_id", "username", "topic"].contains(&name);
        match (style, value) {
            (Style::Json, value) => {
                let mark = if name == "level" { "_" } else { "" };
                let value = match value {
                    Value::Literal(text) => text,
                    Value::Text(text) => json(&cut(&text, if is_name { 512 } else { 4096 })),
                };
                write!(out, ",\"{name}{mark}\":{value}").unwrap();
            }
            (Style::Text { .. }, Value::Literal(text)) => write!(out, " {name}={text}").unwrap(),
            (Style::Text { .. }, Value::Text(text)) => {
                let text = cut(&text, 256);
                let odd = |it: char| it.is_whitespace() || "\"\\=".contains(it);
                match text.is_empty() || text.contains(odd) {
                    true => write!(out, " {name}=\"{}\"", plain(&text, true)).unwrap(),
                    false => write!(out, " {name}={}", plain(&text, false)).unwrap(),
                }
            }
        }
    }
    if style == Style::Json {
        out.push('}');
    }
    out
}

proptest! {
    #[test]
    fn any_values_make_the_line_that_is_documented(values in values()) {
        for style in [Style::Json, Style::Text { color: false }] {
            let lines = logged(style, || write(&values));
            prop_assert_eq!(lines.len(), 1);
            let start = match style {
                Style::Json => "{\"ts\":\"2026-03-01T02:59:07.114Z",
                Style::Text { .. } => "2026-03-01T02:59:07.114Z",
            };
            let rest = &lines[0][start.len()..];
            let wanted = expected(style, &values);
            prop_assert_eq!(rest, wanted.as_str());
            prop_assert!(!rest.contains(harmful));
        }
    }

    #[test]
    fn any_values_make_one_object_that_has_them(values in values()) {
        let lines = logged(Style::Json, || write(&values));
        prop_assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        prop_assert_eq!(&line["message"], &cut(&values.message, 4096));
        prop_assert_eq!(&line["topic"], &cut(&values.topic, 512));
        prop_assert_eq!(&line["count"], values.count);
        prop_assert_eq!(&line["offset"], values.offset);
        prop_assert_eq!(&line["level_"], &cut(&values.level, 4096));
        prop_assert_eq!(&line["note"], &cut(&values.span_note, 4096));
    }
}
