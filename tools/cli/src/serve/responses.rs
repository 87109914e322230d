//! `/v1/responses`: OpenAI's newer API, in which an answer is a list of items.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tilestream::{Message, StopReason, TemplateArguments, TextDelta, ToolCall};

use super::answers::{Answers, Form, Framing, Prompt, Usage, Whole};
use super::asked::{Fields, told_back};
use super::failure::Failure;
use super::formats::Format;
use super::sampling::Sampling;
use super::tools::{CallReader, Said, Tools};
use super::{Server, chat, unix_s};

/// What is asked.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text, or a list of items")]
enum Input {
    Text(String),
    Items(Vec<Value>),
}

#[derive(Deserialize)]
struct Text {
    format: Option<Format>,
}

#[derive(Default, Deserialize)]
struct Reasoning {
    effort: Option<String>,
}

/// Answers a list of items, which may go on from an earlier response.
pub async fn create(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let model = server.take_name(&mut fields)?;
    let instructions: Option<String> = fields.take("instructions")?;
    let before: Option<String> = fields.take("previous_response_id")?;
    let items = match fields.need("input")? {
        Input::Text(text) => vec![json!({ "role": "user", "content": text })],
        Input::Items(items) => items,
    };
    let reasoning: Reasoning = fields.take("reasoning")?.unwrap_or_default();
    let keeps = fields.take("store")?.unwrap_or(true);
    fields.rename("max_output_tokens", "max_tokens");
    let told = told(&fields, instructions.as_deref(), before.as_deref(), reasoning.effort.as_deref());
    let format = fields.take::<Text>("text")?.and_then(|text| text.format);
    let tools = tools(&mut fields)?;
    let mut sampling = Sampling::take(&mut fields, &server.sampling, server.positions)?;
    let held = fields.end()?;
    let source = format.map(|format| format.source("text.format")).transpose()?.flatten();
    sampling.options.truncate(1);
    let mut all = match &before {
        Some(id) => server.responses.items(id)?,
        None => Vec::new(),
    };
    all.extend(items);
    // Instructions are those of this request alone.
    let system = instructions.map(Message::system);
    let messages: Vec<Message> = system.into_iter().chain(messages(all.clone())?).collect();
    let effort = reasoning.effort.map(|effort| ("reasoning_effort".to_owned(), effort.into()));
    let arguments = TemplateArguments::new(Map::from_iter(effort))?;
    let (arguments, calls) = server.offer(tools, arguments, &mut sampling, source).await?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    let prompt = server.checked(Prompt { ids, options: sampling.options })?;
    let form = ResponseForm {
        id: server.new_id("resp_"),
        item: server.new_id("item_"),
        created_at: unix_s(),
        model,
        told,
        before: all,
        keeps,
        server: Arc::clone(&server),
        calls,
        open: None,
        output: Vec::new(),
        stop: None,
        sequence: 0,
    };
    Answers::ask(&server, vec![prompt], held)?.respond(sampling.stream, true, form).await
}

/// A response that is kept.
pub async fn one(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    server.responses.with(&id, |kept| kept.response.clone()).map(Json)
}

