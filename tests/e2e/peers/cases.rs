//! What a client that is written in this program is tried with: the features of the scripts of
//! `tests/clients`, over TCP.

use std::fmt::Write;
use std::net::SocketAddr;

use futures_util::{StreamExt, stream};

use super::{FEATURES, WAYS};

/// A feature, in one version, on one way to the broker.
pub(super) struct Case<'a> {
    pub(super) version: &'a str,
    way: &'a str,
    pub(super) feature: &'a str,
    /// Of the broker, or of the proxy before it.
    pub(super) addr: SocketAddr,
    pub(super) broker: SocketAddr,
    pub(super) number: usize,
    /// The broker is known not to do it, or not always: it is not waited for long.
    pub(super) is_doubtful: bool,
}

impl Case<'_> {
    /// The beginning of its topics, for this client.
    pub(super) fn label(&self, client: &str) -> String {
        let Self {
            version,
            way,
            feature,
            ..
        } = self;
        format!("{client}/{version}/{way}/{feature}").replace('.', "")
    }
}

/// Tries every feature in every version, directly and through the proxy, so many at a time: a line for
/// each, as the scripts print them. `cannot` is what they are given as well: names of doubtful
/// features, and with a `!` before it of one that is not to be tried.
pub(super) async fn run(
    broker: SocketAddr,
    proxy: SocketAddr,
    versions: &[&str],
    cannot: &str,
    at_once: usize,
    attempt: impl AsyncFn(&Case<'_>) -> Result<(), String>,
) -> String {
    let mut cases = Vec::new();
    for version in versions {
        for (way, addr) in WAYS.into_iter().zip([broker, proxy]) {
            for feature in FEATURES {
                cases.push(Case {
                    version,
                    way,
                    feature,
                    addr,
                    broker,
                    number: cases.len(),
                    is_doubtful: cannot.split(',').any(|name| name == feature),
                });
            }
        }
    }
    let results: Vec<_> = stream::iter(&cases)
        .map(async |case| {
            let mut harmful = cannot.split(',').filter_map(|name| name.strip_prefix('!'));
            if harmful.any(|name| name == case.feature) {
                return Err("not tried".to_owned());
            }
            attempt(case).await
        })
        .buffered(at_once)
        .collect()
        .await;
    let mut output = String::new();
    for (case, result) in cases.iter().zip(results) {
        let result = result.map_or_else(|error| error.replace('\n', " "), |()| "ok".to_owned());
        let Case {
            version,
            way,
            feature,
            ..
        } = case;
        writeln!(output, "{version} {way} {feature}: {result}").expect("strings are writable");
    }
    output
}
