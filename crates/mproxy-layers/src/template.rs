//! Text with the placeholders `${client_id}`, `${username}` and `${cn}`.
//!
//! [`tokens`] splits a text, with any names of placeholders:
//!
//! ```
//! use mproxy_layers::template::{Token, tokens};
//!
//! let text: Result<Vec<_>, _> = tokens("a/${username}").collect();
//! assert_eq!(text, Ok(vec![Token::Text("a/"), Token::Name("username")]));
//! ```

use thiserror::Error;

pub use crate::identity::Placeholder;
use crate::identity::{Names, Values};

/// Why a text with placeholders is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A `${` has no `}`.
    #[error("placeholder is not closed, `}}` is missing")]
    Unclosed,
    /// The name between `${` and `}` is not known.
    #[error(
        "unknown placeholder `${{{0}}}`, known are `${{client_id}}`, `${{username}}` and `${{cn}}`"
    )]
    Unknown(String),
}

/// A part of a text with placeholders.
#[allow(clippy::exhaustive_enums)] // complete: there is nothing else in one
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Literal text; not empty.
    Text(&'a str),
    /// The name between `${` and `}`.
    Name(&'a str),
}

/// Splits a text. After a `${` without its `}`, which is an error, nothing more follows.
pub fn tokens(text: &str) -> impl Iterator<Item = Result<Token<'_>, TemplateError>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (text, placeholder) = rest.split_at(rest.find("${").unwrap_or(rest.len()));
        if !text.is_empty() {
            rest = placeholder;
            return Some(Ok(Token::Text(text)));
        }
        let placeholder = std::mem::take(&mut rest).strip_prefix("${")?;
        Some(match placeholder.split_once('}') {
            Some((name, after)) => {
                rest = after;
                Ok(Token::Name(name))
            }
            None => Err(TemplateError::Unclosed),
        })
    })
}

/// A text with placeholders, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Template {
    parts: Box<[Part]>,
    /// Whether it begins with a placeholder that is the beginning of a topic.
    leading: bool,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Literal(Box<str>),
    Placeholder(Placeholder),
}

/// A place for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// How many bytes of the text stand between it and the place before.
    pub(crate) before: usize,
    pub(crate) placeholder: Placeholder,
    /// Whether it is the beginning of a topic.
    pub(crate) leading: bool,
}

impl Template {
    /// Parses a text. `leading` says that the text is the beginning of a topic.
    pub(crate) fn parse(text: &str, leading: bool) -> Result<Self, TemplateError> {
        let part = |token| {
            Ok(match token? {
                Token::Text(literal) => Part::Literal(literal.into()),
                Token::Name(name) => Part::Placeholder(
                    Placeholder::from_word(name)
                        .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?,
                ),
            })
        };
        let parts: Box<[_]> = tokens(text).map(part).collect::<Result<_, _>>()?;
        let leading = leading && matches!(*parts, [Part::Placeholder(_), ..]);
        Ok(Self { parts, leading })
    }

    /// Whether the text is the same for every client.
    pub(crate) fn is_literal(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.all(|part| matches!(part, Part::Literal(_)))
    }

