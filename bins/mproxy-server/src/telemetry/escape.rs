//! Text from strangers, made harmless.

use std::fmt::{self, Write};

/// True for characters that end a line, command a terminal, or change how the text around
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

/// Appends text without quotes, for a message.
pub(super) fn message(out: &mut String, text: &str) {
    for it in text.chars() {
        text_char(out, it);
    }
}

/// Appends a value, in quotes when a reader could not tell otherwise where it ends.
pub(super) fn value(out: &mut String, text: &str) {
    let plain = |it: char| !it.is_whitespace() && !matches!(it, '"' | '\\' | '=');
    if !text.is_empty() && text.chars().all(plain) {
        return message(out, text);
    }
    out.push('"');
    for it in text.chars() {
        match it {
            '"' | '\\' => out.extend(['\\', it]),
            _ => text_char(out, it),
        }
    }
    out.push('"');
}

fn text_char(out: &mut String, it: char) {
    match is_harmful(it) {
        true => out.extend(it.escape_unicode()),
        false => out.push(it),
    }
}

/// Appends a JSON string.
pub(super) fn json(out: &mut String, text: &str) {
    out.push('"');
    for it in text.chars() {
        match it {
            '"' | '\\' => out.extend(['\\', it]),
            _ if is_harmful(it) => {
                // Characters beyond U+FFFF are two escapes in JSON.
                for unit in it.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(it),
        }
    }
    out.push('"');
}

/// What stands for the rest of a value.
const ELLIPSIS: char = '…';

/// Formats what is given to it up to a limit, and drops the rest.
#[derive(Debug)]
pub(super) struct Cut {
    text: String,
    limit: usize,
    is_full: bool,
}

impl Cut {
    /// Formats at most `limit` bytes of `value`, with an ellipsis at the end if that is not all.
    ///
    /// A value that was cut before, at the same length or above, ends as it would have done if it
    /// had not been.
    pub(super) fn format(value: impl fmt::Display, limit: usize) -> String {
        let mut cut = Self {
            text: String::new(),
            limit,
            is_full: false,
        };
        // Writing cannot fail; a `Display` that says so has said all it had to say.
        let _ = write!(cut, "{value}");
        cut.text
    }
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_full {
            return Ok(());
        }
        if self.text.len() + text.len() <= self.limit {
            self.text.push_str(text);
            return Ok(());
        }
        self.is_full = true;
        let end = self.limit.saturating_sub(ELLIPSIS.len_utf8());
        match end.checked_sub(self.text.len()) {
            Some(room) => self.text.push_str(&text[..text.floor_char_boundary(room)]),
            // what is there must make room for the ellipsis
            None => self.text.truncate(self.text.floor_char_boundary(end)),
        }
        self.text.push(ELLIPSIS);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(write: fn(&mut String, &str), text: &str) -> String {
        let mut out = String::new();
        write(&mut out, text);
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
