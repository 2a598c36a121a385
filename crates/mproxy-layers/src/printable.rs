//! Strings of strangers, made fit for a log.

use std::fmt::{self, Write};

/// The longest piece of a foreign string in a log line: a few of them stay below 4 KiB.
const LONGEST: usize = 512;

/// Writes a string that a peer chose so that it stays on one line and ends.
///
/// What is not printable is escaped, the backslash too, so that nobody can write a line of their
/// own into the log; a string that is too long is cut, and an ellipsis says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = LONGEST;
        for c in self.0.chars() {
            let escaped = match c {
                '\'' | '"' => None,
                _ => Some(c.escape_debug()),
            };
            let length = escaped
                .as_ref()
                .map_or(1, |escaped| escaped.clone().map(char::len_utf8).sum());
            let Some(left) = room.checked_sub(length) else {
                return f.write_char('…');
            };
            room = left;
            match escaped {
                Some(escaped) => write!(f, "{escaped}")?,
                None => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, printed) in [
            ("a/b c", "a/b c"),
            ("grüße \"x\" 'y'", "grüße \"x\" 'y'"),
            ("a\nlevel=INFO", "a\\nlevel=INFO"),
            ("\u{1b}[31m\u{7f}\u{85}", "\\u{1b}[31m\\u{7f}\\u{85}"),
            ("a\\n", "a\\\\n"),
            ("\u{202e}\u{2028}\u{feff}", "\\u{202e}\\u{2028}\\u{feff}"),
        ] {
            assert_eq!(Printable(text).to_string(), printed);
        }
    }

    #[test]
    fn long_strings_are_cut_between_characters() {
        let printed = Printable(&"\u{1}".repeat(65_535)).to_string();
        assert!(
            printed.len() <= LONGEST + '…'.len_utf8() && printed.ends_with("\\u{1}…"),
            "{printed}"
        );
        let printed = Printable(&"é".repeat(LONGEST)).to_string();
        assert_eq!(printed, format!("{}…", "é".repeat(LONGEST / 2)));
        let fits = "a".repeat(LONGEST);
        assert_eq!(Printable(&fits).to_string(), fits);
    }
}
