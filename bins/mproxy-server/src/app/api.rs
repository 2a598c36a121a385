//! The proxy's side of the admin API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mproxy_admin::{
    Admin, BanEntry, BanList, BanRefused, Bannable, BoxFuture, Connection, Crl, Disconnect, Drain,
    DrainHow, DrainRefused, NewBan, ReloadRefused, Reloaded, ScoreEntry,
};
use mproxy_codec::{Direction, ReasonCode};
use mproxy_layers::acl::{Network, NetworkError};
use mproxy_session::{CloseReason, Order, SessionInfo, When};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::bans::{Banned, Bans, Full, Subject};
use super::event::{Asker, DrainRequest, Event, Reload, ReloadError, Sender, UndoRequest};
use super::lists::{ListFiles, Lists};
use super::progress::Progress;
use super::registry::{Listed, Registry};
use super::sockets::BindError;

/// A bearer token; `None` = no token is accepted.
pub(crate) type Token = ArcSwap<Option<Arc<str>>>;

/// The proxy, for the admin port.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) events: Sender,
    pub(crate) registry: Registry,
    pub(crate) bans: Arc<Bans>,
    /// The bearer token of callers; a reload may change it.
    pub(crate) token: Arc<Token>,
    pub(crate) progress: Progress,
    pub(crate) lists: Lists,
    pub(crate) list_files: Arc<ListFiles>,
}

impl mproxy_admin::Api for Api {
    fn needs_token(&self) -> bool {
        self.token.load().is_some()
    }

    fn is_authorized(&self, token: &str) -> bool {
        use subtle::ConstantTimeEq;
        let own = self.token.load();
        own.as_ref()
            .as_ref()
            .is_some_and(|own| own.as_bytes().ct_eq(token.as_bytes()).into())
    }

    fn reload(&self, strict: bool) -> BoxFuture<Result<Reloaded, ReloadRefused>> {
        let events = self.events.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let reload = Reload {
                is_strict: strict,
                answer: Some(answer),
                ..Reload::by(Asker::Admin)
            };
            events.send(Event::Reload(reload)).await;
            // no answer: the proxy has stopped
            let outcome = answered.await.unwrap_or(Err(ReloadError::Draining));
            outcome.map_err(refused)
        })
    }

    fn drain(&self, how: &DrainHow) -> BoxFuture<Result<Drain, DrainRefused>> {
        let timeout = how.timeout;
        self.ask(move |answer| Event::Drain(DrainRequest { timeout, answer }))
    }

    fn drain_state(&self) -> Drain {
        self.progress.with(self.registry.len())
    }

    fn undo_drain(&self) -> BoxFuture<Result<Drain, DrainRefused>> {
        self.ask(|answer| Event::Undo(UndoRequest { answer }))
    }

    fn connections(&self) -> Vec<Connection> {
        self.registry.listed().filter_map(connection).collect()
    }

    fn connection(&self, id: u64) -> Option<Connection> {
        self.registry.find(id).and_then(connection)
    }

    fn disconnect(&self, id: u64, how: &Disconnect) -> bool {
        let Some(Listed { handle, .. }) = self.registry.find(id) else {
            return false;
        };
        let reason_code = ReasonCode::new(how.reason_code);
        let info = handle.info();
        tracing::info!(
            target: "mproxy::server",
            event = "kick",
            listener = info.map(|it| &*it.peer().listener),
            peer = info.map(|it| tracing::field::display(it.peer())),
            client_id = info.map(SessionInfo::client_id),
            reason_code = reason_code.as_str(),
            session = id,
            "a client was disconnected through the admin port"
        );
        // without a name, there is nothing that would be known again
        let named = info.filter(|info| !info.client_id().is_empty());
        if let (Some(info), Some(seconds)) = (named, how.ban_s) {
            let subject = Subject::client_id(info.client_id());
            // if there is no room, it is logged
            let _ = self.bans.ban(subject, term(seconds), Some("kicked"));
        }
        let order = Order::new(CloseReason::Kicked, reason_code).when(When::Now);
        handle.close(order);
        true
    }

    fn bans(&self) -> BanList {
        let (bans, scores) = self.bans.list();
        BanList {
            total: bans.len(),
            threshold: self.bans.threshold(),
            total_scores: scores.len(),
            bans: bans.iter().map(ban_entry).collect(),
            scores: scores
                .iter()
                .map(|it| ScoreEntry {
                    subject: it.subject.kind().as_str(),
                    value: it.subject.value(),
                    points: it.points,
                })
                .collect(),
        }
    }

    fn ban(&self, subject: Bannable<'_>, new: &NewBan) -> Result<usize, BanRefused> {
        let subject = subject_of(subject)?;
        let term = match new.for_s {
            Some(seconds) => term(seconds),
            None => Some(self.bans.usual_term()),
        };
        let made = self.bans.ban(subject.clone(), term, new.reason.as_deref());
        made.map_err(|Full| BanRefused::Full)?;
        Ok(self.end_sessions_of(&subject))
    }

    fn lift(&self, subject: Bannable<'_>) -> Result<bool, BanRefused> {
        Ok(self.bans.lift(&subject_of(subject)?))
    }

    fn crls(&self) -> Vec<Crl> {
        let mut crls = self.lists.report();
        crls.extend(self.list_files.report());
        crls
    }

    fn fetch_crls(&self) -> BoxFuture<Vec<Crl>> {
        let lists = self.lists.clone();
        Box::pin(async move {
            lists.fetch_now().await;
            lists.report()
        })
    }
}

