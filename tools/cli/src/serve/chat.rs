//! `/v1/chat/completions`: messages in, the next message out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tilestream::{Message, StopReason, TemplateArguments, TextDelta, TokenLogprobs, ToolCall};

use super::Server;
use super::answers::{Answers, Form, Framing, Head, Prompt, Usage, Whole, finish_reason};
use super::asked::Fields;
use super::failure::Failure;
use super::formats;
use super::sampling::Sampling;
use super::tools::{CallReader, Said, Tools};
use crate::turns::{Call, Turn};

/// Fields of a message that no template is told; but the name of a function whose result it is.
const UNSAID: &[&str] = &["name", "id", "status"];

/// Answers a chat.
pub async fn complete(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let name = server.take_name(&mut fields)?;
    let messages = messages(&mut fields)?;
    let mut sampling = Sampling::take(&mut fields, &server.sampling, server.positions)?;
    let top = fields.take::<usize>("top_logprobs")?;
    match fields.take("logprobs")?.unwrap_or(false) {
        true => sampling.tell_logprobs("top_logprobs", top.unwrap_or(0))?,
        false if top.is_some_and(|top| top > 0) => {
            return Err(Failure::request("top_logprobs", "'top_logprobs' needs 'logprobs': true"));
        }
        false => {}
    }
    let format = formats::take(&mut fields)?;
    let tools = Tools::take(&mut fields)?;
    let arguments = template_arguments(&mut fields)?;
    let held = fields.end()?;
    let (arguments, calls) = server.offer(tools, arguments, &mut sampling, format).await?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    let calls = vec![calls; sampling.options.len()];
    let prompt = server.checked(Prompt { ids, options: sampling.options })?;
    let form = ChatForm { head: Head::new("chatcmpl-", &server, name), calls, server: Arc::clone(&server) };
    Answers::ask(&server, vec![prompt], held)?.respond(sampling.stream, sampling.stream_usage, form).await
}

/// The messages of a chat.
pub fn messages(fields: &mut Fields) -> Result<Vec<Message>, Failure> {
    let turns: Vec<Value> = fields.need("messages")?;
    if turns.is_empty() {
        return Err(Failure::request("messages", "'messages' has no message"));
    }
    let turns = turns.into_iter().enumerate().map(|(index, turn)| message("messages", index, turn));
    let mut messages = turns.collect::<Result<Vec<_>, _>>()?;
    name_results(&mut messages);
    Ok(messages)
}

/// Gives results the names of the functions that were called, where only the calls say them: some templates ask for those.
pub fn name_results(messages: &mut [Message]) {
    let calls = messages.iter().flat_map(|message| &message.tool_calls);
    let names: Vec<(String, String)> = calls.map(|call| (call.id.clone(), call.name.clone())).collect();
    for message in messages.iter_mut().filter(|message| message.name.is_none()) {
        let Some(id) = &message.tool_call_id else { continue };
        message.name = names.iter().find(|(known, _)| known == id).map(|(_, name)| name.clone());
    }
}

/// The message that stands at a place of the list `field`.
pub fn message(field: &str, index: usize, turn: Value) -> Result<Message, Failure> {
    let name = format!("{field}[{index}]");
    let refused = |message: String| Failure::request(field, format!("{name}: {message}"));
    let Value::Object(mut fields) = turn else { return Err(refused("is no object".into())) };
    let says_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let is_result = fields.get("role").is_some_and(|role| role == "tool");
    let is_unsaid = |name: &str| UNSAID.contains(&name) && !(is_result && name == "name");
    fields.retain(|name, value| name == "content" || !(is_unsaid(name) || says_nothing(value)));
    if fields.contains_key("reasoning_content") {
        fields.remove("reasoning");
    }
    // An assistant's message that only thinks has no content.
    let is_own = fields.get("role").is_some_and(|role| role == "assistant");
    if is_own && fields.get("content").is_none_or(Value::is_null) {
        fields.insert("content".into(), json!(""));
    }
    let turn: Turn = serde_json::from_value(Value::Object(fields)).map_err(|error| refused(error.to_string()))?;
    turn.message().map_err(|error| refused(error.to_string()))
}

/// What the chat template is told beside the messages.
pub fn template_arguments(fields: &mut Fields) -> Result<TemplateArguments, Failure> {
    let mut arguments: Map<String, Value> = fields.take("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = fields.take::<String>("reasoning_effort")? {
        arguments.insert("reasoning_effort".into(), effort.into());
    }
    Ok(TemplateArguments::new(arguments)?)
}

/// As OpenAI's API writes chats, with what a model thinks beside its answer.
struct ChatForm {
    head: Head,
    /// Of each answer what finds calls in it, where there are tools.
    calls: Vec<Option<CallReader>>,
    server: Arc<Server>,
}

