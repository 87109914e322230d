//! A request's body: read within bounds, and taken apart field by field, so that what is wrong is named.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::failure::Failure;
use super::{MOST_BODY_BYTES, Server};
use crate::connections::{AtWork, Moved};

/// A body has to come within this time.
const BODY_TIME: Duration = Duration::from_secs(60);
/// Fields that say something about the caller or about how a service stores and bills, and nothing about the answer.
const HARMLESS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "cache_prompt",
    "include",
    "client_metadata",
    "verbosity",
    "keep_alive",
    "num_ctx",
    "num_keep",
    "num_batch",
    "num_gpu",
    "num_thread",
];

/// Bodies that are longer are taken apart beside the connections.
const LONG_BODY_BYTES: usize = 64 << 10;
/// Characters of a name that are told back.
const MOST_TOLD: usize = 100;

/// The fields of a request that were not taken yet.
pub struct Fields {
    fields: Map<String, Value>,
    held: Held,
}

/// What a request holds while it is prepared and answered.
#[derive(Debug, Default)]
pub struct Held {
    /// Its part of what all bodies may take.
    _body: Option<OwnedSemaphorePermit>,
    /// Its connection.
    _work: Option<AtWork>,
}

impl Fields {
    /// Reads the body of a request.
    pub async fn read(server: &Arc<Server>, request: Request<Body>) -> Result<Self, Failure> {
        let connection = request.extensions().get::<Moved>().cloned();
        let too_long = || {
            Failure::unread(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {MOST_BODY_BYTES} bytes"))
        };
        // What the head says already is not waited for.
        if request.body().size_hint().lower() > MOST_BODY_BYTES as u64 {
            return Err(too_long());
        }
        let body = axum::body::to_bytes(request.into_body(), MOST_BODY_BYTES);
        let bytes = tokio::time::timeout(BODY_TIME, body).await;
        let bytes = bytes.map_err(|_| Failure::unread(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))?;
        let bytes = bytes.map_err(|error| {
            let cause = std::error::Error::source(&error);
            let is_too_long = cause.is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
            if is_too_long { too_long() } else { Failure::body(format!("the body did not come whole: {error}")) }
        })?;
        let permits = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let body = Arc::clone(&server.bodies).acquire_many_owned(permits).await.ok();
        let fields = if bytes.len() > LONG_BODY_BYTES {
            server.in_background(move |_| Self::parse(&bytes)).await?
        } else {
            Self::parse(&bytes)?
        };
        Ok(Self { fields, held: Held { _body: body, _work: connection.map(|connection| connection.at_work()) } })
    }

    fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Failure> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Err(Failure::body("the body is no JSON object")),
            Err(error) => Err(Failure::body(format!("the body is no JSON: {error}"))),
        }
    }

    /// Takes a field; absent where it is null.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.fields.remove(name).filter(|value| !value.is_null()) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|error| Failure::request(name, format!("'{name}': {error}")))
    }

    /// What a field holds.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Takes a field where it is zero.
    pub fn take_zero(&mut self, name: &str) -> bool {
        let is_zero = self.fields.get(name).is_some_and(|value| value.as_i64() == Some(0));
        if is_zero {
            self.fields.remove(name);
        }
        is_zero
    }

    /// Takes a field that must be there.
    pub fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        self.take(name)?.ok_or_else(|| Failure::request(name, format!("'{name}' is missing")))
    }

    /// Gives a field a value.
    pub fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// Gives a field another name, where it is there: another API calls the same thing otherwise.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.fields.remove(from) {
            self.fields.insert(to.to_owned(), value);
        }
    }

    /// Puts what a field holds beside the others.
    pub fn spread(&mut self, name: &str) -> Result<(), Failure> {
        let inner: Option<Map<String, Value>> = self.take(name)?;
        self.fields.extend(inner.unwrap_or_default());
        Ok(())
    }

    /// What was not taken: refused by name, unless it changes nothing. What is held lasts as long as the answer.
    pub fn end(self) -> Result<Held, Failure> {
        for (name, value) in self.fields {
            if HARMLESS.contains(&name.as_str()) {
                say_once(&name);
            } else if !is_neutral(&name, &value) {
                let name = told_back(&name);
                return Err(Failure::request(&name, format!("'{name}' is not supported here: leave it out")));
            }
        }
        Ok(self.held)
    }
}

/// As much of a name as is told back to who sent it.
pub fn told_back(name: &str) -> String {
    name.chars().take(MOST_TOLD).collect()
}

/// Whether a field asks for what is done anyway.
fn is_neutral(name: &str, value: &Value) -> bool {
    let is_empty = match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => value.is_null(),
    };
    is_empty
        || match name {
            "min_tokens" => value.as_u64() == Some(0),
            "background" => value == false,
            "best_of" => value.as_u64() == Some(1),
            "tool_choice" | "function_call" => value == "none" || value == "auto",
            "truncation" => value == "disabled" || value == "auto",
            "modalities" => value == &serde_json::json!(["text"]),
            _ => false,
        }
}

/// Tells the log of a field that is ignored, the first time.
fn say_once(name: &str) {
    static SAID: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
        log::warn!("requests have a field '{name}', which is ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        let fields = Fields::parse(json.as_bytes()).unwrap_or_else(|failure| panic!("{json}: {failure:?}"));
        Fields { fields, held: Held::default() }
    }

    fn told(failure: Failure) -> String {
        failure.json()["error"]["message"].as_str().expect("a message").to_owned()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut asked = fields(r#"{"n": "two", "seed": null, "stop": 3}"#);
        assert!(told(asked.take::<u32>("n").expect_err("a text")).starts_with("'n': "));
        assert_eq!(asked.take::<u64>("seed").ok(), Some(None));
        assert!(told(asked.need::<u64>("seed").expect_err("absent")).contains("missing"));
        assert!(told(asked.end().expect_err("left")).contains("'stop'"));
        for body in ["", "[]", "{", "\"a\"", &"[".repeat(10_000)] {
            assert!(Fields::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn what_asks_for_nothing_else_is_let_through() {
        let neutral = r#"{"user": "u", "tools": [], "tool_choice": "auto", "suffix": "", "best_of": 1, "audio": null}"#;
        assert!(fields(neutral).end().is_ok());
        for asked in [r#"{"tools": [{"type": "function"}]}"#, r#"{"best_of": 2}"#, r#"{"temprature": 1}"#] {
            assert!(fields(asked).end().is_err(), "{asked}");
        }
    }
}
