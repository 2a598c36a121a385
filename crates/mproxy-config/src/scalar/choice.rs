//! One word of a few.

use super::raw::Raw;
use super::{Problem, Scalar, closest, quoted, string};
use crate::choice::Choice;
use schemars::Schema;
use toml_edit::Value;

impl<T: Choice> Scalar for T {
    type Value = Self;

    fn expected() -> String {
        format!("one of {}", quoted(words::<Self>()))
    }

    fn read(raw: &Raw, _: bool) -> Result<Self, Problem> {
        let word = string::<Self>(raw)?;
        if let Some(value) = Self::from_word(word) {
            return Ok(value);
        }
        if Self::LATER.contains(&word) {
            return Err(Problem::new(
                format!("`{word}` is not available in this version"),
                Self::expected(),
            ));
        }
        let message = format!("unknown value `{word}`");
        if let Some((_, how)) = Self::ELSEWHERE.iter().find(|(it, _)| *it == word) {
            return Err(Problem::new(message, *how));
        }
        Err(match closest(word, words::<Self>()) {
            Some(near) => Problem::new(message, format!("did you mean `{near}`?"))
                .note(format!("expected {}", Self::expected())),
            None => Problem::expected::<Self>(message),
        })
    }

    fn show(value: &Self::Value) -> Value {
        value.word().into()
    }

    fn schema() -> Schema {
        let words: Vec<_> = words::<Self>().collect();
        schemars::json_schema!({ "type": "string", "enum": words })
    }
}

fn words<T: Choice>() -> impl Iterator<Item = &'static str> {
    T::ALL.iter().map(|(word, _)| *word)
}
