//! `/v1/messages`: Anthropic's API, for programs that speak no other.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tilestream::{Content, Message, StopReason, TemplateArguments, TextDelta};

use super::Server;
use super::answers::{Answers, Form, Framing, Prompt, Usage, Whole};
use super::asked::Fields;
use super::failure::Failure;
use super::sampling::Sampling;

/// A message as this API writes it.
#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Said,
}

/// What a message or a system prompt says.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text, or a list of blocks")]
enum Said {
    Text(String),
    Blocks(Vec<Value>),
}

/// Whether the model is to think before it answers.
#[derive(Deserialize)]
struct Thinking {
    r#type: String,
}

/// Answers a chat.
pub async fn create(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let model = server.take_name(&mut fields)?;
    let (messages, arguments) = chat(&mut fields)?;
    fields.rename("stop_sequences", "stop");
    let sampling = Sampling::take(&mut fields, &server.sampling, server.positions)?;
    let held = fields.end()?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    let input_tokens = ids.len();
    let options = sampling.options.into_iter().take(1).collect();
    let prompt = server.checked(Prompt { ids, options })?;
    let form = MessageForm { id: server.new_id("msg_"), model, input_tokens, block: None, blocks: 0, stop: None };
    Answers::ask(&server, vec![prompt], held)?.respond(sampling.stream, true, form).await
}

/// Counts the tokens of a chat.
pub async fn count_tokens(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    server.take_name(&mut fields)?;
    let (messages, arguments) = chat(&mut fields)?;
    let _held = fields.end()?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    Ok(Json(json!({ "input_tokens": ids.len() })))
}

/// The messages, and what the template is told beside them.
fn chat(fields: &mut Fields) -> Result<(Vec<Message>, TemplateArguments), Failure> {
    let system: Option<Said> = fields.take("system")?;
    let turns: Vec<Turn> = fields.need("messages")?;
    if turns.is_empty() {
        return Err(Failure::request("messages", "'messages' has no message"));
    }
    let system = system.map(|said| text(said, "system")).transpose()?.map(|(text, _)| Message::system(text));
    let mut messages: Vec<Message> = system.into_iter().collect();
    for (index, turn) in turns.into_iter().enumerate() {
        let name = format!("messages[{index}]");
        if turn.role != "user" && turn.role != "assistant" {
            let role = super::asked::told_back(&turn.role);
            return Err(Failure::request(
                "messages",
                format!("{name} has the role '{role}'; known are user and assistant"),
            ));
        }
        let (text, thoughts) = text(turn.content, &name)?;
        let mut message = Message::new(turn.role, Content::from(text));
        message.reasoning = Some(thoughts).filter(|thoughts| !thoughts.is_empty());
        messages.push(message);
    }
    let thinks = fields.take::<Thinking>("thinking")?.map(|thinking| thinking.r#type != "disabled");
    let arguments = thinks.map(|thinks| ("enable_thinking".to_owned(), Value::from(thinks)));
    Ok((messages, TemplateArguments::new(Map::from_iter(arguments))?))
}

/// What is said, and what was thought before it.
fn text(said: Said, name: &str) -> Result<(String, String), Failure> {
    let blocks = match said {
        Said::Text(text) => return Ok((text, String::new())),
        Said::Blocks(blocks) => blocks,
    };
    let (mut text, mut thoughts) = (String::new(), String::new());
    for block in blocks {
        let of = |field: &str| block[field].as_str();
        match (of("type"), of("text"), of("thinking")) {
            (Some("text"), Some(more), _) => text += more,
            (Some("thinking"), _, Some(more)) => thoughts += more,
            (kind, ..) => {
                let kind = super::asked::told_back(kind.unwrap_or("none"));
                let message = format!("{name} has a block of type '{kind}'; supported are text and thinking");
                return Err(Failure::request("messages", message));
            }
        }
    }
    Ok((text, thoughts))
}

/// The kinds of blocks of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
}

impl Kind {
    fn block(self, text: &str) -> Value {
        match self {
            Self::Thinking => json!({ "type": "thinking", "thinking": text, "signature": "" }),
            Self::Text => json!({ "type": "text", "text": text }),
        }
    }

    fn delta(self, text: &str) -> Value {
        match self {
            Self::Thinking => json!({ "type": "thinking_delta", "thinking": text }),
            Self::Text => json!({ "type": "text_delta", "text": text }),
        }
    }
}

struct MessageForm {
    id: String,
    model: String,
    input_tokens: usize,
    /// The block that is open.
    block: Option<Kind>,
    /// Blocks that ended.
    blocks: usize,
    stop: Option<StopReason>,
}

impl MessageForm {
    fn message(&self, content: Vec<Value>, stop: Option<StopReason>, usage: Usage) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop.map(stop_reason),
            "stop_sequence": null,
            "usage": counts(usage),
        })
    }

    /// Says more in a block of a kind; the one before ends.
    fn say(&mut self, kind: Kind, text: &str, said: &mut Vec<Value>) {
        if text.is_empty() {
            return;
        }
        if self.block != Some(kind) {
            self.end_block(said);
            self.block = Some(kind);
            said.push(json!({ "type": "content_block_start", "index": self.blocks, "content_block": kind.block("") }));
        }
        said.push(json!({ "type": "content_block_delta", "index": self.blocks, "delta": kind.delta(text) }));
    }

    fn end_block(&mut self, said: &mut Vec<Value>) {
        if self.block.take().is_some() {
            said.push(json!({ "type": "content_block_stop", "index": self.blocks }));
            self.blocks += 1;
        }
    }
}

/// What was taken from the cache is not among the input here.
fn counts(usage: Usage) -> Value {
    let Usage { prompt, cached, new } = usage;
    json!({ "input_tokens": prompt - cached, "cache_read_input_tokens": cached, "output_tokens": new })
}

fn stop_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        StopReason::StopText => "stop_sequence",
        _ => "end_turn",
    }
}

impl Form for MessageForm {
    const FRAMING: Framing = Framing::NamedEvents;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let whole = answers.into_iter().next().unwrap_or_default();
        let parts = [(Kind::Thinking, &whole.reasoning), (Kind::Text, &whole.text)];
        let content = parts.into_iter().filter(|(kind, text)| *kind == Kind::Text || !text.is_empty());
        self.message(content.map(|(kind, text)| kind.block(text)).collect(), whole.stop, usage)
    }

    fn begin(&mut self, _: usize) -> Vec<Value> {
        vec![
            json!({ "type": "message_start", "message": self.message(Vec::new(), None, Usage { prompt: self.input_tokens, ..Usage::default() }) }),
        ]
    }

    fn delta(&mut self, _: usize, delta: &TextDelta) -> Vec<Value> {
        let mut said = Vec::new();
        self.say(Kind::Thinking, &delta.reasoning, &mut said);
        self.say(Kind::Text, &delta.text, &mut said);
        said
    }

    fn end(&mut self, _: usize, stop: StopReason) -> Vec<Value> {
        self.stop = Some(stop);
        let mut said = Vec::new();
        self.end_block(&mut said);
        said
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        let delta = json!({ "stop_reason": self.stop.map(stop_reason), "stop_sequence": null });
        let end = json!({ "type": "message_delta", "delta": delta, "usage": counts(usage) });
        vec![end, json!({ "type": "message_stop" })]
    }
}
