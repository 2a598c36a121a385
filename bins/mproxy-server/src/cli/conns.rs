//! `conns`: lists, shows and ends the connections of the running proxy.

use super::admin::{Answer, ask, expect};
use super::args::{AdminArgs, ReportFormat};
use super::bans::term;
use super::streams::{print, say};
use super::table;
use crate::exit::Exit;
use clap::{Args, Subcommand, ValueEnum};
use hyper::{Method, StatusCode};
use mproxy_admin::{Disconnect, Filter, Sort};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum ConnsCommand {
    /// List connections, by default the 100 oldest
    List(ListArgs),
    /// Print one connection as JSON
    Show(ShowArgs),
    /// Disconnect clients; MQTT 5 clients receive the reason
    Kick(KickArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only clients whose identifier matches; * is any text, ? any character
    #[arg(long, value_name = "GLOB")]
    client: Option<String>,
    /// Only users whose name matches
    #[arg(long, value_name = "GLOB")]
    username: Option<String>,
    /// Only clients from this address
    #[arg(long, value_name = "ADDR")]
    ip: Option<IpAddr>,
    /// Only clients of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Order of the list
    #[arg(long, value_name = "KEY", default_value = "age")]
    sort: SortKey,
    /// Maximum number of connections, up to 1000 [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Number of connections to skip
    #[arg(long, value_name = "COUNT", default_value = "0")]
    offset: usize,
    /// Output format: a table, or the JSON of the admin port
    #[arg(long, value_name = "FMT", default_value = "text")]
    format: ReportFormat,
}

/// What comes first in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SortKey {
    /// Oldest first
    Age,
    /// Most bytes transferred first
    Bytes,
    /// By client identifier
    Client,
}

impl ListArgs {
    /// The query for the admin port.
    fn filter(&self) -> Filter {
        Filter {
            client: self.client.clone(),
            username: self.username.clone(),
            ip: self.ip,
            listener: self.listener.clone(),
            sort: match self.sort {
                SortKey::Age => Sort::Age,
                SortKey::Bytes => Sort::Bytes,
                SortKey::Client => Sort::Client,
            },
            limit: self.limit,
            offset: self.offset,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The number of the connection, from `conns list`
    id: u64,
}

#[derive(Debug, Args)]
pub(super) struct KickArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The number of the connection, from `conns list`
    #[arg(required_unless_present = "client", conflicts_with = "client")]
    id: Option<u64>,
    /// All clients whose identifier matches; * is any text, ? any character
    #[arg(long, value_name = "GLOB")]
    client: Option<String>,
    /// Reason code for MQTT 5 clients: 128 to 255, or 0x80 to 0xFF
    #[arg(long, value_name = "CODE", default_value = "0x98", value_parser = reason_code)]
    reason_code: u8,
    /// Ban the client identifiers for this time, for example 10m
    #[arg(long, value_name = "DURATION", value_parser = term)]
    ban: Option<Duration>,
}

/// A reason code for the DISCONNECT of a server.
fn reason_code(text: &str) -> Result<u8, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => text.parse(),
    };
    let code = parsed.map_err(|error| error.to_string())?;
    match code {
        0x80.. => Ok(code),
        _ => Err("expected 128 to 255, the codes of a DISCONNECT with an error".to_owned()),
    }
}

/// Maximum connections per request.
const PAGE: usize = 1000;

