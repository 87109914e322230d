//! `/v1/messages`: Anthropic's API, for programs that speak no other.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tilestream::{Content, Message, StopReason, TemplateArguments, TextDelta, ToolCall};

use super::Server;
use super::answers::{Answers, Form, Framing, Prompt, Usage, Whole};
use super::asked::{Fields, told_back};
use super::failure::Failure;
use super::sampling::Sampling;
use super::tools::{self, CallReader, Choice, Tools};

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
    let tools = tools(&mut fields)?;
    fields.rename("stop_sequences", "stop");
    let mut sampling = Sampling::take(&mut fields, &server.sampling, server.positions)?;
    let held = fields.end()?;
    sampling.options.truncate(1);
    let (arguments, calls) = server.offer(tools, arguments, &mut sampling, None).await?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    let input_tokens = ids.len();
    let prompt = server.checked(Prompt { ids, options: sampling.options })?;
    let form = MessageForm {
        id: server.new_id("msg_"),
        model,
        input_tokens,
        block: None,
        blocks: 0,
        stop: None,
        calls,
        server: Arc::clone(&server),
    };
    Answers::ask(&server, vec![prompt], held)?.respond(sampling.stream, true, form).await
}

/// Counts the tokens of a chat.
pub async fn count_tokens(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Json<Value>, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    server.take_name(&mut fields)?;
    let (messages, arguments) = chat(&mut fields)?;
    let arguments = match tools(&mut fields)? {
        Some(tools) => arguments.with_tools(tools.described()),
        None => arguments,
    };
    let _held = fields.end()?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    Ok(Json(json!({ "input_tokens": ids.len() })))
}

/// The functions that the model may call.
fn tools(fields: &mut Fields) -> Result<Option<Tools>, Failure> {
    let tools: Vec<Value> = fields.take("tools")?.unwrap_or_default();
    let choice = fields.take::<Value>("tool_choice")?.unwrap_or_else(|| json!({ "type": "auto" }));
    let function = |(index, mut tool): (usize, Value)| match tool["type"].as_str() {
        None | Some("custom") => {
            let mut function = json!({ "name": tool["name"], "parameters": tool["input_schema"].take() });
            if tool["description"].is_string() {
                function["description"] = tool["description"].take();
            }
            Ok(function)
        }
        Some(kind) => {
            let message = format!("tools[{index}] has the type '{}'; functions are supported", told_back(kind));
            Err(Failure::request("tools", message))
        }
    };
    let functions = tools.into_iter().enumerate().map(function).collect::<Result<Vec<_>, _>>()?;
    let parallel = !choice["disable_parallel_tool_use"].as_bool().unwrap_or(false);
    let choice = match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("auto"), _) => Choice::Auto,
        (Some("any"), _) => Choice::Required,
        (Some("tool"), Some(name)) => Choice::Named(name.to_owned()),
        (Some("none"), _) => return Ok(None),
        _ => return Err(Failure::request("tool_choice", "'tool_choice' must be auto, any, none, or name a tool")),
    };
    Tools::new(functions, choice, parallel)
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
            let role = told_back(&turn.role);
            return Err(Failure::request(
                "messages",
                format!("{name} has the role '{role}'; known are user and assistant"),
            ));
        }
        let (content, exchanged) = exchanged(turn.content, &name)?;
        let (text, thoughts) = text(content, &name)?;
        let mut message = Message::new(turn.role, Content::from(text));
        message.reasoning = Some(thoughts).filter(|thoughts| !thoughts.is_empty());
        message.tool_calls = exchanged.calls;
        // Results come before what is said with them; a turn of results alone says nothing else.
        let says_more = exchanged.results.is_empty() || !message.content.text().is_empty();
        messages.extend(exchanged.results);
        messages.extend(says_more.then_some(message));
    }
    super::chat::name_results(&mut messages);
    let thinks = fields.take::<Thinking>("thinking")?.map(|thinking| thinking.r#type != "disabled");
    let arguments = thinks.map(|thinks| ("enable_thinking".to_owned(), Value::from(thinks)));
    Ok((messages, TemplateArguments::new(Map::from_iter(arguments))?))
}

/// The calls and the results of a message.
#[derive(Default)]
struct Exchanged {
    calls: Vec<ToolCall>,
    results: Vec<Message>,
}

