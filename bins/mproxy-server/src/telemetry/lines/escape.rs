//! Escapes text from strangers.

use std::fmt::{self, Write};

/// True for characters that end a line, control a terminal, or change how the text around
/// them is shown.
fn is_harmful(it: char) -> bool {
    it.is_control()
        || matches!(it,
            '\u{61c}' | '\u{200e}' | '\u{200f}' // direction marks
            | '\u{2028}' | '\u{2029}' // line and paragraph separators
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // overrides and isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' // byte order mark, annotations
            | '\u{e0000}'..='\u{e007f}') // tags, invisible
}

/// Text that may be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    text: &'a str,
    /// The mark for the missing end.
    ellipsis: &'static str,
}

impl<'a> Shown<'a> {
    /// A whole text.
    pub(super) const fn all(text: &'a str) -> Self {
        Self { text, ellipsis: "" }
    }

    /// At most `limit` bytes.
    pub(super) fn cut(text: &'a str, limit: usize) -> Self {
        if text.len() <= limit {
            return Self::all(text);
        }
        let end = limit.saturating_sub(ELLIPSIS.len());
        Self {
            text: &text[..text.floor_char_boundary(end)],
            ellipsis: ELLIPSIS,
        }
    }
}

/// Text from strangers, escaped for a terminal: it cannot move the cursor or fake other output.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    message(&mut out, Shown::all(text));
    out
}

/// Appends text without quotes, for a message.
pub(super) fn message(out: &mut String, shown: Shown<'_>) {
    escaped(out, shown, &MESSAGE, |out, it| {
        out.extend(it.escape_unicode());
    });
}

/// Appends a value, in quotes if its end would be ambiguous.
pub(super) fn value(out: &mut String, shown: Shown<'_>) {
    let plain = |it: char| !it.is_whitespace() && !matches!(it, '"' | '\\' | '=');
    let is_empty = shown.text.is_empty() && shown.ellipsis.is_empty();
    if !is_empty && shown.text.chars().all(plain) {
        return message(out, shown);
    }
    out.push('"');
    escaped(out, shown, &QUOTED, |out, it| match it {
        '"' | '\\' => out.extend(['\\', it]),
        _ => out.extend(it.escape_unicode()),
    });
    out.push('"');
}

/// Appends a JSON string.
pub(super) fn json(out: &mut String, shown: Shown<'_>) {
    out.push('"');
    escaped(out, shown, &QUOTED, |out, it| match it {
        '"' | '\\' => out.extend(['\\', it]),
        _ => {
            // Characters beyond U+FFFF are two escapes in JSON.
            for unit in it.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    });
    out.push('"');
}

/// The bytes that end a run of harmless ones.
type Stops = [bool; 256];

const MESSAGE: Stops = stops(b"");
const QUOTED: Stops = stops(b"\"\\");

const fn stops(quotes: &[u8]) -> Stops {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < stops.len() {
        // each byte of a multi-byte character is a stop, because such characters are checked as a whole
        stops[byte] = byte < 0x20 || byte >= 0x7f;
        byte += 1;
    }
    let mut quote = 0;
    while quote < quotes.len() {
        stops[quotes[quote] as usize] = true;
        quote += 1;
    }
    stops
}

/// Appends text run by run; `escape` writes the ASCII characters that are stops and the harmful
/// ones.
fn escaped(
    out: &mut String,
    Shown { text, ellipsis }: Shown<'_>,
    stops: &Stops,
    escape: impl Fn(&mut String, char),
) {
    let (mut written, mut at) = (0, 0);
    loop {
        let rest = &text.as_bytes()[at..];
        let Some(run) = rest.iter().position(|byte| stops[usize::from(*byte)]) else {
            break;
        };
        at += run;
        let Some(it) = text[at..].chars().next() else {
            break;
        };
        if it.is_ascii() || is_harmful(it) {
            out.push_str(&text[written..at]);
            escape(out, it);
            written = at + it.len_utf8();
        }
        at += it.len_utf8();
    }
    out.push_str(&text[written..]);
    out.push_str(ellipsis);
}

/// The mark for the rest of a value.
const ELLIPSIS: &str = "…";

/// Formats up to a limit, and drops the rest.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    text: &'a mut String,
    limit: usize,
    is_full: bool,
}