impl Api {
    /// Ends the sessions of a banned subject.
    fn end_sessions_of(&self, subject: &Subject) -> usize {
        // DISCONNECT has no code for a ban
        let order = Order::new(CloseReason::Banned, ReasonCode::ADMINISTRATIVE_ACTION);
        let order = order.when(When::Now).without_will();
        let running = self.registry.running();
        let banned = running.filter(|it| it.info().is_some_and(|info| subject.is_of(info)));
        banned.map(|handle| handle.close(order)).count()
    }
}

/// How long a ban lasts; `None` = until it is lifted.
fn term(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn subject_of(subject: Bannable<'_>) -> Result<Subject, BanRefused> {
    Ok(match subject {
        Bannable::Address(text) => {
            let network: Result<Network, NetworkError> = text.trim().parse();
            Subject::Address(network.map_err(|error| BanRefused::Invalid(error.to_string()))?)
        }
        Bannable::Username("") | Bannable::ClientId("") => {
            let why = "an empty name is that of all clients without one";
            return Err(BanRefused::Invalid(why.to_owned()));
        }
        Bannable::Username(name) => Subject::username(name),
        Bannable::ClientId(name) => Subject::client_id(name),
        _ => return Err(BanRefused::Invalid("an unknown kind of subject".to_owned())),
    })
}

fn ban_entry(banned: &Banned) -> BanEntry {
    BanEntry {
        subject: banned.subject.kind().as_str(),
        value: banned.subject.value(),
        by: banned.ban.source.as_str(),
        detail: banned.ban.why().to_owned(),
        age_s: banned.ban.age().as_secs_f64(),
        remaining_s: banned.remaining.map(|it| it.as_secs_f64()),
    }
}

impl Api {
    /// Sends an event about the drain, and waits for its answer.
    fn ask(
        &self,
        event: impl FnOnce(oneshot::Sender<Result<Drain, DrainRefused>>) -> Event + Send + 'static,
    ) -> BoxFuture<Result<Drain, DrainRefused>> {
        let events = self.events.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            events.send(event(answer)).await;
            // no answer: the proxy has stopped
            answered.await.unwrap_or(Err(DrainRefused::Ending))
        })
    }
}

/// A session as it is listed; `None` before its client is admitted.
fn connection(listed: Listed) -> Option<Connection> {
    let handle = &listed.handle;
    let info = handle.info()?;
    let [to_server, to_client] =
        [Direction::ToServer, Direction::ToClient].map(|it| handle.traffic(it));
    Some(Connection {
        id: handle.id().into(),
        listener: info.peer().listener.to_string(),
        peer: info.peer().address.map(|it| it.to_string()),
        client_id: info.client_id().to_owned(),
        username: info.user_name().map(str::to_owned),
        version: info.version().as_str(),
        keep_alive_s: info.keep_alive(),
        clean_start: info.clean_start(),
        age_s: listed.age().as_secs_f64(),
        packets_to_server: to_server.packets,
        packets_to_client: to_client.packets,
        bytes_to_server: to_server.bytes,
        bytes_to_client: to_client.bytes,
    })
}

/// Opens the admin port, if there is to be one, and returns its address.
///
/// # Errors
/// mproxy cannot listen there.
pub(super) async fn serve_admin(
    bind: Option<SocketAddr>,
    admin: Admin,
    abort: &CancellationToken,
) -> Result<Option<SocketAddr>, BindError> {
    let Some(bind) = bind else {
        return Ok(None);
    };
    let bind_error = |error| BindError {
        what: "the admin port".to_owned(),
        address: bind.into(),
        error,
    };
    let listener = mproxy_admin::bind(bind).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let abort = abort.clone().cancelled_owned();
    tokio::spawn(mproxy_admin::serve(listener, admin, abort));
    Ok(Some(address))
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
