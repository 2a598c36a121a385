//! The routes that show or change traffic, as JSON.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::guard::guard;
use crate::api::{Api, Disconnect, Filter, ReloadRefused};

/// The largest request body.
const MAX_BODY: usize = 16 * 1024;

type Proxy = State<Arc<dyn Api>>;

/// The routes of this proxy.
pub(super) fn router(api: &Arc<dyn Api>) -> Router {
    Router::new()
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/connections", get(connections))
        .route("/api/v1/connections/{id}", get(connection))
        .route("/api/v1/connections/{id}/disconnect", post(disconnect))
        .method_not_allowed_fallback(async || {
            let why = "another method is needed: / lists the paths and their methods";
            failure(StatusCode::METHOD_NOT_ALLOWED, why)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route_layer(middleware::from_fn_with_state(Arc::clone(api), guard))
        .with_state(Arc::clone(api))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    #[serde(default)]
    strict: Option<String>,
}

async fn reload(State(api): Proxy, query: Query<ReloadQuery>) -> Response {
    let strict = matches!(query.strict.as_deref(), Some("" | "true" | "1"));
    match api.reload(strict).await {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(ReloadRefused::Invalid { error, diagnostics }) => {
            let body = json!({ "error": error, "report": diagnostics });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        Err(ReloadRefused::RestartRequired { restart_required }) => {
            let error = "some changes need a restart, and strict refuses those";
            let body = json!({ "error": error, "restart_required": restart_required });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        Err(ReloadRefused::Draining) => failure(StatusCode::CONFLICT, "the proxy drains"),
    }
}

async fn connections(State(api): Proxy, Query(filter): Query<Filter>) -> Response {
    off_thread(move || filter.page(api.connections())).await
}

async fn connection(State(api): Proxy, Path(id): Path<u64>) -> Response {
    let found = api.connection(id);
    found.map_or_else(|| no_connection(id), |found| Json(found).into_response())
}

async fn disconnect(State(api): Proxy, Path(id): Path<u64>, body: Bytes) -> Response {
    let how = match body.is_empty() {
        true => Ok(Disconnect::default()),
        false => serde_json::from_slice::<Disconnect>(&body),
    };
    let how = match how {
        Ok(how) if how.reason_code >= 0x80 => how,
        Ok(_) => {
            let why =
                "`reason_code` must be one of 128 to 255: the client is told why it has to go";
            return failure(StatusCode::BAD_REQUEST, why);
        }
        Err(error) => return failure(StatusCode::BAD_REQUEST, &format!("the body: {error}")),
    };
    match api.disconnect(id, &how) {
        true => Json(json!({ "disconnected": id })).into_response(),
        false => no_connection(id),
    }
}

fn no_connection(id: u64) -> Response {
    failure(
        StatusCode::NOT_FOUND,
        &format!("there is no connection {id}; it may have ended"),
    )
}

/// Sorts and writes a long list where it holds up nobody.
async fn off_thread<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Response {
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&work())).await;
    match written {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        _ => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
        ),
    }
}

/// `{"error": why}`.
pub(super) fn failure(status: StatusCode, why: &str) -> Response {
    let body: Value = json!({ "error": why });
    (status, Json(body)).into_response()
}
