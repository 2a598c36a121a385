//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in strings.
//!
//! They are filled in after parsing, so that a value cannot break out of its string.
//! `${client_id}` and `${username}` are filled in later, for each session.

use super::regular::read_regular;
use crate::context::{Context, Filled};
use crate::environment::Environment;
use crate::scalar::Problem;
use mproxy_layers::template::{Placeholder, Token, tokens};
use std::borrow::Cow;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Maximum size of an inserted file in bytes: secrets are small.
const MAX_INSERTED: u64 = 64 << 10;

/// Fills in every string of the document.
pub(super) fn fill(cx: &mut Context, root: &mut DeTable<'_>, env: &Environment, resolve: bool) {
    Filler { cx, env, resolve }.table(root, "");
}

struct Filler<'a> {
    cx: &'a mut Context,
    env: &'a Environment,
    /// Whether a missing variable or file is an error.
    resolve: bool,
}

/// The value of a placeholder.
enum Part {
    Text(String),
    Secret(String),
    /// A placeholder of a layer: stays as it is.
    Other,
    /// Missing, which is allowed here.
    Unknown,
}

impl Filler<'_> {
    fn table(&mut self, table: &mut DeTable<'_>, path: &str) {
        for (key, value) in table.iter_mut() {
            let path = match path {
                "" => key.get_ref().to_string(),
                _ => format!("{path}.{}", key.get_ref()),
            };
            self.value(value, &path);
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, path: &str) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, path),
            DeValue::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{path}.{index}"));
                }
            }
            DeValue::String(text) if text.contains("${") => match self.string(text, path, &span) {
                Ok(Some(filled)) => *text = Cow::Owned(filled),
                Ok(None) => _ = self.cx.filled.insert(span.start, Filled::Unknown),
                Err(problem) => {
                    // Reported here; the value itself cannot be checked.
                    self.cx.filled.insert(span.start, Filled::Unknown);
                    self.cx.problem(span, problem);
                }
            },
            _ => {}
        }
    }

    fn string(
        &mut self,
        text: &str,
        path: &str,
        span: &Range<usize>,
    ) -> Result<Option<String>, Problem> {
        let mut out = String::with_capacity(text.len());
        for token in tokens(text) {
            let name = match token {
                Ok(Token::Text(text)) => {
                    out.push_str(text);
                    continue;
                }
                Ok(Token::Name(name)) => name,
                Err(_) => {
                    let message = "a placeholder is not closed";
                    return Err(Problem::new(message, "expected `}`"));
                }
            };
            match self.part(name, path)? {
                Part::Text(text) => {
                    out.push_str(&text);
                    let filled = self.cx.filled.entry(span.start);
                    filled.or_insert(Filled::Known);
                }
                Part::Secret(text) => {
                    out.push_str(&text);
                    self.cx.filled.insert(span.start, Filled::Secret);
                    self.cx.secrets.insert(path.to_owned());
                }
                Part::Unknown => return Ok(None),
                Part::Other => {
                    out.push_str("${");
                    out.push_str(name);
                    out.push('}');
                }
            }
        }
        Ok(Some(out))
    }

    fn part(&mut self, name: &str, path: &str) -> Result<Part, Problem> {
        if let Some(variable) = name.strip_prefix("env:") {
            return self.variable(variable);
        }
        if let Some(file) = name.strip_prefix("file:") {
            return self.file(file);
        }
        // Layers have placeholders of the session, and report unknown ones themselves.
        if path.starts_with("layers.") {
            return Ok(Part::Other);
        }
        let problem = Problem::new(
            format!("unknown placeholder `${{{name}}}`"),
            "expected `${env:NAME}`, `${env:NAME:-default}` or `${file:/path}`",
        );
        Err(match Placeholder::from_word(name) {
            Some(_) => problem.note("this placeholder works only in layers"),
            None => problem,
        })
    }

    fn variable(&self, variable: &str) -> Result<Part, Problem> {
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        // As in a shell, an empty variable counts as not set if there is a default.
        let value = match default {
            Some(_) => self.env.get(name).filter(|it| !it.is_empty()),
            None => self.env.get(name),
        };
        match value.or(default) {
            Some(value) => Ok(Part::Text(value.to_owned())),
            None if !self.resolve => Ok(Part::Unknown),
            None => Err(Problem::new(
                format!("environment variable `{name}` is not set"),
                format!("`${{env:{name}:-...}}` gives it a default"),
            )),
        }
    }

    fn file(&mut self, path: &str) -> Result<Part, Problem> {
        self.cx.reads(Path::new(path));
        match read_regular(Path::new(path), MAX_INSERTED) {
            // Editors and `echo` add a line end after a secret.
            Ok(text) => Ok(Part::Secret(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(_) if !self.resolve => Ok(Part::Unknown),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(Problem::new(
                format!("`{path}` is too large to be inserted"),
                "at most 64 KiB",
            )),
            Err(error) => Err(Problem::new(
                format!("cannot read `{path}`: {error}"),
                "the file to insert here",
            )),
        }
    }
}
