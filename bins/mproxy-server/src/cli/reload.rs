//! `reload`.

use super::admin::{Answer, ask};
use super::args::{ReloadArgs, ReportFormat};
use super::streams::{print, say};
use crate::exit::Exit;
use hyper::{Method, StatusCode};
use serde_json::Value;

/// Makes the running proxy reload its configuration, and prints the result.
pub(super) fn reload(args: &ReloadArgs) -> Result<(), Exit> {
    let path = match args.strict {
        true => "/api/v1/reload?strict",
        false => "/api/v1/reload",
    };
    let answer = ask(&args.admin, &Method::POST, path, String::new())?;
    let outcome = match answer.status {
        StatusCode::OK => Ok(()),
        StatusCode::UNPROCESSABLE_ENTITY => Err(Exit::Config),
        _ => Err(Exit::Failure),
    };
    let out = match args.format {
        ReportFormat::Json => format!("{}\n", answer.body.trim_end()),
        ReportFormat::Text if outcome.is_ok() => {
            let json = answer.json();
            say(format_args!("{}", problems(&json)));
            reloaded(&json)
        }
        ReportFormat::Text => {
            say(format_args!("{}", refused(&answer)));
            String::new()
        }
    };
    print(out.as_bytes())?;
    outcome
}

fn reloaded(answer: &Value) -> String {
    let list = |key: &str| {
        let keys = answer[key].as_array().into_iter().flatten();
        let keys: Vec<_> = keys.filter_map(Value::as_str).collect();
        keys.join(", ")
    };
    let (applied, restart) = (list("applied"), list("restart_required"));
    let mut out = match applied.is_empty() {
        true => "reloaded: nothing has changed\n".to_owned(),
        false => format!("reloaded: {applied}\n"),
    };
    if !restart.is_empty() {
        out.push_str(&format!("takes effect after a restart: {restart}\n"));
    }
    for (key, by) in answer["overridden"].as_object().into_iter().flatten() {
        let by = by.as_str().unwrap_or_default();
        out.push_str(&format!("no effect: {key}, because {by} sets it\n"));
    }
    out
}

/// The errors and warnings of the configuration, as a compiler shows them without the source.
fn problems(json: &Value) -> String {
    let mut out = String::new();
    let diagnostics = json["report"]["diagnostics"].as_array();
    for diagnostic in diagnostics.into_iter().flatten() {
        let text = |key: &str| diagnostic[key].as_str();
        let severity = text("severity").unwrap_or("error");
        out.push_str(&format!("{severity}: {}\n", text("message").unwrap_or("")));
        if let (Some(file), line, column) =
            (text("file"), &diagnostic["line"], &diagnostic["column"])
        {
            out.push_str(&format!(" --> {file}:{line}:{column}\n"));
        }
        let notes = diagnostic["notes"].as_array().into_iter().flatten();
        let notes = notes.filter_map(Value::as_str);
        for note in text("label").into_iter().chain(notes) {
            out.push_str(&format!("   = {note}\n"));
        }
    }
    out
}

fn refused(answer: &Answer) -> String {
    let json = answer.json();
    let mut out = problems(&json);
    let restart = json["restart_required"].as_array().into_iter().flatten();
    for key in restart.filter_map(Value::as_str) {
        out.push_str(&format!("error: `{key}` needs a restart\n"));
    }
    out.push_str(&format!(
        "not reloaded, the old configuration stays in effect: {}\n",
        answer.error()
    ));
    if answer.status != StatusCode::UNPROCESSABLE_ENTITY {
        out.push_str(&answer.note());
    }
    out
}
