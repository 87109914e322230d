//! What is served, and what all requests need of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tilestream::{Message, TemplateArguments};

use super::Server;
use super::answers::Prompt;
use super::asked::Fields;
use super::failure::Failure;

/// For who opens the address in a browser.
pub async fn welcome(State(server): State<Arc<Server>>) -> String {
    let name = &server.names[0];
    format!(
        "Tilestream serves {name} here.\n\n\
         Point an OpenAI client at /v1 of this address: OPENAI_BASE_URL=http://HOST:PORT/v1\n\n\
         GET  /v1/models\n\
         POST /v1/chat/completions   {{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}\n\
         POST /v1/completions        {{\"model\": \"{name}\", \"prompt\": \"Once upon a time\"}}\n\
         POST /api/chat, /api/generate, GET /api/tags: the same for clients of Ollama\n\
         POST /tokenize, /detokenize {{\"content\": \"text\"}}, {{\"tokens\": [1, 2]}}\n\
         GET  /health\n"
    )
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
pub async fn one(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Result<Json<Value>, Failure> {
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
        known.then_some(()).ok_or_else(|| Failure::no_model(name, &self.names))
    }

    /// Takes the name of the model, of which there is one: a request may leave it out.
    pub fn check_name(&self, fields: &mut Fields) -> Result<(), Failure> {
        fields.take::<String>("model")?.map_or(Ok(()), |name| self.named(&name))
    }

    /// Does what takes a processor's time, such as reading a long text, beside the connections.
    pub async fn in_background<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let server = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&server)).await;
        // It fails where the server is ending.
        done.unwrap_or_else(|_| Err(Failure::ending()))
    }

    /// The ids of a chat.
    pub fn chat_prompt(&self, messages: Vec<Message>, arguments: TemplateArguments) -> Result<Vec<u32>, Failure> {
        let files = self.handle.files().clone().with_template_arguments(arguments);
        Ok(files.text().chat_prompt(&messages)?)
    }

    /// A prompt that leaves room for an answer, with options that can be followed.
    pub fn checked(&self, prompt: Prompt) -> Result<Prompt, Failure> {
        let (tokens, most) = (prompt.ids.len(), self.positions as usize);
        if tokens == 0 {
            return Err(Failure::request("prompt", "the prompt has no token"));
        }
        if tokens >= most {
            let message = format!("{tokens} tokens leave no room for an answer in the {most} of this context");
            return Err(Failure::request("messages", message));
        }
        for options in &prompt.options {
            let vocabulary = self.handle.files().text().tokenizer()?.len();
            if let Some(id) = options.sampler.logit_bias.keys().find(|id| **id as usize >= vocabulary) {
                let message = format!("'logit_bias' names token {id}; the vocabulary has {vocabulary}");
                return Err(Failure::request("logit_bias", message));
            }
            options.text_stream(self.handle.files().text(), &prompt.ids)?;
        }
        Ok(prompt)
    }
}
