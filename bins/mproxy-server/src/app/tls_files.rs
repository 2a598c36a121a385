//! The files of TLS while the proxy runs.
//!
//! Certificates are renewed by machines, every few days or hours. The files of TLS are read again when
//! they change, with the configuration as it is: one that is being edited does not come into effect.

use std::path::PathBuf;

use mproxy_config::{Config, Content, Contents};
use tokio::sync::watch::{self, Sender};

use super::event::{self, Asker};

/// The tables of TLS, and the files that each is read from.
fn tables(config: &Config) -> impl Iterator<Item = (String, Vec<&PathBuf>)> {
    let listeners = config.listeners.iter().filter_map(|listener| {
        let files = listener.tls.as_ref()?.files();
        Some((format!("listeners.{}.tls", listener.name), files.collect()))
    });
    let upstreams = config.upstreams.values().filter_map(|upstream| {
        let files = upstream.tls.as_ref()?.files();
        Some((format!("upstreams.{}.tls", upstream.name), files.collect()))
    });
    listeners.chain(upstreams)
}

/// What the files of TLS have now.
pub(super) fn contents(config: &Config) -> Contents {
    let files = tables(config).flat_map(|(_, files)| files);
    files
        .map(|file| (file.clone(), Content::of(file)))
        .collect()
}

/// The tables of TLS that have other files than before.
pub(super) fn changed(
    config: &Config,
    before: &Contents,
    now: &Contents,
) -> impl Iterator<Item = String> {
    let differs = |file| before.get(file) != now.get(file);
    tables(config).filter_map(move |(table, files)| files.into_iter().any(differs).then_some(table))
}

/// Watches the files of TLS, once there are any.
#[derive(Default)]
pub(super) struct Watch(Option<Sender<Contents>>);

impl Watch {
    /// Watches these files from now on.
    pub(super) fn follow(&mut self, files: &Contents, events: &event::Sender) {
        match &self.0 {
            Some(followed) => drop(followed.send_replace(files.clone())),
            None if files.is_empty() => {}
            None => {
                let (sender, receiver) = watch::channel(files.clone());
                match super::watch::watch(receiver, events.clone(), Asker::Certificates) {
                    Ok(watching) => drop(tokio::spawn(watching)),
                    Err(error) => tracing::warn!(
                        target: "mproxy::server",
                        event = "error",
                        detail = %error,
                        remedy = "reload by SIGHUP after each renewal, or raise \
                                  fs.inotify.max_user_instances",
                        "certificates are not watched"
                    ),
                }
                self.0 = Some(sender);
            }
        }
    }
}
