//! `crls`: lists the revocation lists of the running proxy, and has them fetched.

use super::admin::{ask, expect};
use super::args::{AdminArgs, ReportFormat};
use super::streams::{print, say};
use super::table;
use crate::exit::Exit;
use crate::telemetry::harmless;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(super) enum CrlsCommand {
    /// List the revocation lists: those in files, and those that are fetched
    List(CrlsArgs),
    /// Fetch the lists of crl_urls now, and wait until they are in effect
    ///
    /// For a CA that has just revoked a certificate. Fails if a list cannot be fetched; the one before
    /// stays in use then.
    Fetch(CrlsArgs),
}

#[derive(Debug, Args)]
pub(super) struct CrlsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Output format: a table, or the JSON of the admin port
    #[arg(long, value_name = "FMT", default_value = "text")]
    format: ReportFormat,
}

pub(super) fn crls(command: &CrlsCommand) -> Result<(), Exit> {
    match command {
        CrlsCommand::List(args) => {
            let answer = show(args, &Method::GET, "/api/v1/crls")?;
            say(format_args!("{}", failures(&answer, "warning")));
            Ok(())
        }
        CrlsCommand::Fetch(args) => {
            let answer = show(args, &Method::POST, "/api/v1/crls/fetch")?;
            if answer["crls"].as_array().is_none_or(Vec::is_empty) {
                say(format_args!(
                    "no listener has crl_urls: nothing is fetched\n"
                ));
            }
            let failures = failures(&answer, "error");
            say(format_args!("{failures}"));
            match failures.is_empty() {
                true => Ok(()),
                false => Err(Exit::Failure),
            }
        }
    }
}

/// Sends a request, and prints the lists in the answer.
fn show(args: &CrlsArgs, method: &Method, path: &str) -> Result<Value, Exit> {
    let answer = expect(ask(&args.admin, method, path, String::new())?)?;
    let json = answer.json();
    match args.format {
        ReportFormat::Json => print(format!("{}\n", answer.body.trim_end()).as_bytes())?,
        ReportFormat::Text => print(listed(&json, table::widest()).as_bytes())?,
    }
    Ok(json)
}

fn listed(answer: &Value, widest: usize) -> String {
    let crls = answer["crls"].as_array().cloned().unwrap_or_default();
    let rows = crls.iter().map(|it| {
        let text = |key: &str| table::cell(&it[key]);
        let used_by = it["used_by"].as_array().into_iter().flatten();
        let used_by: Vec<_> = used_by.map(table::cell).collect();
        vec![
            text("source"),
            used_by.join(", "),
            text("state"),
            text("this_update"),
            text("next_update"),
            table::seconds(&it["fetch"]["age_s"]),
            table::seconds(&it["fetch"]["remaining_s"]),
        ]
    });
    let head = [
        "LIST",
        "USED BY",
        "STATE",
        "THIS UPDATE",
        "NEXT UPDATE",
        "FETCHED",
        "NEXT FETCH",
    ];
    table::of(&head, rows.collect(), widest)
}

/// Why lists were not fetched, a line each.
fn failures(answer: &Value, severity: &str) -> String {
    let crls = answer["crls"].as_array().into_iter().flatten();
    let failures = crls.filter_map(|it| {
        let error = it["fetch"]["error"].as_str()?;
        let source = table::cell(&it["source"]);
        Some(format!("{severity}: {source}: {}\n", harmless(error)))
    });
    failures.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_row_and_a_failure_a_line() {
        let answer = serde_json::json!({ "crls": [
            {
                "source": "http://pki.example.com:80/ca.crl", "used_by": ["listeners.a", "listeners.b"],
                "state": "valid", "this_update": "2026-01-01T00:00:00Z",
                "next_update": "2026-01-08T00:00:00Z",
                "fetch": {
                    "successes": 1, "failures": 1, "age_s": 61.2, "remaining_s": 3.0,
                    "error": "the server answers 404\u{1b}[2J",
                },
            },
            {
                "source": "/etc/ca.crl", "used_by": ["upstreams.broker"], "state": "expired",
                "this_update": null, "next_update": null, "fetch": null,
            },
        ] });
        assert_eq!(
            listed(&answer, usize::MAX),
            "LIST                              USED BY                   STATE    THIS UPDATE           NEXT UPDATE           FETCHED  NEXT FETCH\n\
             http://pki.example.com:80/ca.crl  listeners.a, listeners.b  valid    2026-01-01T00:00:00Z  2026-01-08T00:00:00Z  1m1s     3s\n\
             /etc/ca.crl                       upstreams.broker          expired  -                     -                     -        -\n"
        );
        assert_eq!(
            failures(&answer, "error"),
            "error: http://pki.example.com:80/ca.crl: the server answers 404\\u{1b}[2J\n"
        );
    }
}