/// Takes the calls and the results out of a message.
fn exchanged(said: Said, name: &str) -> Result<(Said, Exchanged), Failure> {
    let Said::Blocks(blocks) = said else { return Ok((said, Exchanged::default())) };
    let (mut rest, mut exchanged) = (Vec::new(), Exchanged::default());
    for mut block in blocks {
        let of = |field: &str| block[field].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str() {
            Some("tool_use") => {
                let (id, function) = (of("id"), of("name"));
                let Value::Object(arguments) = block["input"].take() else {
                    let message = format!("{name} has a call of '{}' whose input is no object", told_back(&function));
                    return Err(Failure::request("messages", message));
                };
                exchanged.calls.push(ToolCall { id, name: function, arguments });
            }
            Some("tool_result") => {
                let id = of("tool_use_id");
                let content: Option<Said> = serde_json::from_value(block["content"].take())
                    .map_err(|_| Failure::request("messages", format!("{name} has a result that is no text")))?;
                let (text, _) = content.map_or(Ok(Default::default()), |content| text(content, name))?;
                let mut result = Message::new("tool", Content::from(text));
                result.tool_call_id = Some(id);
                exchanged.results.push(result);
            }
            _ => rest.push(block),
        }
    }
    Ok((Said::Blocks(rest), exchanged))
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
                let kind = told_back(kind.unwrap_or("none"));
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
    /// What finds calls in the answer, where there are tools.
    calls: Option<CallReader>,
    server: Arc<Server>,
}

impl MessageForm {
    /// What is certain of the answer with more of its text, or with its end.
    fn read(&mut self, more: Option<&str>) -> tools::Said {
        match (&mut self.calls, more) {
            (Some(reader), Some(text)) => reader.push(text),
            (Some(reader), None) => reader.finish(),
            (None, text) => tools::Said { text: text.unwrap_or_default().to_owned(), calls: Vec::new() },
        }
    }

    /// A call as a block, with its input or without.
    fn call(&self, call: &ToolCall, with_input: bool) -> Value {
        let input = if with_input { call.arguments.clone() } else { Map::new() };
        json!({ "type": "tool_use", "id": self.server.new_id("toolu_"), "name": call.name, "input": input })
    }

    /// Says a call in a block of its own.
    fn say_call(&mut self, call: &ToolCall, said: &mut Vec<Value>) {
        self.end_block(said);
        let input = Value::Object(call.arguments.clone()).to_string();
        let delta = json!({ "type": "input_json_delta", "partial_json": input });
        let block = self.call(call, false);
        said.push(json!({ "type": "content_block_start", "index": self.blocks, "content_block": block }));
        said.push(json!({ "type": "content_block_delta", "index": self.blocks, "delta": delta }));
        said.push(json!({ "type": "content_block_stop", "index": self.blocks }));
        self.blocks += 1;
    }

    /// Why the answer ended: a call asks for its result.
    fn reason(&self, stop: Option<StopReason>) -> Option<&'static str> {
        let called = self.calls.as_ref().is_some_and(|reader| reader.told() > 0);
        stop.map(|stop| if called { "tool_use" } else { stop_reason(stop) })
    }

    fn message(&self, content: Vec<Value>, stop: Option<StopReason>, usage: Usage) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": self.reason(stop),
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
    let Usage { prompt, cached, new, .. } = usage;
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
        let (first, last) = (self.read(Some(&whole.text)), self.read(None));
        let text = first.text + &last.text;
        let calls: Vec<ToolCall> = first.calls.into_iter().chain(last.calls).collect();
        let parts = [(Kind::Thinking, &whole.reasoning), (Kind::Text, &text)];
        let says_nothing = |kind: Kind| kind == Kind::Text && calls.is_empty();
        let content = parts.into_iter().filter(|(kind, text)| says_nothing(*kind) || !text.is_empty());
        let mut content: Vec<Value> = content.map(|(kind, text)| kind.block(text)).collect();
        content.extend(calls.iter().map(|call| self.call(call, true)));
        self.message(content, whole.stop, usage)
    }

    fn begin(&mut self, _: usize) -> Vec<Value> {
        vec![
            json!({ "type": "message_start", "message": self.message(Vec::new(), None, Usage { prompt: self.input_tokens, ..Usage::default() }) }),
        ]
    }

    fn delta(&mut self, _: usize, delta: &TextDelta) -> Vec<Value> {
        let mut said = Vec::new();
        self.say(Kind::Thinking, &delta.reasoning, &mut said);
        let read = self.read(Some(&delta.text));
        self.say(Kind::Text, &read.text, &mut said);
        read.calls.iter().for_each(|call| self.say_call(call, &mut said));
        said
    }

    fn end(&mut self, _: usize, stop: StopReason) -> Vec<Value> {
        self.stop = Some(stop);
        let mut said = Vec::new();
        let read = self.read(None);
        self.say(Kind::Text, &read.text, &mut said);
        read.calls.iter().for_each(|call| self.say_call(call, &mut said));
        self.end_block(&mut said);
        said
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        let delta = json!({ "stop_reason": self.reason(self.stop), "stop_sequence": null });
        let end = json!({ "type": "message_delta", "delta": delta, "usage": counts(usage) });
        vec![end, json!({ "type": "message_stop" })]
    }
}