/// Forgets a response.
pub async fn delete(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    server.responses.remove(&id)?;
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// What a response says of its request.
fn told(fields: &Fields, instructions: Option<&str>, before: Option<&str>, effort: Option<&str>) -> Value {
    let said = |name: &str| fields.get(name).cloned().unwrap_or_default();
    json!({
        "instructions": instructions,
        "previous_response_id": before,
        "max_output_tokens": said("max_tokens"),
        "temperature": said("temperature"),
        "top_p": said("top_p"),
        "metadata": fields.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "reasoning": { "effort": effort, "summary": null },
        "text": fields.get("text").cloned().unwrap_or_else(|| json!({ "format": { "type": "text" } })),
        "tools": fields.get("tools").cloned().unwrap_or_else(|| json!([])),
        "tool_choice": fields.get("tool_choice").cloned().unwrap_or_else(|| "auto".into()),
        "parallel_tool_calls": fields.get("parallel_tool_calls").cloned().unwrap_or_else(|| true.into()),
        "truncation": "disabled",
        "error": null,
    })
}

/// The functions that the model may call: as other APIs have them, without the object around each.
fn tools(fields: &mut Fields) -> Result<Option<Tools>, Failure> {
    let tools: Vec<Value> = fields.take("tools")?.unwrap_or_default();
    let around = |mut tool: Value| match tool["type"] == "function" && tool["name"].is_string() {
        false => tool,
        true => {
            tool.as_object_mut().map(|tool| tool.remove("type"));
            json!({ "type": "function", "function": tool })
        }
    };
    fields.put("tools", tools.into_iter().map(around).collect());
    if let Some(choice) = fields.take::<Value>("tool_choice")? {
        let named = choice["name"].is_string().then(|| json!({ "function": { "name": choice["name"] } }));
        fields.put("tool_choice", named.unwrap_or(choice));
    }
    Tools::take(fields)
}

/// Items as messages of a chat. What was thought belongs to the message behind it.
fn messages(items: Vec<Value>) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::with_capacity(items.len());
    let mut thoughts = String::new();
    for (index, item) in items.into_iter().enumerate() {
        let refused = |what: &str| Failure::request("input", format!("input[{index}]: {what}"));
        let Value::Object(mut fields) = item else { return Err(refused("is no object")) };
        let kind = fields.remove("type").unwrap_or_else(|| "message".into());
        match kind.as_str() {
            Some("message") => {
                for part in fields.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
                    let text = matches!(part["type"].as_str(), Some("input_text" | "output_text"));
                    if text {
                        *part = json!({ "type": "text", "text": part["text"].take() });
                    }
                }
                if !thoughts.is_empty() && fields.get("role").is_some_and(|role| role == "assistant") {
                    fields.insert("reasoning_content".into(), std::mem::take(&mut thoughts).into());
                }
                messages.push(chat::message("input", index, Value::Object(fields))?);
            }
            Some("reasoning") => {
                let parts = ["content", "summary"].map(|name| fields.remove(name).unwrap_or_default());
                // Clients send the summary where they were told no more.
                let said = parts.iter().filter_map(Value::as_array).find(|parts| !parts.is_empty());
                let texts = said.into_iter().flatten().filter_map(|part| part["text"].as_str());
                thoughts.extend(texts);
            }
            Some("function_call") => {
                let id = fields.remove("call_id").unwrap_or_default();
                let (name, arguments) = (fields.remove("name"), fields.remove("arguments"));
                let call = json!({ "id": id, "function": { "name": name, "arguments": arguments } });
                let turn = json!({ "role": "assistant", "content": "", "tool_calls": [call] });
                let mut message = chat::message("input", index, turn)?;
                match messages.last_mut().filter(|last| last.role == "assistant") {
                    Some(last) => last.tool_calls.append(&mut message.tool_calls),
                    None => {
                        message.reasoning = Some(std::mem::take(&mut thoughts)).filter(|thoughts| !thoughts.is_empty());
                        messages.push(message);
                    }
                }
            }
            Some("function_call_output") => {
                let mut output = fields.remove("output").unwrap_or_default();
                for part in output.as_array_mut().into_iter().flatten() {
                    *part = json!({ "type": "text", "text": part["text"].take() });
                }
                let id = fields.remove("call_id");
                let turn = json!({ "role": "tool", "content": output, "tool_call_id": id });
                messages.push(chat::message("input", index, turn)?);
            }
            other => {
                let message = format!("'{}' is no item that is known here", told_back(other.unwrap_or("none")));
                return Err(refused(&message));
            }
        }
    }
    if messages.is_empty() {
        return Err(Failure::request("input", "'input' has no message"));
    }
    chat::name_results(&mut messages);
    Ok(messages)
}

/// The kinds of items of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
}

impl Kind {
    fn part(self, text: &str) -> Value {
        match self {
            Self::Reasoning => json!({ "type": "reasoning_text", "text": text }),
            Self::Message => json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }),
        }
    }

    fn item(self, id: &str, content: Vec<Value>, status: &str) -> Value {
        match self {
            Self::Reasoning => {
                json!({ "type": "reasoning", "id": id, "summary": [], "content": content, "status": status })
            }
            Self::Message => {
                json!({ "type": "message", "id": id, "role": "assistant", "content": content, "status": status })
            }
        }
    }

    /// The first words of its events.
    fn event(self) -> &'static str {
        match self {
            Self::Reasoning => "response.reasoning_text",
            Self::Message => "response.output_text",
        }
    }
}

struct ResponseForm {
    id: String,
    /// What ids of its items begin with.
    item: String,
    created_at: u64,
    model: String,
    /// What the response says of its request.
    told: Value,
    /// The items that it answers.
    before: Vec<Value>,
    keeps: bool,
    server: Arc<Server>,
    /// What finds calls in the answer, where there are tools.
    calls: Option<CallReader>,
    /// The item that is open, and its text so far.
    open: Option<(Kind, String)>,
    output: Vec<Value>,
    stop: Option<StopReason>,
    /// Events that were told.
    sequence: u64,
}

