//! `/v1/chat/completions`: messages in, the next message out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tilestream::{Message, StopReason, TemplateArguments, TextDelta, TokenLogprobs};

use super::Server;
use super::answers::{Answers, Form, Framing, Head, Prompt, Usage, Whole, finish_reason};
use super::asked::Fields;
use super::failure::Failure;
use super::formats;
use super::sampling::Sampling;
use crate::turns::Turn;

/// Fields of a message that no template is told.
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
    let arguments = template_arguments(&mut fields)?;
    let held = fields.end()?;
    server.constrain(&mut sampling, format).await?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    let prompt = server.checked(Prompt { ids, options: sampling.options })?;
    let form = ChatForm(Head::new("chatcmpl-", &server, name));
    Answers::ask(&server, vec![prompt], held)?.respond(sampling.stream, sampling.stream_usage, form).await
}

/// The messages of a chat.
pub fn messages(fields: &mut Fields) -> Result<Vec<Message>, Failure> {
    let turns: Vec<Value> = fields.need("messages")?;
    if turns.is_empty() {
        return Err(Failure::request("messages", "'messages' has no message"));
    }
    turns.into_iter().enumerate().map(|(index, turn)| message("messages", index, turn)).collect()
}

/// The message that stands at a place of the list `field`.
pub fn message(field: &str, index: usize, turn: Value) -> Result<Message, Failure> {
    let name = format!("{field}[{index}]");
    let refused = |message: String| Failure::request(field, format!("{name}: {message}"));
    let Value::Object(mut fields) = turn else { return Err(refused("is no object".into())) };
    let says_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    fields.retain(|name, value| name == "content" || !(UNSAID.contains(&name.as_str()) || says_nothing(value)));
    if fields.get("role").is_some_and(|role| role == "tool") || fields.contains_key("tool_calls") {
        return Err(refused("tools are not supported here yet".into()));
    }
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
fn template_arguments(fields: &mut Fields) -> Result<TemplateArguments, Failure> {
    let mut arguments: Map<String, Value> = fields.take("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = fields.take::<String>("reasoning_effort")? {
        arguments.insert("reasoning_effort".into(), effort.into());
    }
    Ok(TemplateArguments::new(arguments)?)
}

/// As OpenAI's API writes chats, with what a model thinks beside its answer.
struct ChatForm(Head);

impl ChatForm {
    fn chunk(&self, answer: usize, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({ "index": answer, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        self.0.json("chat.completion.chunk", vec![choice])
    }

    /// How likely the tokens were; null where that was not asked for.
    fn logprobs(&self, of: &[(u32, TokenLogprobs)]) -> Value {
        let one = |id: u32, logprob: f32| {
            let (token, bytes) = self.0.spelled(id);
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

impl Form for ChatForm {
    const FRAMING: Framing = Framing::Events;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let choice = |(index, whole): (usize, Whole)| {
            let mut message = json!({ "role": "assistant", "content": whole.text, "refusal": null });
            if !whole.reasoning.is_empty() {
                message["reasoning_content"] = whole.reasoning.into();
            }
            let logprobs = self.logprobs(&whole.logprobs);
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(whole.stop) })
        };
        let choices = answers.into_iter().enumerate().map(choice).collect();
        let mut all = self.0.json("chat.completion", choices);
        all["usage"] = usage.json();
        all
    }

    fn begin(&mut self, answer: usize) -> Vec<Value> {
        vec![self.chunk(answer, json!({ "role": "assistant", "content": "" }), None)]
    }

    fn delta(&mut self, answer: usize, delta: &TextDelta) -> Vec<Value> {
        let mut said = Map::new();
        for (name, text) in [("reasoning_content", &delta.reasoning), ("content", &delta.text)] {
            if !text.is_empty() {
                said.insert(name.into(), text.as_str().into());
            }
        }
        let logprobs: Vec<_> = delta.id.zip(delta.logprobs.clone()).into_iter().collect();
        if said.is_empty() && logprobs.is_empty() {
            return Vec::new();
        }
        let mut chunk = self.chunk(answer, said.into(), None);
        chunk["choices"][0]["logprobs"] = self.logprobs(&logprobs);
        vec![chunk]
    }

    fn end(&mut self, answer: usize, stop: StopReason) -> Vec<Value> {
        vec![self.chunk(answer, json!({}), Some(finish_reason(Some(stop))))]
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        let mut all = self.0.json("chat.completion.chunk", Vec::new());
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
            (r#"{"role": "tool", "content": "4", "tool_call_id": "x"}"#, "tools"),
            (r#"{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}"#, "tools"),
            (r#"{"role": "user", "content": null}"#, "must be a text"),
            (r#"{"role": "user", "content": "hello", "colour": "red"}"#, "colour"),
            (r#""hello""#, "no object"),
        ] {
            let failure = read(json).expect_err(json).json().to_string();
            assert!(failure.contains(says) && failure.contains("messages[3]"), "{json}: {failure}");
        }
    }
}
