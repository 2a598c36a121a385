//! The routes that need no credentials: probes, metrics, version.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tracing::error;

use super::Admin;
use super::failure::Failure;
use crate::Format;

pub(super) fn router() -> Router<Admin> {
    Router::new()
        .route("/", get(index))
        .route("/livez", get(live))
        .route("/live", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
}

async fn index() -> &'static str {
    INDEX
}

/// Answers as long as the runtime turns. It must never look at the broker: a liveness probe that
/// fails restarts the proxy, which cannot bring a broker back.
async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let readiness = admin.health.readiness();
    if !readiness.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, readiness.to_string()).into_response();
    }
    if is_verbose(query.as_deref()) {
        return readiness.to_string().into_response();
    }
    "ok\n".into_response()
}

/// Whether the query has the parameter `verbose`, with or without a value.
fn is_verbose(query: Option<&str>) -> bool {
    query
        .unwrap_or_default()
        .split('&')
        .any(|parameter| parameter == "verbose" || parameter.starts_with("verbose="))
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::negotiate(&accept.join(","));
    // Procfs is read on the way, which must not hold up the connections of this thread.
    let rendered = tokio::task::spawn_blocking(move || admin.metrics.render(format)).await;
    match rendered {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Ok(Err(_)) | Err(_) => {
            error!(target: "mproxy::admin", event = "error", "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn version(State(admin): State<Admin>) -> Response {
    match serde_json::to_string(&admin.build) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => {
            error!(
                target: "mproxy::admin",
                event = "error",
                detail = %error,
                "version could not be written"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

pub(super) async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        let remedy = "GET / lists the paths";
        return Failure::new(StatusCode::NOT_FOUND, "there is no such path", remedy)
            .into_response();
    }
    (StatusCode::NOT_FOUND, format!("no such path\n\n{INDEX}")).into_response()
}

pub(super) async fn method_not_allowed() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n")
}

const INDEX: &str = "\
mproxy admin port

GET /livez     alive: 200 while the process turns (also /live, /healthz)
GET /readyz    ready: 200, or 503 and why not; ?verbose lists every check (also /ready)
GET /metrics   Prometheus text, or OpenMetrics by the Accept header
GET /version   what was built, as JSON

From this host, or with `Authorization: Bearer TOKEN` of admin.token_file:

GET  /api/v1/drain                         how far a drain is
POST /api/v1/drain                         send all clients away, and stay: {\"timeout\": \"25s\"}
DELETE /api/v1/drain                       undo it
POST /api/v1/reload                        read the configuration again; ?strict
GET  /api/v1/connections                   who is connected; ?client=&username=&ip=&listener=&sort=&limit=&offset=
GET  /api/v1/connections/ID                one of them
POST /api/v1/connections/ID/disconnect     end it: {\"reason_code\": 152, \"ban_s\": 600}
GET  /api/v1/bans                          who is banned, and who has points; ?limit=&offset=
POST /api/v1/bans                          ban: {\"address\": \"192.0.2.0/24\", \"for_s\": 600, \"reason\": \"\"}
DELETE /api/v1/bans                        lift a ban: ?address= or ?username= or ?client_id=
GET  /api/v1/crls                          the revocation lists
POST /api/v1/crls/fetch                    fetch those of crl_urls now
";
