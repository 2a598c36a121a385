//! Names, paths, origins and log levels.

use super::raw::Raw;
use super::{Problem, Scalar, closest, string};
use std::path::{Path, PathBuf};
use toml_edit::Value;
use tracing_subscriber::filter::{Builder, EnvFilter};

/// Any text that is not empty and fits into one line.
#[derive(Debug)]
pub(crate) struct Text;

/// The path of a file; empty = none.
#[derive(Debug)]
pub(crate) struct FilePath;

/// The path of a file or a directory.
#[derive(Debug)]
pub(crate) struct AnyPath;

/// The path of a URL, or all that begin with one: `/tenant/*`.
#[derive(Debug)]
pub(crate) struct UrlPath;

/// The name of a header or a cookie: a token of HTTP (RFC 9110, section 5.6.2).
#[derive(Debug)]
pub(crate) struct Token;

/// A value of the HTTP header `Origin`.
#[derive(Debug)]
pub(crate) struct Origin;

/// A level, or directives in the syntax of `RUST_LOG`.
#[derive(Debug)]
pub struct LogLevel;

impl Scalar for Text {
    type Value = String;
    written!("a string", { "type": "string", "minLength": 1 }, as_str);

    fn read(raw: &Raw, _: bool) -> Result<String, Problem> {
        let text = string::<Self>(raw)?;
        if text.trim().is_empty() {
            return Err(Problem::new(
                "empty text",
                "write something here, or remove it",
            ));
        }
        if text.contains(char::is_control) {
            return Err(Problem::new(
                "text with control characters",
                "one line only",
            ));
        }
        Ok(text.to_owned())
    }
}

impl Scalar for Token {
    type Value = String;
    written!("the name of a header or a cookie", { "type": "string", "minLength": 1 }, as_str);

    fn read(raw: &Raw, _: bool) -> Result<String, Problem> {
        let text = string::<Self>(raw)?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match !text.is_empty() && text.bytes().all(is_token) {
            true => Ok(text.to_owned()),
            false => Err(Problem::expected::<Self>(format!(
                "`{text}` is not a name of HTTP"
            ))),
        }
    }
}

impl Scalar for FilePath {
    type Value = Option<PathBuf>;
    written!("the path of a file, or \"\" for none", { "type": "string" });

    fn read(raw: &Raw, _: bool) -> Result<Self::Value, Problem> {
        let path = string::<Self>(raw)?;
        if path.contains(char::is_control) {
            let message = "a path with control characters";
            return Err(Problem::new(message, "write the path of a file"));
        }
        Ok((!path.is_empty()).then(|| path.into()))
    }

    fn show(value: &Self::Value) -> Value {
        let path = value.as_deref().map(Path::to_string_lossy);
        path.unwrap_or_default().as_ref().into()
    }
}

impl Scalar for AnyPath {
    type Value = PathBuf;
    written!("a path", { "type": "string", "minLength": 1 });

    fn read(raw: &Raw, is_template: bool) -> Result<PathBuf, Problem> {
        Text::read(raw, is_template).map(Into::into)
    }

    fn show(value: &PathBuf) -> Value {
        value.to_string_lossy().as_ref().into()
    }
}

impl Scalar for UrlPath {
    type Value = String;
    written!(
        "a path such as \"/mqtt\"",
        { "type": "string", "pattern": "^/([^?#*\\s]*|([^?#*\\s]*/)?\\*)$", "examples": ["/mqtt", "/tenant/*"] },
        as_str
    );

    fn read(raw: &Raw, _: bool) -> Result<String, Problem> {
        let path = string::<Self>(raw)?;
        if !path.starts_with('/') {
            let message = format!("path `{path}` does not start with a slash");
            return Err(Problem::new(message, format!("did you mean `/{path}`?")));
        }
        let wrong = |it: char| !it.is_ascii_graphic() || matches!(it, '?' | '#');
        if let Some(wrong) = path.chars().find(|it| wrong(*it)) {
            let message = format!("path `{path}` contains {wrong:?}");
            return Err(Problem::new(
                message,
                "a path without query, percent-encoded",
            ));
        }
        let exact = path.strip_suffix("/*").unwrap_or(path);
        if exact.contains('*') {
            let message = format!("path `{path}` has a `*` that is not the last level");
            let label = match path.strip_suffix('*') {
                Some(prefix) if !prefix.contains('*') => format!("did you mean `{prefix}/*`?"),
                _ => "`*` is allowed only at the end: \"/tenant/*\"".to_owned(),
            };
            return Err(Problem::new(message, label));
        }
        Ok(path.to_owned())
    }
}

