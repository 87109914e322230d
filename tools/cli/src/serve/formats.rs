//! What an answer has to be: `response_format`, and what other APIs call it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tilestream::{Grammar, GrammarSource};

use super::Server;
use super::asked::{Fields, told_back};
use super::failure::Failure;
use super::sampling::Sampling;

/// As OpenAI's APIs write it.
#[derive(Deserialize)]
pub struct Format {
    r#type: String,
    /// Of `/v1/chat/completions` and `/v1/completions`.
    json_schema: Option<Described>,
    /// Of `/v1/responses`.
    schema: Option<Value>,
}

#[derive(Deserialize)]
struct Described {
    schema: Option<Value>,
}

/// What no schema says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Structured {
    json: Option<Value>,
    regex: Option<String>,
    grammar: Option<String>,
}

impl Format {
    /// What it asks for; none where any text will do.
    pub fn source(self, field: &str) -> Result<Option<GrammarSource>, Failure> {
        let schema = self.json_schema.and_then(|described| described.schema).or(self.schema);
        match (self.r#type.as_str(), schema) {
            ("text", _) => Ok(None),
            ("json_object", _) => Ok(Some(GrammarSource::JsonObject)),
            ("json_schema", Some(schema)) => Ok(Some(GrammarSource::JsonSchema(schema))),
            ("json_schema", None) => Err(Failure::request(field, format!("'{field}' has no schema"))),
            (other, _) => {
                let known = "known are text, json_object and json_schema";
                Err(Failure::request(field, format!("'{field}' has the type '{}'; {known}", told_back(other))))
            }
        }
    }
}

/// Takes `response_format`, or `structured_outputs` for regular expressions and grammars in Lark's notation.
pub fn take(fields: &mut Fields) -> Result<Option<GrammarSource>, Failure> {
    let format =
        fields.take::<Format>("response_format")?.map(|format| format.source("response_format")).transpose()?;
    let Some(structured) = fields.take::<Structured>("structured_outputs")? else { return Ok(format.flatten()) };
    let mut given = [
        structured.json.map(GrammarSource::JsonSchema),
        structured.regex.map(GrammarSource::Regex),
        structured.grammar.map(GrammarSource::Lark),
        format.flatten(),
    ]
    .into_iter()
    .flatten();
    match (given.next(), given.next()) {
        (one, None) => Ok(one),
        _ => Err(Failure::request("structured_outputs", "an answer can have one format only")),
    }
}

/// Takes Ollama's `format`: "json", or a schema.
pub fn take_plain(fields: &mut Fields) -> Result<Option<GrammarSource>, Failure> {
    match fields.take::<Value>("format")? {
        None => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if name == "json" => Ok(Some(GrammarSource::JsonObject)),
        Some(schema @ Value::Object(_)) => Ok(Some(GrammarSource::JsonSchema(schema))),
        Some(_) => Err(Failure::request("format", "'format' must be \"json\" or a schema")),
    }
}

impl Server {
    /// Has answers meet what was asked for.
    pub async fn constrain(
        self: &Arc<Self>,
        sampling: &mut Sampling,
        source: Option<GrammarSource>,
    ) -> Result<(), Failure> {
        let Some(source) = source else { return Ok(()) };
        let grammar: Grammar = self.in_background(move |server| Ok(server.handle.files().grammar(source)?)).await?;
        sampling.options.iter_mut().for_each(|options| options.grammar = Some(grammar.clone()));
        Ok(())
    }
}