pub(super) fn conns(command: &ConnsCommand) -> Result<(), Exit> {
    match command {
        ConnsCommand::List(args) => list(args),
        ConnsCommand::Show(args) => show(&args.admin, args.id),
        ConnsCommand::Kick(args) => kick(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    let answer = page(&args.admin, &args.filter())?;
    match args.format {
        ReportFormat::Json => print(format!("{}\n", answer.body.trim_end()).as_bytes()),
        ReportFormat::Text => print(listed(&answer.json(), table::widest()).as_bytes()),
    }
}

fn show(admin: &AdminArgs, id: u64) -> Result<(), Exit> {
    let path = format!("/api/v1/connections/{id}");
    let answer = expect(ask(admin, &Method::GET, &path, String::new())?)?;
    print(format!("{:#}\n", answer.json()).as_bytes())
}

fn kick(args: &KickArgs) -> Result<(), Exit> {
    let ids = match args.id {
        Some(id) => vec![id],
        None => matching(args)?,
    };
    if ids.is_empty() {
        say(format_args!("{}", nobody(args.ban.is_some())));
    }
    let how = Disconnect {
        reason_code: args.reason_code,
        ban_s: args.ban.map(|it| it.as_secs()),
    };
    let body = serde_json::to_string(&how).unwrap_or_default();
    let mut ended = 0;
    for id in &ids {
        let path = format!("/api/v1/connections/{id}/disconnect");
        let answer = ask(&args.admin, &Method::POST, &path, body.clone())?;
        // a listed client may have left by itself
        if args.id.is_none() && answer.status == StatusCode::NOT_FOUND {
            continue;
        }
        expect(answer)?;
        ended += 1;
    }
    print(format!("disconnected: {ended}\n").as_bytes())
}

/// What `kick --client` says if there is nobody to disconnect.
const fn nobody(bans: bool) -> &'static str {
    match bans {
        true => {
            "warning: no connected client matches, and nobody is banned; mproxy-server bans add \
             --client ID bans a client that is not connected\n"
        }
        false => "warning: no connected client matches\n",
    }
}

/// The connections that match the glob of `kick --client`.
fn matching(args: &KickArgs) -> Result<Vec<u64>, Exit> {
    let mut filter = Filter {
        client: args.client.clone(),
        limit: Some(PAGE),
        ..Filter::default()
    };
    let mut ids = Vec::new();
    loop {
        let json = page(&args.admin, &filter)?.json();
        let connections = json["connections"].as_array().into_iter().flatten();
        let before = ids.len();
        ids.extend(connections.filter_map(|it| it["id"].as_u64()));
        if ids.len() - before < PAGE {
            return Ok(ids);
        }
        filter.offset += PAGE;
    }
}

fn page(admin: &AdminArgs, filter: &Filter) -> Result<Answer, Exit> {
    let query = serde_urlencoded::to_string(filter).unwrap_or_default();
    let path = format!("/api/v1/connections?{query}");
    expect(ask(admin, &Method::GET, &path, String::new())?)
}

fn listed(page: &Value, widest: usize) -> String {
    let head = [
        "ID",
        "CLIENT",
        "USERNAME",
        "PEER",
        "LISTENER",
        "VERSION",
        "AGE",
        "TO-SERVER",
        "TO-CLIENT",
    ];
    let connections = page["connections"].as_array().into_iter().flatten();
    let rows = connections.map(|it| {
        let text = |key: &str| table::cell(&it[key]);
        [
            text("id"),
            text("client_id"),
            text("username"),
            text("peer"),
            text("listener"),
            text("version"),
            table::seconds(&it["age_s"]),
            text("bytes_to_server"),
            text("bytes_to_client"),
        ]
        .into()
    });
    let rows: Vec<_> = rows.collect();
    let shown = rows.len();
    let mut out = table::of(&head, rows, widest);
    let total = page["total"].as_u64().unwrap_or_default();
    out.push_str(&format!("{shown} of {total}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_cannot_be_disguised() {
        let page = serde_json::json!({
            "total": 2,
            "connections": [{
                "id": 7, "client_id": "a\u{1b}[2Jb\u{202e}", "username": null, "peer": "10.0.0.1:5",
                "listener": "mqtt", "version": "5", "age_s": 61.5,
                "bytes_to_server": 1, "bytes_to_client": 20
            }]
        });
        assert_eq!(
            listed(&page, usize::MAX),
            "ID  CLIENT               USERNAME  PEER        LISTENER  VERSION  AGE   TO-SERVER  TO-CLIENT\n\
             7   a\\u{1b}[2Jb\\u{202e}  -         10.0.0.1:5  mqtt      5        1m1s  1          20\n\
             1 of 2\n"
        );
    }

    /// Client ids of 65,535 bytes pushed the other columns out of sight, and wide characters moved them.
    #[test]
    fn long_cells_are_cut_and_columns_stay_in_line() {
        let row = |client_id: &str| serde_json::json!({ "id": 7, "client_id": client_id });
        let rows = [row("泵泵泵泵泵"), row("e\u{301}"), row(&"x".repeat(99))];
        let table = listed(&serde_json::json!({ "connections": rows }), 8);
        for line in table.lines().skip(1).take(3) {
            let (client, _) = line.split_once("  -").expect("a missing user name");
            assert_eq!(client.width(), 12, "{table}");
        }
    }
}
