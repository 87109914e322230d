//! What is told a client whose request fails, in the form of OpenAI's API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tilestream::{Error, ErrorKind};
use tilestream_split::told;

/// Seconds after which a client may try again where the queue is full.
const TRY_AGAIN_S: &str = "2";

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    message: String,
    /// A word for programs.
    code: &'static str,
    /// The field of the request that is wrong.
    field: Option<String>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code, field: None }
    }

    /// A request that is not understood; `field` names what is wrong in it.
    pub fn request(field: &str, message: impl Into<String>) -> Self {
        let field = Some(field.to_owned()).filter(|field| !field.is_empty());
        Self { field, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", message) }
    }

    /// A text that the context has no room for.
    pub fn context(field: &str, message: String) -> Self {
        let message =
            format!("{message}: shorten it, or start the server with a larger --context if the model has more");
        Self { code: "context_length_exceeded", ..Self::request(field, message) }
    }

    /// A body that is no request.
    pub fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// A body that is too long, or came too slowly.
    pub fn unread(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "unread", message)
    }

    pub fn key() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "this server wants its API key: Authorization: Bearer KEY",
        )
    }

    pub fn host(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "unknown_host", message)
    }

    pub fn origin() -> Self {
        let message = "pages of this origin may not ask (see --allow-origin)";
        Self::new(StatusCode::FORBIDDEN, "unknown_origin", message)
    }

    pub fn no_model(name: &str, known: &[String]) -> Self {
        let message = format!("there is no model '{name}' here; there is {}", known.join(", "));
        Self { field: Some("model".into()), ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message) }
    }

    pub fn no_response(id: &str) -> Self {
        let message = format!("there is no response '{id}' here: it was not kept, or others took its place");
        Self { field: Some("previous_response_id".into()), ..Self::new(StatusCode::NOT_FOUND, "not_found", message) }
    }

    pub fn no_such_address() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "nothing is at this address; GET / lists what there is")
    }

    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address takes another method")
    }

    pub fn full() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", "the queue is full; try again in 2 s")
    }

    pub fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "the server is ending")
    }

    /// The same as JSON, for a stream that has begun.
    pub fn json(&self) -> Value {
        let kind = match self.status {
            status if status.is_server_error() => "server_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            _ => "invalid_request_error",
        };
        // Anthropic's clients look for the outer type.
        json!({ "type": "error", "error": { "message": self.message, "type": kind, "param": self.field, "code": self.code } })
    }
}

impl From<Error> for Failure {
    /// A request that is at fault is told what is wrong with it; of what the host lacks only the log tells all.
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Argument | ErrorKind::Text | ErrorKind::Budget => StatusCode::BAD_REQUEST,
            ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            log::error!("{}", told(&error));
            let message = format!("the model failed ({}); the server's log says more", error.kind().code());
            return Self::new(status, error.kind().code(), message);
        }
        Self::new(status, error.kind().code(), told(&error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(TRY_AGAIN_S));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
