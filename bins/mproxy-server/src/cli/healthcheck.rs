//! `healthcheck`.

use super::admin::request;
use super::args::AdminArgs;
use super::streams::say;
use crate::exit::Exit;
use hyper::{Method, StatusCode};
use std::time::Duration;

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Exits 0 when the proxy says that it is ready, 1 otherwise; Docker reserves 2.
pub(super) fn healthcheck(args: &AdminArgs) -> Result<(), Exit> {
    let patience = args.timeout.unwrap_or(PATIENCE);
    match request(
        args,
        &Method::GET,
        "/readyz?verbose",
        String::new(),
        patience,
    ) {
        Ok(answer) if answer.status == StatusCode::OK => Ok(()),
        Ok(answer) => {
            say(format_args!(
                "not ready: {}\n{}\n",
                answer.status,
                answer.body.trim_end()
            ));
            Err(Exit::Failure)
        }
        Err(error) => {
            say(format_args!("not ready: {}: {error}\n", args.url));
            Err(Exit::Failure)
        }
    }
}
