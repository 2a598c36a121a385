//! A pattern of client ids, in which each id belongs to one user.

use thiserror::Error;

use crate::{
    identity::{Names, Placeholder},
    template::{Part, Template, TemplateError},
};

/// Why a text is not a pattern of client ids.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A placeholder is not valid.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The pattern is empty.
    #[error("the pattern is empty")]
    Empty,
    /// The pattern has the client id in it.
    #[error("a pattern of client ids cannot contain `${{client_id}}`")]
    ClientId,
    /// A `*` stands in a prefix, or there are two in a pattern.
    #[error("`*` may stand once in a template, and not in a prefix")]
    Wildcard,
    /// A placeholder stands twice.
    #[error("the pattern contains `{0}` twice")]
    Repeated(&'static str),
    /// Two clients could have the same id.
    #[error("a client with {one} and another with {other} could both have the client id `{id}`")]
    Ambiguous {
        /// The names of one client.
        one: String,
        /// The names of another.
        other: String,
        /// What both could call themselves.
        id: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(Box<str>),
    Placeholder(Placeholder),
    /// `*`: anything that is not empty.
    Rest,
}

/// Literal text, the client's names, and perhaps something that it chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Box<[Token]>,
    /// What a name must not contain.
    separators: Box<[(Placeholder, char)]>,
}

/// Why a client has no ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It has no such name.
    Missing(Placeholder),
    /// The name has a character that would end it.
    Separator(Placeholder, char),
}

impl Pattern {
    /// The user name and nothing else.
    pub(super) fn username() -> Self {
        Self {
            tokens: [Token::Placeholder(Placeholder::Username)].into(),
            separators: Box::default(),
        }
    }

    /// Parses a template: `*` is what the client chooses.
    pub(super) fn template(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, true)
    }

    /// Parses a prefix, behind which stands what the client chooses.
    pub(super) fn prefix(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, false)
    }

    fn parse(text: &str, template: bool) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let parsed = Template::parse(text, false)?;
        let mut tokens = Vec::new();
        for part in parsed.parts() {
            match part {
                Part::Placeholder(Placeholder::ClientId) => return Err(PatternError::ClientId),
                Part::Placeholder(placeholder) => {
                    let token = Token::Placeholder(*placeholder);
                    if tokens.contains(&token) {
                        return Err(PatternError::Repeated(placeholder.name()));
                    }
                    tokens.push(token);
                }
                Part::Literal(text) => {
                    for (place, literal) in text.split('*').enumerate() {
                        if place > 0 {
                            tokens.push(Token::Rest);
                        }
                        if !literal.is_empty() {
                            tokens.push(Token::Literal(literal.into()));
                        }
                    }
                }
            }
        }
        let stars = tokens.iter().filter(|token| **token == Token::Rest).count();
        if stars > usize::from(template) {
            return Err(PatternError::Wildcard);
        }
        if !template {
            tokens.push(Token::Rest);
        }
        let separators = separators(&tokens)?;
        Ok(Self {
            tokens: tokens.into(),
            separators,
        })
    }

    /// Says whether the ids of all clients are the same.
    pub(super) fn names_nobody(&self) -> bool {
        let mut tokens = self.tokens.iter();
        tokens.all(|token| !matches!(token, Token::Placeholder(_)))
    }

    /// Returns an id of this client, and what of it the client has chosen.
    pub(super) fn fill(&self, names: Names<'_>, rest: &str) -> Result<String, Unusable> {
        let (before, after) = self.around(names)?;
        Ok(match self.has_rest() {
            true => [&before, rest, &after].concat(),
            false => before,
        })
    }

    /// Says whether an id is one of this client.
    pub(super) fn matches(&self, names: Names<'_>, id: &str) -> Result<bool, Unusable> {
        let (before, after) = self.around(names)?;
        if !self.has_rest() {
            return Ok(id == before);
        }
        let rest = id
            .strip_prefix(before.as_str())
            .and_then(|id| id.strip_suffix(after.as_str()));
        Ok(rest.is_some_and(|rest| !rest.is_empty()))
    }

    fn has_rest(&self) -> bool {
        self.tokens.contains(&Token::Rest)
    }

    /// Returns what stands before and after what the client chooses.
    fn around(&self, names: Names<'_>) -> Result<(String, String), Unusable> {
        let (mut before, mut after) = (String::new(), String::new());
        let mut text = &mut before;
        for token in &self.tokens {
            match token {
                Token::Literal(literal) => text.push_str(literal),
                Token::Placeholder(placeholder) => {
                    let value = names.get(*placeholder).filter(|value| !value.is_empty());
                    let value = value.ok_or(Unusable::Missing(*placeholder))?;
                    let mut separators = self.separators.iter();
                    let found = separators
                        .find(|(it, separator)| it == placeholder && value.contains(*separator));
                    if let Some((_, separator)) = found {
                        return Err(Unusable::Separator(*placeholder, *separator));
                    }
                    text.push_str(value);
                }
                Token::Rest => text = &mut after,
            }
        }
        Ok((before, after))
    }
}

