//! The way of a configuration from its texts to a [`Config`].

use super::context::Context;
use super::document::{Contents, Location, Override, Texts};
use super::environment::Environment;
use super::log::Log;
use super::root::{Config, ConfigKeys};
use super::section::Keys;
use super::validate::validate;
use crate::diagnostics::{Diagnostic, Report};
use std::collections::BTreeSet;

/// What a configuration is to be made of.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the files are.
    pub location: Location,
    /// `KEY=VALUE` from `--set`.
    pub set: Vec<String>,
    /// The address from `--listen`.
    pub listen: Option<String>,
    /// The address from `--upstream`.
    pub upstream: Option<String>,
    /// Whether what `${env:...}` and `${file:...}` name must be there.
    pub resolve: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless there are errors.
    pub config: Option<Config>,
    /// How to log, as far as it could be read: what refuses a configuration is logged, too.
    pub log: Log,
    /// The files and directories that it was read from, those that were inserted among them, as they
    /// were just before.
    pub read_from: Contents,
    /// Everything that was found wrong.
    pub report: Report,
    /// There is nothing in its files but comments.
    pub is_empty: bool,
    /// Keys whose values are secret.
    pub secrets: BTreeSet<String>,
}

impl Loaded {
    /// A configuration that was not even read, and why.
    #[must_use]
    pub fn refused(diagnostic: Diagnostic) -> Self {
        let mut report = Report::default();
        report.push(diagnostic);
        Self {
            config: None,
            log: Log::default(),
            report,
            read_from: Contents::new(),
            is_empty: false,
            secrets: BTreeSet::new(),
        }
    }
}

/// Reads and checks a configuration.
pub fn load(request: &Request, env: &Environment) -> Loaded {
    let mut cx = Context::default();
    let config = config(&mut cx, request, env);
    let log = config.as_ref().map(|config| config.log.clone());
    Loaded {
        log: log.unwrap_or_default(),
        config: config.filter(|_| cx.report.errors() == 0),
        report: cx.report,
        read_from: cx.read_from,
        is_empty: cx.is_empty,
        secrets: cx.secrets,
    }
}

/// Reads and checks a configuration that something in the process wrote: nothing of the
/// environment counts.
#[must_use]
pub fn load_text(text: &str) -> Loaded {
    let request = Request {
        location: Location::Text(text.to_owned()),
        set: Vec::new(),
        listen: None,
        upstream: None,
        resolve: true,
    };
    load(&request, &Environment::default())
}

/// Like [`load_text`], for a text that should be right.
///
/// # Errors
///
/// The problems, as the operator would see them.
pub fn from_text(text: &str) -> Result<Config, String> {
    let loaded = load_text(text);
    let report = loaded.report;
    loaded.config.ok_or_else(|| report.render(false))
}

fn config(cx: &mut Context, request: &Request, env: &Environment) -> Option<Config> {
    let files = request.location.read(cx);
    if cx.report.errors() > 0 {
        // Without a file, everything said about the rest would be guesswork.
        return None;
    }
    cx.is_empty = files.iter().all(|file| is_empty(&file.text));
    let overrides = overrides(cx, request, env);
    let texts = Texts { files, overrides };
    let root = texts.document(cx, env, request.resolve)?;
    let keys = ConfigKeys::take(cx, root, "");
    Some(validate(cx, &keys, env))
}

fn is_empty(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.all(|line| line.is_empty() || line.starts_with('#'))
}

fn overrides(cx: &mut Context, request: &Request, env: &Environment) -> Vec<Override> {
    // From the weakest to the strongest: what was typed for this run wins.
    let mut overrides = Override::from_environment(cx, env);
    for (flag, path, value) in [
        ("--listen", ["listeners", "mqtt", "bind"], &request.listen),
        (
            "--upstream",
            ["upstreams", "broker", "address"],
            &request.upstream,
        ),
    ] {
        overrides.extend(
            value
                .iter()
                .map(|it| Override::from_value(cx, flag, &path, it)),
        );
    }
    for text in &request.set {
        overrides.extend(Override::from_flag(cx, "--set", text));
    }
    overrides
}
