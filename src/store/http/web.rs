//! Requests by the browser's `fetch`, in a page or a worker.

use std::pin::pin;

use futures::future::{Either, select};
use gloo::timers::future::TimeoutFuture;
use gloo_net::http::RequestBuilder;
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, ReadableStreamDefaultReader, RequestCache};

use super::answer::{Head, Trouble};
use super::{Ask, Failure, HttpOptions};

/// What to do about a network that fails. A browser does not tell a host that allows no other origins from a cut wire.
pub(super) const REMEDY: &str =
    "check the address and the connection, and that the host allows requests from this page (CORS)";

/// `fetch`, with a limit on silence.
#[derive(Debug)]
pub(super) struct Client {
    stall_s: f64,
}

impl Client {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self { stall_s: options.stall_s }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn get(&self, ask: &Ask<'_>) -> Result<Response, Trouble> {
        Ok(self.send(ask).await?)
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let abort = AbortOnDrop(AbortController::new().map_err(|error| hopeless("no AbortController", &error))?);
        // The browser's own cache would hold the bytes a second time, and lets one range request of an address wait for
        // another.
        let cache = if ask.fresh { RequestCache::NoCache } else { RequestCache::NoStore };
        let mut request = RequestBuilder::new(ask.url).cache(cache).abort_signal(Some(&abort.0.signal()));
        if let Some(range) = &ask.range {
            request = request.header("Range", range);
        }
        let request =
            request.build().map_err(|error| Failure { message: error.to_string(), hopeless: true, no_host: false })?;
        let response = self.in_time(request.send()).await?.map_err(|error| passing(error.to_string()))?;
        let text = |name: &str| response.headers().get(name);
        let head = Head {
            status: response.status(),
            content_range: text("Content-Range"),
            content_encoding: text("Content-Encoding"),
            content_length: text("Content-Length").and_then(|length| length.parse().ok()),
            retry_after: text("Retry-After"),
            decoded: true,
            ..Head::default()
        };
        let reader = match response.body() {
            None => None,
            Some(body) => {
                let reader = body.get_reader().dyn_into::<ReadableStreamDefaultReader>();
                Some(reader.map_err(|_| passing("the body is no stream of bytes"))?)
            }
        };
        Ok(Response { head, stall_s: self.stall_s, reader, chunk: Vec::new(), _abort: abort })
    }

    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        in_time(self.stall_s, future).await
    }
}

/// An answer whose body is still on its way; dropping it aborts the request.
pub(super) struct Response {
    pub head: Head,
    stall_s: f64,
    reader: Option<ReadableStreamDefaultReader>,
    chunk: Vec<u8>,
    _abort: AbortOnDrop,
}

impl Response {
    /// The next bytes of the body, `None` at its end.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some(reader) = &self.reader else { return Ok(None) };
        let read = in_time(self.stall_s, JsFuture::from(reader.read())).await?;
        let read = read.map_err(|error| passing(shown("the body broke off", &error)))?;
        let field = |name: &str| Reflect::get(&read, &name.into()).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            return Ok(None);
        }
        let bytes = field("value").dyn_into::<Uint8Array>().map_err(|_| passing("the body is no stream of bytes"))?;
        self.chunk.resize(bytes.length() as usize, 0);
        bytes.copy_to(&mut self.chunk);
        Ok(Some(&self.chunk))
    }
}

/// Ends the request of a future that is dropped. Aborting one that has ended does nothing.
struct AbortOnDrop(AbortController);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn in_time<T>(stall_s: f64, future: impl Future<Output = T>) -> Result<T, Failure> {
    match select(pin!(future), TimeoutFuture::new(milliseconds(stall_s))).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(passing(format!("no byte for {stall_s} seconds"))),
    }
}

/// Waits.
pub(super) async fn pause(seconds: f64) {
    TimeoutFuture::new(milliseconds(seconds)).await;
}

fn milliseconds(seconds: f64) -> u32 {
    (seconds.clamp(0.0, 86_400.0) * 1000.0) as u32
}

fn passing(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), hopeless: false, no_host: false }
}

fn hopeless(what: &str, error: &JsValue) -> Failure {
    Failure { message: shown(what, error), hopeless: true, no_host: false }
}

fn shown(what: &str, error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => format!("{what}: {}", String::from(error.message())),
        None => what.to_owned(),
    }
}
