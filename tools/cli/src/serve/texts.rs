//! `/tokenize` and `/detokenize`: ids of a text or a chat, and the text of ids.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Fields;
use super::failure::Failure;
use super::{Server, chat};

/// Texts that are given as such, or as their ids.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text, token ids, or a list of one of them")]
pub enum Given {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    ManyIds(Vec<Vec<u32>>),
}

impl Given {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Text(_) | Self::Ids(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::ManyIds(many) => many.len(),
        }
    }
}

impl Server {
    /// The texts of the prompts, and their ids.
    pub fn plain_prompts(&self, given: Given) -> Result<Vec<(String, Vec<u32>)>, Failure> {
        let tokenizer = self.handle.files().text().tokenizer()?;
        let of_text = |text: String| {
            self.check_text(&text)?;
            let ids = tokenizer.encode(&text, true)?;
            Ok((text, ids))
        };
        let of_ids = |ids: Vec<u32>| {
            self.check_ids(&ids)?;
            Ok((tokenizer.decode(&ids), ids))
        };
        match given {
            Given::Text(text) => Ok(vec![of_text(text)?]),
            Given::Texts(texts) => texts.into_iter().map(of_text).collect(),
            Given::Ids(ids) => Ok(vec![of_ids(ids)?]),
            Given::ManyIds(many) => many.into_iter().map(of_ids).collect(),
        }
    }
}

/// The ids of a text, or of a chat as it is told to the model.
pub async fn tokenize(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    server.take_name(&mut fields)?;
    if fields.get("messages").is_some() {
        let (messages, arguments) = (chat::messages(&mut fields)?, chat::template_arguments(&mut fields)?);
        let _held = fields.end()?;
        let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
        return Ok(told(&server, &ids));
    }
    let text: String = match fields.take("content")? {
        Some(text) => text,
        None => fields.need("prompt")?,
    };
    let special = fields.take("add_special")?.or(fields.take("add_special_tokens")?).unwrap_or(false);
    let _held = fields.end()?;
    let ids = server.in_background(move |server| {
        server.check_text(&text)?;
        Ok(server.handle.files().text().tokenizer()?.encode(&text, special)?)
    });
    Ok(told(&server, &ids.await?))
}

fn told(server: &Server, ids: &[u32]) -> Json<Value> {
    Json(json!({ "tokens": ids, "count": ids.len(), "max_model_len": server.positions }))
}

/// The text of ids.
pub async fn detokenize(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    server.take_name(&mut fields)?;
    let ids: Vec<u32> = fields.need("tokens")?;
    let _held = fields.end()?;
    let text = server.in_background(move |server| Ok(server.handle.files().text().tokenizer()?.decode(&ids))).await?;
    Ok(Json(json!({ "content": text, "prompt": text })))
}
