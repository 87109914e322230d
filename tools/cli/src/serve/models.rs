//! What is served, and what all requests need of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};
use tilestream::{Error, ErrorKind, Message, TemplateArguments};
use tokio::task::JoinHandle;

use super::Server;
use super::answers::Prompt;
use super::asked::{Fields, told_back};
use super::failure::Failure;

/// Of a text whose tokens are counted: more than any text has for each, on the average.
const MOST_BYTES_A_TOKEN: usize = 32;

/// The page of chats.
const PAGE: &str = include_str!("page.html");
/// The page has its scripts and styles with it, and asks nobody else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page, for who opens the address in a browser; else what there is at other addresses.
pub async fn welcome(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        return ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response();
    }
    let name = &server.names[0];
    format!(
        "Tilestream serves {name} here.\n\n\
         Point an OpenAI client at /v1 of this address: OPENAI_BASE_URL=http://HOST:PORT/v1\n\n\
         GET  /v1/models\n\
         POST /v1/chat/completions   {{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}\n\
         POST /v1/completions        {{\"model\": \"{name}\", \"prompt\": \"Once upon a time\"}}\n\
         POST /v1/responses          {{\"model\": \"{name}\", \"input\": \"Hello\"}}\n\
         POST /v1/embeddings         {{\"model\": \"{name}\", \"input\": \"a text\"}}\n\
         POST /v1/rerank             {{\"model\": \"{name}\", \"query\": \"a question\", \"documents\": [\"a text\"]}}\n\
         POST /api/chat, /api/generate, /api/embed, GET /api/tags: the same for clients of Ollama\n\
         POST /v1/messages, /v1/messages/count_tokens: the same for clients of Anthropic\n\
         POST /tokenize, /detokenize {{\"content\": \"text\"}}, {{\"tokens\": [1, 2]}}\n\
         GET  /health, /metrics\n\
         A browser gets a page for chats at this address.\n"
    )
    .into_response()
}

/// Whether requests are taken.
pub async fn health(State(server): State<Arc<Server>>) -> Response {
    if server.ending.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "ending" }))).into_response();
    }
    Json(json!({ "status": "ok", "requests": server.places.taken() })).into_response()
}

/// The models.
pub async fn list(State(server): State<Arc<Server>>) -> Json<Value> {
    let models: Vec<_> = server.names.iter().map(|name| server.model(name)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// One of them.
pub async fn one(
    State(server): State<Arc<Server>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let Path(name) = name.map_err(|_| Failure::no_such_address())?;
    server.named(&name)?;
    Ok(Json(server.model(&name)))
}

impl Server {
    fn model(&self, name: &str) -> Value {
        json!({
            "id": name,
            "object": "model",
            "created": self.loaded_at,
            "owned_by": "tilestream",
            "max_model_len": self.positions,
        })
    }

    /// Whether the model is called so.
    pub fn named(&self, name: &str) -> Result<(), Failure> {
        let known = self.names.iter().any(|known| known == name);
        known.then_some(()).ok_or_else(|| Failure::no_model(&told_back(name), &self.names))
    }

    /// A name for a response that no other has.
    pub fn new_id(&self, prefix: &str) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("{prefix}{:08x}{:08x}", self.loaded_at, COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes the name of the model, of which there is one: a request may leave it out.
    pub fn take_name(&self, fields: &mut Fields) -> Result<String, Failure> {
        let Some(name) = fields.take::<String>("model")? else { return Ok(self.names[0].clone()) };
        self.named(&name)?;
        Ok(name)
    }

    /// Does what takes a processor's time, such as reading a long text, beside the connections.
    pub async fn in_background<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let server = Arc::clone(self);
        let mut task = OfClient(tokio::task::spawn_blocking(move || work(&server)));
        match (&mut task.0).await {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => Err(Failure::ending()),
            Err(error) => Err(Error::new(ErrorKind::Internal, "a request's preparation failed").source(error).into()),
        }
    }

    /// The ids of a chat.
    pub fn chat_prompt(&self, messages: Vec<Message>, arguments: TemplateArguments) -> Result<Vec<u32>, Failure> {
        let bytes = messages.iter().map(|message| message.content.text().len()).sum();
        self.check_bytes(bytes, "messages")?;
        let files = self.handle.files().clone().with_template_arguments(arguments);
        Ok(files.text().chat_prompt(&messages)?)
    }

    /// Refuses a text that is far too long before minutes and gigabytes go into its tokens.
    pub fn check_text(&self, text: &str) -> Result<(), Failure> {
        self.check_bytes(text.len(), "prompt")
    }

    fn check_bytes(&self, bytes: usize, field: &str) -> Result<(), Failure> {
        if bytes <= (self.positions as usize).saturating_mul(MOST_BYTES_A_TOKEN) {
            return Ok(());
        }
        let message = format!("{bytes} bytes of text cannot fit the {} tokens of this context", self.positions);
        Err(Failure::context(field, message))
    }

    /// Refuses ids that the model does not have, and more than its context has.
    pub fn check_ids(&self, ids: &[u32]) -> Result<(), Failure> {
        let (most, vocabulary) = (self.positions as usize, self.handle.files().spec().vocab);
        if ids.len() >= most {
            let message = format!("{} tokens leave no room for an answer in the {most} of this context", ids.len());
            return Err(Failure::context("prompt", message));
        }
        match ids.iter().find(|id| **id >= vocabulary) {
            Some(id) => Err(Failure::request("prompt", format!("token {id} is not in the vocabulary of {vocabulary}"))),
            None => Ok(()),
        }
    }

    /// A prompt that leaves room for an answer, with options that can be followed.
    pub fn checked(&self, prompt: Prompt) -> Result<Prompt, Failure> {
        if prompt.ids.is_empty() {
            return Err(Failure::request("prompt", "the prompt has no token"));
        }
        self.check_ids(&prompt.ids)?;
        let vocabulary = self.handle.files().spec().vocab;
        // All answers have the same, but for the seed.
        if let Some(options) = prompt.options.first() {
            if let Some(id) = options.sampler.logit_bias.keys().find(|id| **id >= vocabulary) {
                let message = format!("'logit_bias' names token {id}; the vocabulary has {vocabulary}");
                return Err(Failure::request("logit_bias", message));
            }
            options.text_stream(self.handle.files().text(), &prompt.ids)?;
        }
        Ok(prompt)
    }
}

/// Work for a client: where it goes before the work begins, there is none.
struct OfClient<T>(JoinHandle<T>);

impl<T> Drop for OfClient<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
