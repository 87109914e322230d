//! `/v1/rerank`: documents in the order of how well they answer a query.
//!
//! The model is asked for each document whether it does, with "yes" or "no"; what comes next is never chosen, only weighed. The
//! prompt is that of Qwen3-Reranker's card, in the model's own chat template: https://huggingface.co/Qwen/Qwen3-Reranker-0.6B

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tilestream::{Error, ErrorKind, Message, TemplateArguments};

use super::Server;
use super::asked::Fields;
use super::failure::Failure;

/// Documents in one request at most.
const MOST_DOCUMENTS: usize = 1024;
/// What is asked of each document.
const SYSTEM: &str = "Judge whether the Document meets the requirements based on the Query and the Instruct provided. \
    Note that the answer can only be \"yes\" or \"no\".";
/// What a document has to do, where a request does not say.
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// A document: a text, as such or in an object.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text, or an object whose 'text' is one")]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

/// Jina's and Cohere's way, which is that of other servers too.
pub async fn rerank(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let name = server.take_name(&mut fields)?;
    let query: String = fields.need("query")?;
    let documents: Vec<Document> = fields.need("documents")?;
    let instruction: String = fields.take("instruction")?.unwrap_or_else(|| INSTRUCTION.to_owned());
    let top: Option<usize> = fields.take("top_n")?;
    let tells_documents: bool = fields.take("return_documents")?.unwrap_or(false);
    let _held = fields.end()?;
    let count = documents.len();
    if !(1..=MOST_DOCUMENTS).contains(&count) {
        return Err(Failure::request("documents", format!("{count} documents; 1 to {MOST_DOCUMENTS} can be given")));
    }
    let (documents, prompts, ids) = server
        .in_background(move |server| {
            let prompt = |document: &Document| server.judgement(&instruction, &query, document.text());
            let prompts = documents.iter().map(prompt).collect::<Result<Vec<_>, _>>()?;
            Ok((documents, prompts, server.yes_and_no()?))
        })
        .await?;
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let judged = server.read_each(prompts, |prompt| server.handle.next_logprobs(prompt, ids.to_vec())).await?;
    let mut scores: Vec<(usize, f64)> = judged.iter().map(|pair| relevance(pair)).enumerate().collect();
    // Those that are as good keep their order.
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    scores.truncate(top.unwrap_or(count));
    let result = |(index, score): (usize, f64)| {
        let mut result = json!({ "index": index, "relevance_score": score });
        if tells_documents {
            result["document"] = json!({ "text": documents[index].text() });
        }
        result
    };
    let results: Vec<Value> = scores.into_iter().map(result).collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(Json(json!({ "model": name, "object": "list", "results": results, "usage": usage })))
}

/// How much likelier "yes" is than "no", of their logarithms: 0 to 1.
fn relevance(yes_and_no: &[f32]) -> f64 {
    match yes_and_no {
        [yes, no] => 1.0 / (1.0 + (f64::from(*no) - f64::from(*yes)).exp()),
        _ => 0.0,
    }
}

impl Server {
    /// The prompt that asks whether a document answers a query.
    fn judgement(&self, instruction: &str, query: &str, document: &str) -> Result<Vec<u32>, Failure> {
        let user = format!("<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}");
        let messages = vec![Message::new("system", SYSTEM), Message::user(&user)];
        // What a model thinks would come before its answer.
        let arguments = Map::from_iter([("enable_thinking".to_owned(), Value::from(false))]);
        let ids = self.chat_prompt(messages, TemplateArguments::new(arguments)?)?;
        self.check_ids(&ids)?;
        Ok(ids)
    }

    /// The tokens with which the two answers begin.
    fn yes_and_no(&self) -> Result<[u32; 2], Failure> {
        let tokenizer = self.handle.files().text().tokenizer()?;
        let first = |text: &str| Ok::<_, Error>(tokenizer.encode(text, false)?.first().copied());
        match (first("yes")?, first("no")?) {
            (Some(yes), Some(no)) if yes != no => Ok([yes, no]),
            _ => {
                Err(Error::new(ErrorKind::Unsupported, "the model writes 'yes' and 'no' with the same first token")
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_as_relevant_as_yes_is_likely_beside_no() {
        let of = |yes: f32, no: f32| relevance(&[yes.ln(), no.ln()]);
        assert!((of(0.3, 0.1) - 0.75).abs() < 1e-6 && (of(0.2, 0.2) - 0.5).abs() < 1e-9);
        assert!(relevance(&[-900.0, 0.0]) < 1e-9 && relevance(&[0.0, f32::NEG_INFINITY]) > 0.999);
    }
}
