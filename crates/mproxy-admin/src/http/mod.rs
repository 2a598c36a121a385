//! The HTTP side: routes, and the server that limits who may use them.
//!
//! `open` holds the routes that probes and scrapers use without credentials: they change nothing
//! and show no traffic. What shows or changes traffic is in `guarded`, behind `guard`.

mod failure;
mod guard;
mod guarded;
mod open;
mod phase;
mod server;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;

use crate::{Api, BuildInfo, Health, Metrics};

pub use server::{bind, serve};

/// The data of the admin port; clones share it.
#[derive(Debug, Clone)]
pub struct Admin {
    build: BuildInfo,
    health: Health,
    metrics: Metrics,
    api: Option<Arc<dyn Api>>,
}

impl Admin {
    /// An admin port over the given sources.
    #[must_use]
    pub fn new(build: BuildInfo, health: Health, metrics: Metrics) -> Self {
        Self {
            build,
            health,
            metrics,
            api: None,
        }
    }

    /// Sets the proxy of the guarded routes. Without one, they answer 404.
    #[must_use]
    pub fn api(mut self, api: Arc<dyn Api>) -> Self {
        self.api = Some(api);
        self
    }
}

/// The largest request body.
const MAX_BODY: usize = 16 * 1024;

/// All routes, for callers with their own HTTP server; [`serve`] is the usual way.
pub fn router(admin: Admin) -> Router {
    let guarded = admin.api.as_ref().map(guarded::router);
    Router::new()
        .merge(open::router())
        .fallback(open::not_found)
        .method_not_allowed_fallback(open::method_not_allowed)
        .with_state(admin)
        .merge(guarded.unwrap_or_default())
        .layer(middleware::from_fn(phase::follow))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(protect))
}

/// Headers of every answer.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // Every answer describes a moment, so it must not be cached.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // No browser may guess that a text with names in it is a page with scripts in it.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
