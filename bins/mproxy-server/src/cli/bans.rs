//! `bans`: lists, makes and lifts the bans of the running proxy.

use super::admin::{ask, expect};
use super::args::{AdminArgs, ReportFormat};
use super::streams::print;
use super::table;
use crate::exit::Exit;
use clap::{Args, Subcommand};
use hyper::Method;
use mproxy_admin::{BanFilter, BanQuery, NewBan};
use mproxy_config::parse;
use serde_json::Value;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum BansCommand {
    /// List who is banned, and who has points
    List(ListArgs),
    /// Ban an address, a user name or a client identifier, and end its connections
    Add(AddArgs),
    /// Lift a ban, and forget the points
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Maximum number of each, up to 1000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Number of each to skip
    #[arg(long, value_name = "COUNT", default_value = "0")]
    offset: usize,
    /// Output format: tables, or the JSON of the admin port
    #[arg(long, value_name = "FMT", default_value = "text")]
    format: ReportFormat,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    subject: SubjectArgs,
    /// How long the ban lasts, for example 10m [default: bans.duration]
    #[arg(long = "for", value_name = "DURATION", value_parser = term)]
    term: Option<Duration>,
    /// Until it is removed, or mproxy restarts
    #[arg(long, conflicts_with = "term")]
    forever: bool,
    /// Why, for the log and the list
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    subject: SubjectArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct SubjectArgs {
    /// An address or a network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/64
    #[arg(long, value_name = "ADDR")]
    address: Option<String>,
    /// A user name
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A client identifier
    #[arg(long, value_name = "ID")]
    client: Option<String>,
}

/// How long a ban lasts: the admin port counts in seconds, and none of them would mean forever.
pub(super) fn term(text: &str) -> Result<Duration, String> {
    let term = parse::<Duration>(text)?;
    match term < Duration::from_secs(1) {
        true => Err("a ban lasts at least 1s".to_owned()),
        false => Ok(term),
    }
}

impl SubjectArgs {
    /// As the admin port takes it.
    fn query(&self) -> BanQuery {
        BanQuery {
            address: self.address.clone(),
            username: self.username.clone(),
            client_id: self.client.clone(),
        }
    }
}

const PATH: &str = "/api/v1/bans";

pub(super) fn bans(command: &BansCommand) -> Result<(), Exit> {
    match command {
        BansCommand::List(args) => list(args),
        BansCommand::Add(args) => add(args),
        BansCommand::Remove(args) => remove(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    let filter = BanFilter {
        limit: args.limit,
        offset: args.offset,
    };
    let query = serde_urlencoded::to_string(filter).unwrap_or_default();
    let path = format!("{PATH}?{query}");
    let answer = expect(ask(&args.admin, &Method::GET, &path, String::new())?)?;
    match args.format {
        ReportFormat::Json => print(format!("{}\n", answer.body.trim_end()).as_bytes()),
        ReportFormat::Text => print(listed(&answer.json(), table::widest()).as_bytes()),
    }
}

fn add(args: &AddArgs) -> Result<(), Exit> {
    let subject = args.subject.query();
    let new = NewBan {
        address: subject.address,
        username: subject.username,
        client_id: subject.client_id,
        for_s: match args.forever {
            true => Some(0),
            false => args.term.map(|it| it.as_secs()),
        },
        reason: args.reason.clone(),
    };
    let body = serde_json::to_string(&new).unwrap_or_default();
    let answer = expect(ask(&args.admin, &Method::POST, PATH, body)?)?;
    let ended = answer.json()["disconnected"].as_u64().unwrap_or_default();
    print(format!("banned; disconnected: {ended}\n").as_bytes())
}

fn remove(args: &RemoveArgs) -> Result<(), Exit> {
    let query = serde_urlencoded::to_string(args.subject.query()).unwrap_or_default();
    let path = format!("{PATH}?{query}");
    expect(ask(&args.admin, &Method::DELETE, &path, String::new())?)?;
    print(b"lifted\n")
}

/// The bans, and below them the scores if there are any.
fn listed(answer: &Value, widest: usize) -> String {
    let all = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let (bans, scores) = (all("bans"), all("scores"));
    let total = |key: &str| answer[key].as_u64().unwrap_or_default();
    let rows = bans.iter().map(|it| {
        let remaining = match &it["remaining_s"] {
            Value::Null => "forever".to_owned(),
            remaining => table::seconds(remaining),
        };
        let text = |key: &str| table::cell(&it[key]);
        let age = table::seconds(&it["age_s"]);
        vec![
            text("subject"),
            text("value"),
            remaining,
            age,
            text("by"),
            text("detail"),
        ]
    });
    let head = ["BANNED", "VALUE", "REMAINING", "AGE", "BY", "DETAIL"];
    let mut out = table::of(&head, rows.collect(), widest);
    out.push_str(&format!("{} of {}\n", bans.len(), total("total")));
    if scores.is_empty() {
        return out;
    }
    let threshold = total("threshold");
    let rows = scores.iter().map(|it| {
        let text = |key: &str| table::cell(&it[key]);
        let points = it["points"].as_f64().unwrap_or_default();
        vec![
            text("subject"),
            text("value"),
            format!("{points:.0} of {threshold}"),
        ]
    });
    out.push('\n');
    out.push_str(&table::of(
        &["HAS POINTS", "VALUE", "POINTS"],
        rows.collect(),
        widest,
    ));
    out.push_str(&format!("{} of {}\n", scores.len(), total("total_scores")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--for 0s` and `--for 200ms` banned for a second.
    #[test]
    fn a_ban_of_no_whole_second_is_refused() {
        for text in ["0s", "200ms", "999ms"] {
            assert!(term(text).is_err(), "{text}");
        }
        assert_eq!(term("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(term("10m"), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn bans_stand_above_scores_and_names_cannot_be_disguised() {
        let answer = serde_json::json!({
            "total": 1, "threshold": 100, "total_scores": 1,
            "bans": [{
                "subject": "username", "value": "a\u{1b}[2J", "by": "admin", "detail": "stolen",
                "age_s": 61.0, "remaining_s": null,
            }],
            "scores": [{ "subject": "address", "value": "192.0.2.7", "points": 79.8 }],
        });
        assert_eq!(
            listed(&answer, usize::MAX),
            "BANNED    VALUE       REMAINING  AGE   BY     DETAIL\n\
             username  a\\u{1b}[2J  forever    1m1s  admin  stolen\n\
             1 of 1\n\
             \n\
             HAS POINTS  VALUE      POINTS\n\
             address     192.0.2.7  80 of 100\n\
             1 of 1\n"
        );
    }
}