impl Scalar for Origin {
    type Value = String;
    written!(
        "an origin such as \"https://app.example.com\"",
        { "type": "string", "pattern": "^[^/]+://[^/]+$" },
        as_str
    );

    fn read(raw: &Raw, _: bool) -> Result<String, Problem> {
        let origin = string::<Self>(raw)?;
        let invalid = |label: String| Problem::new(format!("invalid origin `{origin}`"), label);
        if origin == "*" {
            return Err(invalid(
                "leave the list empty to let in any origin".to_owned(),
            ));
        }
        let Some((scheme, host)) = origin.split_once("://") else {
            return Err(invalid(format!("expected {}", Self::expected())));
        };
        if let Some((host, _)) = host.split_once('/') {
            // Browsers send no path, so a value with one would never match.
            return Err(invalid(format!("did you mean `{scheme}://{host}`?")));
        }
        let graphic = origin.chars().all(|it| it.is_ascii_graphic());
        if scheme.is_empty() || host.is_empty() || !graphic {
            return Err(invalid(format!("expected {}", Self::expected())));
        }
        Ok(origin.to_ascii_lowercase())
    }
}

impl Scalar for LogLevel {
    type Value = String;
    written!(
        "`error`, `warn`, `info`, `debug` or `trace`, or directives such as \
         \"info,mproxy::session=debug\"",
        { "type": "string", "examples": LEVELS },
        as_str
    );

    fn read(raw: &Raw, _: bool) -> Result<String, Problem> {
        let text = string::<Self>(raw)?;
        let refused = || format!("invalid log level `{text}`");
        for word in text.split(',').map(str::trim) {
            // `infoo` is a valid directive: all events of the crate of that name. Nobody
            // means that.
            let bare = !word.contains(['=', ':', '[']);
            if bare && !LEVELS.contains(&word) && !word.starts_with("mproxy") {
                let label = match closest(word, LEVELS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("expected {}", Self::expected()),
                };
                return Err(Problem::new(refused(), label));
            }
        }
        match log_filter().parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(Problem::new(refused(), error.to_string())),
        }
    }
}

/// Reads the directives of a log level.
///
/// Values of fields in them are text, not regular expressions: those are not compiled in linear time.
pub fn log_filter() -> Builder {
    EnvFilter::builder().with_regex(false)
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::*;

    fn label<S: Scalar>(text: &str) -> String {
        let problem = S::read(&Raw::String(text.to_owned()), false).err();
        problem.expect("the value is wrong").label
    }

    /// Found by the fuzzer: values of fields were compiled as regular expressions, which took some of
    /// them minutes.
    #[test]
    fn the_value_of_a_field_is_no_regular_expression() {
        let directive = format!("[span{{field={}=*{}}}]", ".".repeat(70), ".".repeat(10));
        let level = LogLevel::read(&Raw::String(directive.clone()), false);
        assert_eq!(level.ok(), Some(directive));
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_crate() {
        assert_eq!(label::<LogLevel>("infoo"), "did you mean `info`?");
        assert_eq!(label::<LogLevel>("info,wran"), "did you mean `warn`?");
        for good in [
            "info",
            "info,mproxy::session=debug",
            "mproxy_codec",
            "warn,[x]=info",
        ] {
            assert!(LogLevel::read(&Raw::String(good.to_owned()), false).is_ok());
        }
        assert!(LogLevel::read(&Raw::String("info,a=debugg".to_owned()), false).is_err());
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(
            label::<Origin>("https://a.b/"),
            "did you mean `https://a.b`?"
        );
        assert!(label::<Origin>("*").starts_with("leave the list empty"));
        assert!(label::<Origin>("a.b").starts_with("expected an origin"));
    }

    #[test]
    fn a_path_starts_with_a_slash() {
        assert_eq!(label::<UrlPath>("mqtt"), "did you mean `/mqtt`?");
        assert!(UrlPath::read(&Raw::String("/a?b".to_owned()), false).is_err());
    }

    #[test]
    fn a_star_is_the_last_level_of_a_path() {
        for good in ["/", "/mqtt", "/mqtt/", "/*", "/a/b/*"] {
            let path = UrlPath::read(&Raw::String(good.to_owned()), false);
            assert_eq!(path.as_deref(), Ok(good));
        }
        assert_eq!(label::<UrlPath>("/mqtt*"), "did you mean `/mqtt/*`?");
        for wrong in ["/*/x", "/a*b", "/*/*", "/**"] {
            assert!(
                label::<UrlPath>(wrong).starts_with("`*` is allowed only"),
                "{wrong}"
            );
        }
    }
}
