//! The routes that show or change traffic, as JSON.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::failure::Failure;
use super::guard::{guard, require_json};
use crate::api::{
    Api, BanFilter, BanQuery, BanRefused, Crls, Disconnect, Drain, DrainHow, DrainRefused, Filter,
    NewBan, ReloadRefused,
};

type Proxy = State<Arc<dyn Api>>;
type Id = Result<Path<u64>, PathRejection>;
type Answer = Result<Response, Failure>;

/// The routes of this proxy.
pub(super) fn router(api: &Arc<dyn Api>) -> Router {
    let reload = post(reload).route_layer(from_fn(require_json));
    let disconnect = post(disconnect).route_layer(from_fn(require_json));
    // a browser asks before it sends DELETE to another site
    let drained = get(drain_state).delete(undo_drain);
    let drain = post(drain).route_layer(from_fn(require_json));
    let fetch_crls = post(fetch_crls).route_layer(from_fn(require_json));
    let change_bans = post(ban).delete(lift).route_layer(from_fn(require_json));
    Router::new()
        .route("/api/v1/reload", reload)
        .route("/api/v1/drain", drain.merge(drained))
        .route("/api/v1/connections", get(connections))
        .route("/api/v1/connections/{id}", get(connection))
        .route("/api/v1/connections/{id}/disconnect", disconnect)
        .route("/api/v1/bans", get(bans).merge(change_bans))
        .route("/api/v1/crls", get(crls))
        .route("/api/v1/crls/fetch", fetch_crls)
        .method_not_allowed_fallback(async || {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not have this method",
                "use a method of the header Allow",
            )
        })
        .route_layer(from_fn_with_state(Arc::clone(api), guard))
        .with_state(Arc::clone(api))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    #[serde(default)]
    strict: Strict,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Strict {
    #[default]
    #[serde(rename = "false", alias = "0")]
    No,
    #[serde(rename = "true", alias = "1", alias = "")]
    Yes,
}

async fn reload(State(api): Proxy, query: Result<Query<ReloadQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let refused =
        |error: String, remedy| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error, remedy);
    match api.reload(query.strict == Strict::Yes).await {
        Ok(reloaded) => Ok(Json(reloaded).into_response()),
        Err(ReloadRefused::Invalid { error, diagnostics }) => {
            let remedy = "nothing has changed: correct what `report` names, and reload again";
            Err(refused(error, remedy).with("report", diagnostics))
        }
        Err(ReloadRefused::RestartRequired { restart_required }) => {
            let error = "some changes need a restart, and strict refuses those";
            let remedy = "nothing has changed: restart mproxy, or reload without strict";
            let failure = refused(error.to_owned(), remedy);
            Err(failure.with("restart_required", restart_required.into()))
        }
        Err(ReloadRefused::Draining) => Err(Failure::new(
            StatusCode::CONFLICT,
            "mproxy drains, and does not reload",
            "reload the process that replaces this one; or if this one is to stay, undo the drain \
             (mproxy-server drain --undo, or DELETE /api/v1/drain) and reload again",
        )),
    }
}

async fn drain(State(api): Proxy, body: Bytes) -> Answer {
    let how = match body.is_empty() {
        true => DrainHow::default(),
        false => serde_json::from_slice(&body).map_err(|error| {
            let remedy = "send {\"timeout\": \"25s\"}, or no body for server.drain_timeout";
            Failure::new(
                StatusCode::BAD_REQUEST,
                format!("the body: {error}"),
                remedy,
            )
        })?,
    };
    drained(api.drain(&how).await)
}

async fn drain_state(State(api): Proxy) -> Answer {
    drained(Ok(api.drain_state()))
}

async fn undo_drain(State(api): Proxy) -> Answer {
    drained(api.undo_drain().await)
}

fn drained(outcome: Result<Drain, DrainRefused>) -> Answer {
    let refused = |error: String, remedy| Failure::new(StatusCode::CONFLICT, error, remedy);
    match outcome {
        Ok(drain) => Ok(Json(drain).into_response()),
        Err(DrainRefused::Ending) => Err(refused(
            "mproxy has received a signal to stop, and ends".to_owned(),
            "start mproxy again",
        )),
        Err(DrainRefused::Closed(error)) => Err(refused(
            format!("the drain is not undone: {error}"),
            "stop the program that listens there, and undo the drain again; or restart mproxy",
        )),
    }
}

