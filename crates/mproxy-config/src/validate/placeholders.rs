//! Placeholders without a value for any client, and texts that were meant to be placeholders.

use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::{Template, quoted};
use mproxy_layers::template::Placeholder;
use std::ops::Range;

/// Which placeholders a text may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// All of them.
    All,
    /// Those that say who a client is, without the client id.
    Owner,
}

/// Warns about `${cn}`: nothing verifies certificates, so no client has a common name, and every
/// client that needs one is refused. Warns as well about text that only looks like a placeholder:
/// `{username}`, written for `${username}`, is the same text for all clients, and does not separate them.
///
/// Returns true if it warned.
pub(crate) fn check(
    cx: &mut Context,
    template: &Template,
    span: &Range<usize>,
    known: Known,
) -> bool {
    let text = template.as_str();
    if text.contains("${cn}") {
        let message = "`${cn}` has no value: no listener verifies client certificates";
        let label = match known {
            Known::All => "use `${username}` or `${client_id}`",
            Known::Owner => "use `${username}`",
        };
        cx.push(Diagnostic::warning(message).at(span.clone()).label(label));
    }
    let meant = meant(text);
    for (written, meant) in &meant {
        let message = format!("`{written}` is not a placeholder");
        let label = match meant {
            Some(meant) if known.has(*meant) => format!("did you mean `{}`?", meant.name()),
            _ => format!("there are {}", quoted(known.forms().iter().copied())),
        };
        cx.push(Diagnostic::warning(message).at(span.clone()).label(label));
    }
    !meant.is_empty()
}

impl Known {
    fn has(self, placeholder: Placeholder) -> bool {
        self.forms().contains(&placeholder.name())
    }

    const fn forms(self) -> &'static [&'static str] {
        match self {
            Self::All => &["${client_id}", "${username}", "${cn}"],
            Self::Owner => &["${username}", "${cn}"],
        }
    }
}

/// Texts that were meant to be placeholders, each once, and which one each seems to be: notations of other
/// brokers, of shells and of templates.
pub(crate) fn meant(text: &str) -> Vec<(&str, Option<Placeholder>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['{', '<', '%', '$']) {
        rest = rest.get(start..).unwrap_or_default();
        if let Some((_, after)) = rest.strip_prefix("${").and_then(|it| it.split_once('}')) {
            // a placeholder, which was checked
            rest = after;
            continue;
        }
        let length = match one(rest) {
            Some((written, meant)) => {
                if found.iter().all(|(known, _)| *known != written) {
                    found.push((written, meant));
                }
                written.len()
            }
            None => 1,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// The text in the place of a placeholder that `text` begins with.
fn one(text: &str) -> Option<(&str, Option<Placeholder>)> {
    let end = |open: &str, close: &str| {
        let inner = text.strip_prefix(open)?;
        let word = word(inner);
        let whole = open.len() + word.len() + close.len();
        let closed = !word.is_empty() && inner[word.len()..].starts_with(close);
        closed.then(|| (&text[..whole], word))
    };
    for (open, close) in [("{", "}"), ("<", ">"), ("$(", ")")] {
        if let Some((whole, word)) = end(open, close) {
            return Some((whole, named(word)));
        }
    }
    // of these, others are texts of their own: `$SYS`, `100%`, `%20`
    if let Some((whole, word)) = end("%", "%") {
        return named(word).map(|it| (whole, Some(it)));
    }
    let (sign, after) = (text.get(..1)?, text.get(1..)?);
    let word = word(after);
    let meant = match (sign, word.split('-').next()?) {
        ("%", "c") => (2, Placeholder::ClientId),
        ("%", "u") => (2, Placeholder::Username),
        ("$", word) => (1 + word.len(), named(word)?),
        _ => return None,
    };
    Some((text.get(..meant.0)?, Some(meant.1)))
}

fn word(text: &str) -> &str {
    let inside = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
    let end = text.find(|it| !inside(it)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The placeholder that a word means in other programs.
fn named(word: &str) -> Option<Placeholder> {
    let mut word = word.to_ascii_lowercase();
    word.retain(|it| it.is_ascii_alphanumeric());
    match word.as_str() {
        "clientid" | "client" => Some(Placeholder::ClientId),
        "username" | "user" => Some(Placeholder::Username),
        "cn" | "commonname" => Some(Placeholder::CommonName),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholders_of_others_are_seen() {
        for (text, written, placeholder) in [
            ("tenants/{username}/", "{username}", Placeholder::Username),
            ("tenants/%u/", "%u", Placeholder::Username),
            ("d/%c-x/#", "%c", Placeholder::ClientId),
            ("%c", "%c", Placeholder::ClientId),
            ("d/{client_id}", "{client_id}", Placeholder::ClientId),
            ("d/{{clientid}}", "{clientid}", Placeholder::ClientId),
            ("$username/#", "$username", Placeholder::Username),
            ("$client-x/#", "$client", Placeholder::ClientId),
            ("d/$(USER)", "$(USER)", Placeholder::Username),
            ("d/%USERNAME%/x", "%USERNAME%", Placeholder::Username),
            ("<username>:", "<username>", Placeholder::Username),
            ("ü<client-id>ü", "<client-id>", Placeholder::ClientId),
            ("${username}/{cn}", "{cn}", Placeholder::CommonName),
        ] {
            assert_eq!(meant(text), [(written, Some(placeholder))], "{text}");
        }
        assert_eq!(meant("t/{tenant}/"), [("{tenant}", None)]);
        assert_eq!(meant("%u/%c/%u").len(), 2);
    }

    #[test]
    fn other_texts_are_texts() {
        for text in [
            "",
            "${username}/${client_id}/",
            "$SYS/#",
            "$clients/x",
            "$share",
            "100%",
            "50%/x",
            "a%20b",
            "%cx",
            "%user",
            "a<b",
            "a < b > c",
            "{}",
            "{\"a\":1}",
            "a$b",
            "$",
            "%",
            "ü%ü$ü",
        ] {
            assert_eq!(meant(text), [], "{text}");
        }
    }
}