/// Returns what ends each name, so that an id can be taken apart: from its beginning up to what the
/// client chooses, and from its end back to that.
fn separators(tokens: &[Token]) -> Result<Box<[(Placeholder, char)]>, PatternError> {
    let mut separators = Vec::new();
    let rest = tokens.iter().position(|token| *token == Token::Rest);
    for (place, token) in tokens.iter().enumerate() {
        let Token::Placeholder(placeholder) = token else {
            continue;
        };
        let behind = rest.is_some_and(|rest| rest < place);
        let next = if behind {
            // `*` is somewhere before it
            place.checked_sub(1)
        } else {
            Some(place + 1)
        };
        match next.and_then(|next| tokens.get(next)) {
            // the end of the id
            None => {}
            Some(Token::Literal(text)) => {
                let separator = if behind {
                    text.chars().next_back()
                } else {
                    text.chars().next()
                };
                separators.extend(separator.map(|separator| (*placeholder, separator)));
            }
            Some(other) => return Err(ambiguous(tokens, *placeholder, other)),
        }
    }
    Ok(separators.into())
}

/// An id that two clients could have, because a name and what is beside it have no border.
fn ambiguous(tokens: &[Token], name: Placeholder, beside: &Token) -> PatternError {
    let value = |token: &Token, other: bool| match token {
        Token::Literal(text) => text.to_string(),
        Token::Placeholder(it) if *it == name => if other { "aa" } else { "a" }.to_owned(),
        token if token == beside => if other { "a" } else { "aa" }.to_owned(),
        Token::Placeholder(_) | Token::Rest => "a".to_owned(),
    };
    let id = tokens.iter().map(|token| value(token, false)).collect();
    let named = |other| {
        let names = tokens.iter().filter_map(|token| match token {
            Token::Placeholder(it) => Some(format!("{} `{}`", it.what(), value(token, other))),
            Token::Literal(_) | Token::Rest => None,
        });
        names.collect::<Vec<_>>().join(", ")
    };
    PatternError::Ambiguous {
        one: named(false),
        other: named(true),
        id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Names<'_> {
        Names::new("", Some(name)).common_name("n")
    }

    #[test]
    fn an_id_tells_whose_it_is() {
        let names = ["a", "b", "ab", "a-", "-a", "a-b", "b-a", "-", "aa", "n"];
        for text in [
            "${username}-*",
            "*-${username}",
            "${username}",
            "x${username}",
            "${cn}-${username}-*",
            "${username}-x*y-${cn}",
            "a*b-${username}",
            "${username}-${cn}",
        ] {
            let pattern = Pattern::template(text).expect("a pattern");
            let mut owners = std::collections::HashMap::new();
            for name in names {
                for rest in names {
                    let Ok(id) = pattern.fill(user(name), rest) else {
                        continue;
                    };
                    assert_eq!(pattern.matches(user(name), &id), Ok(true), "{text} {id}");
                    let owner = *owners.entry(id.clone()).or_insert(name);
                    assert_eq!(owner, name, "{text} {id}");
                }
            }
            assert!(owners.len() > 1, "{text}");
            // and nobody else may use it
            for (id, owner) in owners {
                for name in names.into_iter().filter(|name| *name != owner) {
                    assert_ne!(pattern.matches(user(name), &id), Ok(true), "{text} {id}");
                }
            }
        }
    }

    #[test]
    fn names_with_a_separator_are_unusable() {
        let pattern = Pattern::template("${username}-*").expect("a pattern");
        let unusable = Unusable::Separator(Placeholder::Username, '-');
        assert_eq!(pattern.matches(user("a-b"), "a-b-c"), Err(unusable));
        let missing = Unusable::Missing(Placeholder::Username);
        for names in [Names::new("x", None), user("")] {
            assert_eq!(pattern.matches(names, "-x"), Err(missing));
        }
        // what is chosen is not nothing
        assert_eq!(pattern.matches(user("a"), "a-"), Ok(false));
        assert_eq!(pattern.matches(user("a"), "a--"), Ok(true));
    }

    #[test]
    fn what_does_not_tell_whose_it_is_is_refused_with_an_example() {
        for (parsed, expected) in [
            (
                Pattern::template("${username}*"),
                "a client with user name `a` and another with user name `aa` could both have the \
                 client id `aaa`",
            ),
            (
                Pattern::prefix("${username}"),
                "a client with user name `a` and another with user name `aa` could both have the \
                 client id `aaa`",
            ),
            (
                Pattern::template("*${username}"),
                "a client with user name `a` and another with user name `aa` could both have the \
                 client id `aaa`",
            ),
            (
                Pattern::template("x-${username}${cn}"),
                "a client with user name `a`, common name `aa` and another with user name `aa`, common \
                 name `a` could both have the client id `x-aaa`",
            ),
            (Pattern::template(""), "the pattern is empty"),
            (
                Pattern::template("${cn}-${cn}"),
                "the pattern contains `${cn}` twice",
            ),
            (
                Pattern::template("*-*"),
                "`*` may stand once in a template, and not in a prefix",
            ),
            (
                Pattern::prefix("x*"),
                "`*` may stand once in a template, and not in a prefix",
            ),
            (
                Pattern::prefix("${client_id}-"),
                "a pattern of client ids cannot contain `${client_id}`",
            ),
        ] {
            assert_eq!(
                parsed.map_err(|error| error.to_string()),
                Err(expected.to_owned())
            );
        }
    }
}