impl ResponseForm {
    fn status(&self) -> &'static str {
        match self.stop {
            None => "in_progress",
            Some(StopReason::MaxTokens | StopReason::ContextFull) => "incomplete",
            Some(_) => "completed",
        }
    }

    fn response(&self, usage: Option<Usage>) -> Value {
        let incomplete = (self.status() == "incomplete").then(|| json!({ "reason": "max_output_tokens" }));
        let mut all = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": self.status(),
            "model": self.model,
            "output": self.output,
            "incomplete_details": incomplete,
            "store": self.keeps,
            "usage": usage.map(counts),
        });
        if let (Value::Object(all), Value::Object(told)) = (&mut all, self.told.clone()) {
            all.extend(told);
        }
        all
    }

    /// The response at its end, which is kept.
    fn ended(&mut self, usage: Usage) -> Value {
        let response = self.response(Some(usage));
        if self.keeps {
            let items = self.before.drain(..).chain(self.output.iter().cloned()).collect();
            self.server.responses.keep(&self.id, response.clone(), items);
        }
        response
    }

    fn item_id(&self) -> String {
        format!("{}_{}", self.item, self.output.len())
    }

    fn event(&mut self, kind: &str, more: Value) -> Value {
        let mut event = json!({ "type": kind, "sequence_number": self.sequence });
        self.sequence += 1;
        if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
            event.extend(more);
        }
        event
    }

    /// An event of the open item's text.
    fn text_event(&mut self, kind: &str, mut more: Value) -> Value {
        more["item_id"] = self.item_id().into();
        more["output_index"] = self.output.len().into();
        more["content_index"] = 0.into();
        self.event(kind, more)
    }

    /// Says more in an item of a kind; the one before ends.
    fn say(&mut self, kind: Kind, text: &str, said: &mut Vec<Value>) {
        if text.is_empty() {
            return;
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.end_item(said);
            self.open = Some((kind, String::new()));
            let item = kind.item(&self.item_id(), Vec::new(), "in_progress");
            let index = self.output.len();
            said.push(self.event("response.output_item.added", json!({ "output_index": index, "item": item })));
            said.push(self.text_event("response.content_part.added", json!({ "part": kind.part("") })));
        }
        if let Some((_, all)) = &mut self.open {
            *all += text;
        }
        said.push(self.text_event(&format!("{}.delta", kind.event()), json!({ "delta": text, "logprobs": [] })));
    }

    /// Says what is certain of the answer with more of its text, or with its end.
    fn read(&mut self, more: Option<&str>, said: &mut Vec<Value>) {
        let read = match (&mut self.calls, more) {
            (Some(reader), Some(text)) => reader.push(text),
            (Some(reader), None) => reader.finish(),
            (None, text) => Said { text: text.unwrap_or_default().to_owned(), calls: Vec::new() },
        };
        self.say(Kind::Message, &read.text, said);
        for call in read.calls {
            self.say_call(&call, said);
        }
    }

    /// Says a call, which is an item of its own.
    fn say_call(&mut self, call: &ToolCall, said: &mut Vec<Value>) {
        self.end_item(said);
        let (id, index) = (self.item_id(), self.output.len());
        let arguments = Value::Object(call.arguments.clone()).to_string();
        let call_id = self.server.new_id("call_");
        let item = |arguments: &str, status: &str| {
            json!({
                "type": "function_call", "id": id, "call_id": call_id, "name": call.name, "arguments": arguments,
                "status": status,
            })
        };
        let whole = item(&arguments, "completed");
        let place = json!({ "item_id": id, "output_index": index });
        let with = |name: &str, value: Value| {
            let mut place = place.clone();
            place[name] = value;
            place
        };
        let added = json!({ "output_index": index, "item": item("", "in_progress") });
        said.push(self.event("response.output_item.added", added));
        let arguments = Value::from(arguments);
        said.push(self.event("response.function_call_arguments.delta", with("delta", arguments.clone())));
        said.push(self.event("response.function_call_arguments.done", with("arguments", arguments)));
        said.push(self.event("response.output_item.done", json!({ "output_index": index, "item": whole })));
        self.output.push(whole);
    }

    fn end_item(&mut self, said: &mut Vec<Value>) {
        let Some((kind, text)) = self.open.take() else { return };
        let status = if self.status() == "incomplete" { "incomplete" } else { "completed" };
        let part = kind.part(&text);
        said.push(self.text_event(&format!("{}.done", kind.event()), json!({ "text": text, "logprobs": [] })));
        said.push(self.text_event("response.content_part.done", json!({ "part": part })));
        let item = kind.item(&self.item_id(), vec![part], status);
        let index = self.output.len();
        said.push(self.event("response.output_item.done", json!({ "output_index": index, "item": item })));
        self.output.push(item);
    }
}

