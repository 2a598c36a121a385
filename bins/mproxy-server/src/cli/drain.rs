//! `drain`: sends the clients of the running proxy away, which stays; or lets them in again.

use super::admin::{Answer, ask, request};
use super::args::DrainArgs;
use super::streams::{print, say};
use crate::exit::Exit;
use hyper::{Method, StatusCode};
use serde_json::json;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATH: &str = "/api/v1/drain";

/// How often the proxy is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// How much longer than the drain to wait for its end.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for an answer about the progress.
const PATIENCE: Duration = Duration::from_secs(5);

/// Begins a drain, and waits for its end if that is wanted; or undoes it.
pub(super) fn drain(args: &DrainArgs) -> Result<(), Exit> {
    let (method, body) = match (args.undo, args.wait) {
        (true, _) => (Method::DELETE, String::new()),
        (false, None) => (Method::POST, String::new()),
        (false, Some(wait)) => {
            let timeout = humantime::format_duration(wait).to_string();
            (Method::POST, json!({ "timeout": timeout }).to_string())
        }
    };
    let begun = Instant::now();
    let answer = ask(&args.admin, &method, PATH, body)?;
    if answer.status != StatusCode::OK {
        say(format_args!("error: {}\n{}", answer.error(), answer.note()));
        return Err(Exit::Failure);
    }
    match args.wait {
        Some(wait) if !is_over(&answer) => until_over(args, begun, wait),
        _ => print(shown(&answer).as_bytes()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command has no connections that wait for this thread"
)]
/// Waits until no session is left. The end of the process is as good.
fn until_over(args: &DrainArgs, begun: Instant, wait: Duration) -> Result<(), Exit> {
    loop {
        sleep(LOOK);
        match request(&args.admin, &Method::GET, PATH, String::new(), PATIENCE) {
            Ok(answer) if answer.status != StatusCode::OK => {
                say(format_args!("error: {}\n{}", answer.error(), answer.note()));
                return Err(Exit::Failure);
            }
            Ok(answer) if answer.json()["state"] == "serving" => {
                say(format_args!(
                    "error: the drain was undone: {}",
                    shown(&answer)
                ));
                return Err(Exit::Failure);
            }
            Ok(answer) if is_over(&answer) => return print(shown(&answer).as_bytes()),
            Ok(answer) if begun.elapsed().saturating_sub(GRACE) > wait => {
                say(format_args!(
                    "error: not drained in time: {}",
                    shown(&answer)
                ));
                return Err(Exit::Failure);
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return print(b"mproxy has ended\n");
            }
            Err(error) => {
                say(format_args!("error: {}: {error}\n", args.admin.url));
                return Err(Exit::Unavailable);
            }
        }
    }
}

fn is_over(answer: &Answer) -> bool {
    let json = answer.json();
    json["state"] == "drained" && json["sessions"] == 0
}

fn shown(answer: &Answer) -> String {
    let json = answer.json();
    let state = json["state"].as_str().unwrap_or_default();
    match (state, json["sessions"].as_u64().unwrap_or_default()) {
        ("drained", 0) => "drained: no session is left\n".to_owned(),
        (state, 1) => format!("{state}: 1 session\n"),
        (state, count) => format!("{state}: {count} sessions\n"),
    }
}
