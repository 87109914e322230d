//! `/tokenize` and `/detokenize`: ids of a text or a chat, and the text of ids.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::Server;
use super::asked::Fields;
use super::failure::Failure;

/// The ids of a text.
pub async fn tokenize(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    server.take_name(&mut fields)?;
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
    let ids = ids.await?;
    Ok(Json(json!({ "tokens": ids, "count": ids.len(), "max_model_len": server.positions })))
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