    /// Returns what the text consists of.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns the places for values.
    pub(crate) fn holes(&self) -> Vec<Hole> {
        let (mut holes, mut before) = (Vec::new(), 0);
        for (place, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => before += text.len(),
                Part::Placeholder(placeholder) => holes.push(Hole {
                    before: std::mem::take(&mut before),
                    placeholder: *placeholder,
                    leading: self.leading && place == 0,
                }),
            }
        }
        holes
    }

    /// Returns what stands around the places for values.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(&**text),
            Part::Placeholder(_) => None,
        })
    }

    /// Returns the parts filled in for this client, and the placeholders without a usable value.
    fn filled<'a>(
        &'a self,
        values: &'a Values,
    ) -> impl Iterator<Item = Result<&'a str, Placeholder>> {
        let parts = self.parts.iter().enumerate();
        parts.map(|(place, part)| match part {
            Part::Literal(text) => Ok(&**text),
            Part::Placeholder(it) => {
                let value = values.value(*it, self.leading && place == 0);
                value.ok_or(*it)
            }
        })
    }

    /// Returns the first placeholder for which this client has no usable value.
    pub(crate) fn missing(&self, values: &Values) -> Option<Placeholder> {
        self.filled(values).find_map(Result::err)
    }

    /// Whether this client has a usable value for each placeholder.
    pub(crate) fn is_fillable(&self, values: &Values) -> bool {
        self.missing(values).is_none()
    }

    /// Says whether the text, filled in for this client, is `text`; never if it cannot be filled
    /// in.
    pub(crate) fn is(&self, text: &[u8], values: &Values) -> bool {
        let mut filled = self.filled(values);
        let rest = filled.try_fold(text, |rest, part| rest.strip_prefix(part.ok()?.as_bytes()));
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// Fills in the text for this client; `None` if a placeholder has no usable value.
    pub(crate) fn fill(&self, values: &Values) -> Option<String> {
        self.filled(values).collect::<Result<_, _>>().ok()
    }

    /// Returns a filter that matches what the text, a topic filter, would match if each placeholder
    /// without a usable value had one: to explain, not to judge.
    pub(crate) fn widened(&self, values: &Values) -> String {
        const MISSING: &str = "\0";
        let filled = self.filled(values);
        let text: String = filled.map(|text| text.unwrap_or(MISSING)).collect();
        let last = text.split('/').count() - 1;
        let widen = |(place, level)| match level {
            // a name with a `/` in it has several levels
            level if str::contains(level, MISSING) && place == last => "#",
            level if str::contains(level, MISSING) => "+",
            level => level,
        };
        let levels: Vec<_> = text.split('/').enumerate().map(widen).collect();
        levels.join("/")
    }

    /// Fills in the text with names as they are, for a place where they mean nothing but themselves;
    /// `None` if one is missing or empty.
    pub(crate) fn text(&self, names: Names<'_>) -> Option<String> {
        let text = |part: &Part| match part {
            Part::Literal(literal) => Some(literal.to_string()),
            Part::Placeholder(placeholder) => {
                let name = names.get(*placeholder).filter(|name| !name.is_empty());
                name.map(str::to_owned)
            }
        };
        self.parts.iter().map(text).collect()
    }

    /// Fills in the text with a value that every placeholder could have, to check its syntax.
    pub(crate) fn sample(&self) -> String {
        let text = |part: &Part| match part {
            Part::Literal(literal) => literal.to_string(),
            Part::Placeholder(_) => "x".to_owned(),
        };
        self.parts.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use mproxy_codec::topic::Dialect;

    use super::*;

    fn filled(text: &str, client_id: &str, username: Option<&str>) -> Option<String> {
        Template::parse(text, true)
            .expect("a valid template")
            .fill(&Values::new(
                Names::new(client_id, username).common_name("n"),
                Dialect::MQTT,
            ))
    }

    #[test]
    fn placeholders_are_filled_in_once() {
        assert_eq!(
            filled("a/${client_id}/${username}", "c", Some("u")).as_deref(),
            Some("a/c/u")
        );
        assert_eq!(filled("${cn}/a", "c", None).as_deref(), Some("n/a"));
        assert_eq!(
            filled("x${client_id}y", "${username}", Some("u")).as_deref(),
            Some("x${username}y")
        );
        assert_eq!(filled("a/$/{x}", "c", None).as_deref(), Some("a/$/{x}"));
        assert_eq!(filled("a/${username}", "c", None), None);
    }

    #[test]
    fn a_leading_value_does_not_name_the_brokers_topics() {
        assert_eq!(filled("${client_id}/#", "$SYS", None), None);
        assert_eq!(
            filled("a${client_id}/#", "$SYS", None).as_deref(),
            Some("a$SYS/#")
        );
        assert_eq!(
            filled("a/${client_id}/#", "$SYS", None).as_deref(),
            Some("a/$SYS/#")
        );
    }

    #[test]
    fn comparing_is_filling_in() {
        let template =
            Template::parse("${username}-${client_id}", false).expect("a valid template");
        let values = Values::new(Names::new("c", Some("u")), Dialect::MQTT);
        assert!(template.is(b"u-c", &values));
        for other in ["", "u", "u-", "u-cc", "uu-c", "U-c", "u-c/"] {
            assert!(!template.is(other.as_bytes(), &values), "{other}");
        }
        let nameless = Values::new(Names::new("c", Some("")), Dialect::MQTT);
        assert!(!template.is(b"-c", &nameless));
    }

    #[test]
    fn names_stand_for_themselves_where_they_mean_nothing_else() {
        let template = Template::parse("<${username}>", false).expect("a valid template");
        let text = |username| template.text(Names::new("c", username));
        assert_eq!(text(Some("a/#")).as_deref(), Some("<a/#>"));
        assert_eq!((text(Some("")), text(None)), (None, None));
    }

    #[test]
    fn unknown_and_unclosed_placeholders_are_errors() {
        assert_eq!(
            Template::parse("a/${client_id", true),
            Err(TemplateError::Unclosed)
        );
        let error = Template::parse("a/${clientid}", true).expect_err("an unknown name");
        assert_eq!(
            error.to_string(),
            "unknown placeholder `${clientid}`, known are `${client_id}`, `${username}` and `${cn}`"
        );
    }
}
