//! HAProxy in TCP mode.

use super::rig::{Recipe, Site, find, write};
use crate::error::Error;

pub(super) fn recipe(site: &Site<'_>) -> Result<Recipe, Error> {
    let path = write(site.dir, "haproxy.cfg", &config(site))?;
    let program = find("haproxy").unwrap_or_else(|| "haproxy".into());
    let program = program.to_string_lossy().into_owned();
    // -db: stay in the foreground, as one process.
    Ok(Recipe {
        command: vec![program, "-db".into(), "-f".into(), path],
        websocket: None,
    })
}

fn config(site: &Site<'_>) -> String {
    format!(
        "global
    nbthread 2
    maxconn {connections}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen mqtt
    bind 127.0.0.1:{port}{tls}
    server sink {sink}
",
        port = site.port,
        sink = site.sink,
        connections = site.connections,
        tls = site
            .tls
            .map(|tls| format!(" ssl crt {}", tls.both))
            .unwrap_or_default(),
    )
}
