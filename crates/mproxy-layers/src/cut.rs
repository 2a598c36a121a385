//! Cuts text for log lines.

use std::borrow::Cow;

/// Maximum bytes of foreign text in a log line: a few of them stay below 4 KiB.
const LONGEST: usize = 512;

const ELLIPSIS: char = '…';

/// Cuts a text that is too long between two characters, and adds an ellipsis.
///
/// It escapes nothing: a log field holds the text as the peer wrote it, and the subscriber, which
/// knows what its lines look like, escapes it. If both did, one client id would have two spellings.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(LONGEST - ELLIPSIS.len_utf8());
    let mut short = text[..end].to_owned();
    short.push(ELLIPSIS);
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_stays_as_it_is() {
        for text in ["", "a/b c", "a\\b\"c", "a\n\u{202e}"] {
            assert_eq!(cut(text), text);
        }
        let fits = "a".repeat(LONGEST);
        assert_eq!(cut(&fits), fits);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let end = LONGEST - ELLIPSIS.len_utf8();
        assert_eq!(cut(&"a".repeat(65_535)), "a".repeat(end) + "…");
        let short = cut(&"é".repeat(LONGEST)).into_owned();
        assert_eq!(short, "é".repeat(end / 2) + "…");
        // what was cut already is not cut again
        assert_eq!(cut(&short), short);
    }
}