impl<'a> Cut<'a> {
    /// Appends to an empty text.
    pub(super) fn new(text: &'a mut String, limit: usize) -> Self {
        Self {
            text,
            limit,
            is_full: false,
        }
    }

    /// Formats at most `limit` bytes of `value`, with an ellipsis at the end if that is not all.
    ///
    /// A value that was already cut, at the same length or above, ends as if it
    /// had not been cut.
    pub(super) fn format(value: impl fmt::Display, limit: usize) -> String {
        let mut text = String::new();
        // Writing cannot fail; a `Display` that fails has written all that it could.
        let _ = write!(Cut::new(&mut text, limit), "{value}");
        text
    }
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_full {
            return Ok(());
        }
        if self.text.len() + text.len() <= self.limit {
            self.text.push_str(text);
            return Ok(());
        }
        self.is_full = true;
        let end = self.limit.saturating_sub(ELLIPSIS.len());
        match end.checked_sub(self.text.len()) {
            Some(room) => self.text.push_str(&text[..text.floor_char_boundary(room)]),
            // the text must make room for the ellipsis
            None => self.text.truncate(self.text.floor_char_boundary(end)),
        }
        self.text.push_str(ELLIPSIS);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(write: fn(&mut String, Shown<'_>), text: &str) -> String {
        let mut out = String::new();
        write(&mut out, Shown::all(text));
        out
    }

    #[test]
    fn harmful_characters_are_escaped_in_both_formats() {
        let hostile = "a\r\nb\u{1b}[2J\u{2028}\u{202e}\u{85}\u{e0041}\u{7f}";
        for write in [message, value, json] {
            let out = with(write, hostile);
            assert!(!out.contains(is_harmful), "{out}");
            assert_eq!(out.lines().count(), 1);
        }
        let decoded: String = serde_json::from_str(&with(json, hostile)).unwrap();
        assert_eq!(decoded, hostile);
        assert_eq!(with(message, "a\n\u{202e}"), r"a\u{a}\u{202e}");
    }

    #[test]
    fn values_cannot_pretend_to_be_several() {
        assert_eq!(with(value, "a/b-1"), "a/b-1");
        assert_eq!(with(value, "a user=root"), r#""a user=root""#);
        assert_eq!(with(value, r#"a" b="#), r#""a\" b=""#);
        assert_eq!(with(value, ""), r#""""#);
        assert_eq!(with(value, "größe"), "größe");
    }

    /// Values that are there as text are cut without a copy, and others as they are formatted.
    #[test]
    fn both_ways_of_cutting_are_one() {
        for text in ["abcdef", "abcde", "aäbcd", "äääää", "a=b c d", ""] {
            for limit in 3..12 {
                for write in [message, value, json] {
                    let mut out = String::new();
                    write(&mut out, Shown::cut(text, limit));
                    assert_eq!(out, with(write, &Cut::format(text, limit)));
                }
            }
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(Cut::format("abcde", 5), "abcde");
        assert_eq!(Cut::format("abcdef", 5), "ab…");
        assert_eq!(Cut::format("aäbcd", 5), "a…");
        assert_eq!(
            Cut::format(format_args!("{}{}{}", "abcd", "ef", "g"), 5),
            "ab…"
        );
        // pieces that end in the room of the ellipsis, or in the middle of a character before it
        assert_eq!(Cut::format(format_args!("{}{}", "aä", "efg"), 5), "a…");
        assert_eq!(Cut::format(format_args!("{}{}", "abä", "ef"), 5), "ab…");
        assert_eq!(Cut::format("abcdef…", 9), "abcdef…");
        assert_eq!(Cut::format("abcdef…", 8), "abcde…");
    }
}