async fn connections(State(api): Proxy, filter: Result<Query<Filter>, QueryRejection>) -> Answer {
    let Query(filter) = filter.map_err(bad_query)?;
    off_thread(move || filter.page(api.connections())).await
}

async fn connection(State(api): Proxy, id: Id) -> Answer {
    let Path(id) = id.map_err(bad_id)?;
    let found = api.connection(id).ok_or_else(|| no_connection(id))?;
    Ok(Json(found).into_response())
}

async fn disconnect(State(api): Proxy, id: Id, body: Bytes) -> Answer {
    let Path(id) = id.map_err(bad_id)?;
    let wrong = |why: String| {
        let remedy = "send {\"reason_code\": N} with N from 128 to 255, or no body for 152";
        Failure::new(StatusCode::BAD_REQUEST, why, remedy)
    };
    let how = match body.is_empty() {
        true => Disconnect::default(),
        false => serde_json::from_slice(&body).map_err(|it| wrong(format!("the body: {it}")))?,
    };
    if how.reason_code < 0x80 {
        let why = "`reason_code`: only 128 to 255 tell a client why it is disconnected";
        return Err(wrong(why.to_owned()));
    }
    match api.disconnect(id, &how) {
        true => Ok(Json(json!({ "disconnected": id })).into_response()),
        false => Err(no_connection(id)),
    }
}

async fn bans(State(api): Proxy, filter: Result<Query<BanFilter>, QueryRejection>) -> Answer {
    let Query(filter) = filter.map_err(bad_query)?;
    off_thread(move || api.bans().page(&filter)).await
}

async fn ban(State(api): Proxy, body: Bytes) -> Answer {
    let wrong = |why: String| Failure::new(StatusCode::BAD_REQUEST, why, ONE_SUBJECT);
    let new: NewBan =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("the body: {error}")))?;
    let subject = new.subject().ok_or_else(no_subject)?;
    match api.ban(subject, &new) {
        Ok(ended) => Ok(Json(json!({ "disconnected": ended })).into_response()),
        Err(refused) => Err(not_banned(refused)),
    }
}

async fn lift(State(api): Proxy, query: Result<Query<BanQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let subject = query.subject().ok_or_else(no_subject)?;
    match api.lift(subject).map_err(not_banned)? {
        true => Ok(Json(json!({ "lifted": true })).into_response()),
        false => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "it is not banned, and has no points",
            "mproxy-server bans list, or GET /api/v1/bans, lists what is; the value must be the same",
        )),
    }
}

async fn crls(State(api): Proxy) -> Answer {
    Ok(Json(Crls { crls: api.crls() }).into_response())
}

async fn fetch_crls(State(api): Proxy) -> Answer {
    let crls = api.fetch_crls().await;
    Ok(Json(Crls { crls }).into_response())
}

const ONE_SUBJECT: &str =
    "name one subject: \"address\" (or a network), \"username\" or \"client_id\"";

/// What is invalid about a subject is the form of its address.
const NETWORK: &str =
    "write an address such as 192.0.2.7, or a network such as 192.0.2.0/24 or 2001:db8::/64";

fn no_subject() -> Failure {
    let why = "not exactly one subject is given";
    Failure::new(StatusCode::BAD_REQUEST, why, ONE_SUBJECT)
}

fn not_banned(refused: BanRefused) -> Failure {
    match refused {
        BanRefused::Invalid(why) => Failure::new(StatusCode::BAD_REQUEST, why, NETWORK),
        BanRefused::Full => Failure::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "there is no room for another ban",
            "lift some, or deny whole networks with listeners.*.deny",
        ),
    }
}

fn no_connection(id: u64) -> Failure {
    unknown(format!("there is no connection {id}; it may have ended"))
}

fn bad_id(rejection: PathRejection) -> Failure {
    unknown(rejection.body_text())
}

fn unknown(why: String) -> Failure {
    let remedy = "take an ID from mproxy-server conns list, or GET /api/v1/connections";
    Failure::new(StatusCode::NOT_FOUND, why, remedy)
}

fn bad_query(rejection: QueryRejection) -> Failure {
    let remedy = "GET / lists the parameters of each path";
    Failure::new(StatusCode::BAD_REQUEST, rejection.body_text(), remedy)
}

/// Sorts and writes a long list on a thread where it does not delay other requests.
async fn off_thread<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Answer {
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&work())).await;
    match written {
        Ok(Ok(json)) => Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response()),
        _ => Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
            "please report it",
        )),
    }
}
