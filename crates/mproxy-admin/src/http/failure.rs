//! Error answers of the API.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// An answer `{"error": WHY, "remedy": WHAT TO DO}`, and what else the route documents.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: Map<String, Value>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, remedy: &str) -> Self {
        let failure = Self {
            status,
            body: Map::new(),
        };
        let failure = failure.with("error", error.into().into());
        failure.with("remedy", remedy.into())
    }

    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.body.insert(key.to_owned(), value);
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