fn counts(usage: Usage) -> Value {
    let Usage { prompt, cached, new, thought } = usage;
    json!({
        "input_tokens": prompt,
        "input_tokens_details": { "cached_tokens": cached },
        "output_tokens": new,
        "output_tokens_details": { "reasoning_tokens": thought },
        "total_tokens": prompt + new,
    })
}

impl Form for ResponseForm {
    const FRAMING: Framing = Framing::NamedEvents;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let whole = answers.into_iter().next().unwrap_or_default();
        let mut events = Vec::new();
        self.say(Kind::Reasoning, &whole.reasoning, &mut events);
        self.read(Some(&whole.text), &mut events);
        self.stop = whole.stop;
        self.read(None, &mut events);
        self.end_item(&mut events);
        self.ended(usage)
    }

    fn begin(&mut self, _: usize) -> Vec<Value> {
        ["response.created", "response.in_progress"]
            .into_iter()
            .map(|kind| {
                let response = self.response(None);
                self.event(kind, json!({ "response": response }))
            })
            .collect()
    }

    fn delta(&mut self, _: usize, delta: &TextDelta) -> Vec<Value> {
        let mut said = Vec::new();
        self.say(Kind::Reasoning, &delta.reasoning, &mut said);
        self.read(Some(&delta.text), &mut said);
        said
    }

    fn end(&mut self, _: usize, stop: StopReason) -> Vec<Value> {
        self.stop = Some(stop);
        let mut said = Vec::new();
        self.read(None, &mut said);
        self.end_item(&mut said);
        said
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        let response = self.ended(usage);
        let kind = format!("response.{}", self.status());
        vec![self.event(&kind, json!({ "response": response }))]
    }
}

#[cfg(test)]
mod tests {
    use tilestream::{Content, ContentPart};

    use super::*;

    #[test]
    fn items_are_taken_as_clients_send_them_and_what_is_unknown_is_named() {
        let read = |items: Value| messages(serde_json::from_value(items).expect("a list"));
        let parts = |text: &str| Content::from(vec![ContentPart::from(text)]);
        let mut thoughtful = Message::assistant(parts("4"));
        thoughtful.reasoning = Some("2 and 2".into());
        let told = Message::new("developer", "be brief");
        let arguments = Map::from_iter([("a".to_owned(), Value::from(2))]);
        thoughtful.tool_calls.push(ToolCall { id: "c1".into(), name: "add".into(), arguments });
        let mut result = Message::new("tool", parts("5"));
        (result.tool_call_id, result.name) = (Some("c1".into()), Some("add".into()));
        let expected = [told, Message::user(parts("2 + 2?")), thoughtful, result, Message::user("sure?")];
        let items = json!([
            { "role": "developer", "content": "be brief" },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "2 + 2?" }] },
            { "type": "reasoning", "id": "r", "summary": [], "content": [{ "type": "reasoning_text", "text": "2 and 2" }] },
            { "type": "message", "id": "m", "status": "completed", "role": "assistant",
              "content": [{ "type": "output_text", "text": "4", "annotations": [], "logprobs": [] }] },
            { "type": "function_call", "id": "f", "call_id": "c1", "name": "add", "arguments": "{\"a\": 2}" },
            { "type": "function_call_output", "call_id": "c1", "output": [{ "type": "input_text", "text": "5" }] },
            { "role": "user", "content": "sure?" },
        ]);
        assert_eq!(read(items).ok().as_deref(), Some(&expected[..]));
        for (items, says) in [
            (json!([]), "no message"),
            (json!(["hello"]), "input[0]"),
            (json!([{ "type": "item_reference", "id": "x" }]), "'item_reference'"),
            (json!([{ "role": "user", "content": [{ "type": "input_image" }] }]), "input[0]"),
        ] {
            let failure = read(items).expect_err("refused").json().to_string();
            assert!(failure.contains(says), "{failure}");
        }
    }
}