impl ChatForm {
    fn chunk(&self, answer: usize, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({ "index": answer, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        self.head.json("chat.completion.chunk", vec![choice])
    }

    /// Calls, counted from one on: as JSON with new ids.
    fn told(&self, calls: Vec<ToolCall>, first: usize) -> Vec<Value> {
        let one = |(index, call): (usize, ToolCall)| {
            let call = ToolCall { id: self.server.new_id("call_"), ..call };
            let mut json = json!(Call::of(&call));
            json["index"] = (first + index).into();
            json
        };
        calls.into_iter().enumerate().map(one).collect()
    }

    /// Chunks for what is said of an answer.
    fn said(&self, answer: usize, said: Said, told: usize) -> Vec<Value> {
        let Said { text, calls } = said;
        let text = (!text.is_empty()).then(|| json!({ "content": text }));
        let calls = self.told(calls, told).into_iter().map(|call| json!({ "tool_calls": [call] }));
        text.into_iter().chain(calls).map(|delta| self.chunk(answer, delta, None)).collect()
    }

    /// How likely the tokens were; null where that was not asked for.
    fn logprobs(&self, of: &[(u32, TokenLogprobs)]) -> Value {
        let one = |id: u32, logprob: f32| {
            let (token, bytes) = self.head.spelled(id);
            json!({ "token": token, "logprob": logprob, "bytes": bytes })
        };
        let all = of.iter().map(|(id, logprobs)| {
            let mut all = one(*id, logprobs.chosen);
            all["top_logprobs"] = logprobs.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect();
            all
        });
        let all: Vec<Value> = all.collect();
        if all.is_empty() { Value::Null } else { json!({ "content": all, "refusal": null }) }
    }
}

/// A call of a whole answer, which has its place in a list.
fn without_index(mut call: Value) -> Value {
    call.as_object_mut().map(|call| call.remove("index"));
    call
}

impl Form for ChatForm {
    const FRAMING: Framing = Framing::Events;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let mut readers = std::mem::take(&mut self.calls);
        let choice = |(index, whole): (usize, Whole)| {
            let reader = readers.get_mut(index).and_then(Option::as_mut);
            let Said { text, calls } = reader.map_or_else(
                || Said { text: whole.text.clone(), calls: Vec::new() },
                |reader| reader.whole(&whole.text),
            );
            let reason = if calls.is_empty() { finish_reason(whole.stop) } else { "tool_calls" };
            let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
            if !calls.is_empty() {
                let calls = self.told(calls, 0).into_iter().map(without_index);
                message["tool_calls"] = calls.collect();
                if text.is_empty() {
                    message["content"] = Value::Null;
                }
            }
            if !whole.reasoning.is_empty() {
                message["reasoning_content"] = whole.reasoning.into();
            }
            let logprobs = self.logprobs(&whole.logprobs);
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason })
        };
        let choices = answers.into_iter().enumerate().map(choice).collect();
        let mut all = self.head.json("chat.completion", choices);
        all["usage"] = usage.json();
        all
    }

    fn begin(&mut self, answer: usize) -> Vec<Value> {
        vec![self.chunk(answer, json!({ "role": "assistant", "content": "" }), None)]
    }

    fn delta(&mut self, answer: usize, delta: &TextDelta) -> Vec<Value> {
        let read = self.calls[answer].as_mut().map(|reader| {
            let told = reader.told();
            (reader.push(&delta.text), told)
        });
        let (text, calls) = match read {
            None => (delta.text.clone(), Vec::new()),
            Some((Said { text, calls }, told)) => (text, self.said(answer, Said { text: String::new(), calls }, told)),
        };
        let mut said = Map::new();
        for (name, text) in [("reasoning_content", &delta.reasoning), ("content", &text)] {
            if !text.is_empty() {
                said.insert(name.into(), text.as_str().into());
            }
        }
        let logprobs: Vec<_> = delta.id.zip(delta.logprobs.clone()).into_iter().collect();
        if said.is_empty() && logprobs.is_empty() {
            return calls;
        }
        let mut chunk = self.chunk(answer, said.into(), None);
        chunk["choices"][0]["logprobs"] = self.logprobs(&logprobs);
        [vec![chunk], calls].concat()
    }

    fn end(&mut self, answer: usize, stop: StopReason) -> Vec<Value> {
        let read = self.calls[answer].as_mut().map(|reader| {
            let told = reader.told();
            (reader.finish(), told, reader.told() > 0)
        });
        let (mut all, called) = match read {
            None => (Vec::new(), false),
            Some((said, told, called)) => (self.said(answer, said, told), called),
        };
        let reason = if called { "tool_calls" } else { finish_reason(Some(stop)) };
        all.push(self.chunk(answer, json!({}), Some(reason)));
        all
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        let mut all = self.head.json("chat.completion.chunk", Vec::new());
        all["usage"] = usage.json();
        vec![all]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_as_clients_send_them_and_what_is_unknown_is_named() {
        let read = |json: &str| message("messages", 3, serde_json::from_str(json).expect("JSON"));
        let hello = Message::user("hello");
        for json in [
            r#"{"role": "user", "content": "hello"}"#,
            r#"{"role": "user", "content": "hello", "name": "Ada"}"#,
            r#"{"role": "user", "content": "hello", "tool_calls": null, "refusal": null, "annotations": []}"#,
        ] {
            assert_eq!(read(json).ok(), Some(hello.clone()), "{json}");
        }
        for json in [r#"{"role": "assistant", "content": null}"#, r#"{"role": "assistant", "audio": null}"#] {
            assert_eq!(read(json).ok(), Some(Message::assistant("")), "{json}");
        }
        for (json, says) in [
            (r#"{"role": "robot", "content": "4"}"#, "'robot'"),
            (r#"{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}"#, "function"),
            (r#"{"role": "user", "content": null}"#, "must be a text"),
            (r#"{"role": "user", "content": "hello", "colour": "red"}"#, "colour"),
            (r#""hello""#, "no object"),
        ] {
            let failure = read(json).expect_err(json).json().to_string();
            assert!(failure.contains(says) && failure.contains("messages[3]"), "{json}: {failure}");
        }
    }
}
