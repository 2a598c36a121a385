//! What the admin port asks of the proxy.

use std::sync::Arc;

use mproxy_admin::{BoxFuture, Connection, Disconnect, ReloadRefused, Reloaded};
use tokio::sync::oneshot;

use super::event::{Asker, Event, Reload, Sender};
use super::reload::ReloadError;

/// The proxy, for the admin port.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) events: Sender,
    /// The bearer token of callers from other hosts; `None` = there are none.
    pub(crate) token: Option<Arc<str>>,
}

impl mproxy_admin::Api for Api {
    fn is_authorized(&self, token: &str) -> bool {
        use subtle::ConstantTimeEq;
        let own = self.token.as_deref().unwrap_or_default().as_bytes();
        !own.is_empty() && bool::from(own.ct_eq(token.as_bytes()))
    }

    fn reload(&self, strict: bool) -> BoxFuture<Result<Reloaded, ReloadRefused>> {
        let events = self.events.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let reload = Reload {
                by: Asker::Admin,
                is_strict: strict,
                answer: Some(answer),
            };
            events.send(Event::Reload(reload)).await;
            // nobody answers when the proxy has ended
            let outcome = answered.await.unwrap_or(Err(ReloadError::Draining));
            outcome.map(reloaded).map_err(refused)
        })
    }

    fn connections(&self) -> Vec<Connection> {
        Vec::new()
    }

    fn disconnect(&self, _id: u64, _how: &Disconnect) -> bool {
        false
    }
}

fn reloaded(changes: mproxy_config::Changes) -> Reloaded {
    Reloaded {
        applied: changes.applied,
        unchanged: changes.unchanged,
        restart_required: changes.restart_required,
    }
}

fn refused(error: ReloadError) -> ReloadRefused {
    match error {
        ReloadError::Refused(report) => ReloadRefused::Invalid {
            error: format!("the new configuration is refused: {}", report.tally()),
            diagnostics: report.to_json(false),
        },
        ReloadError::RestartRequired(restart_required) => {
            ReloadRefused::RestartRequired { restart_required }
        }
        ReloadError::Draining => ReloadRefused::Draining,
    }
}
