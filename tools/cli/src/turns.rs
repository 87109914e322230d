//! Messages of a chat as JSON: the form of OpenAI's API, in which chats are kept and prompts are given.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tilestream::{Content, Error, ErrorKind, Message, Result, ToolCall};

/// Who may speak; a tool tells the result of a call.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// A call of a function.
#[derive(Deserialize, Serialize)]
pub struct Call {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(default = "function")]
    r#type: String,
    function: Called,
}

fn function() -> String {
    "function".to_owned()
}

#[derive(Deserialize, Serialize)]
struct Called {
    name: String,
    #[serde(default)]
    arguments: Arguments,
}

/// OpenAI's API has arguments as JSON in a text, Ollama's as they are.
#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "must be an object, or one as a text")]
enum Arguments {
    Text(String),
    Fields(Map<String, Value>),
}

impl Default for Arguments {
    fn default() -> Self {
        Self::Fields(Map::new())
    }
}

impl Call {
    /// A call as JSON, its arguments in a text.
    pub fn of(call: &ToolCall) -> Self {
        let arguments = Arguments::Text(Value::Object(call.arguments.clone()).to_string());
        Self { id: call.id.clone(), r#type: function(), function: Called { name: call.name.clone(), arguments } }
    }

    /// # Errors
    /// [`ErrorKind::Argument`] for a call of something else, and for arguments that are no JSON object.
    fn call(self) -> Result<ToolCall> {
        let Called { name, arguments } = self.function;
        let wrong = |message: String| Error::new(ErrorKind::Argument, message);
        if self.r#type != "function" {
            return Err(wrong(format!("a call has the type '{}'; functions are known", self.r#type)));
        }
        let arguments = match arguments {
            Arguments::Fields(fields) => fields,
            Arguments::Text(text) if text.trim().is_empty() => Map::new(),
            Arguments::Text(text) => serde_json::from_str(&text)
                .map_err(|error| wrong(format!("the arguments of a call of '{name}' are no JSON object: {error}")))?,
        };
        Ok(ToolCall { id: self.id, name, arguments })
    }
}

/// One message.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    role: String,
    content: Content,
    /// What the model thought before it answered.
    #[serde(default, alias = "reasoning", alias = "thinking", skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
    /// Of a tool's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(default, alias = "tool_name", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Turn {
    /// A message as JSON.
    pub fn of(message: &Message) -> Self {
        Self {
            role: message.role.clone(),
            content: message.content.clone(),
            reasoning_content: message.reasoning.clone(),
            tool_calls: message.tool_calls.iter().map(Call::of).collect(),
            tool_call_id: message.tool_call_id.clone(),
            name: message.name.clone(),
        }
    }

    /// # Errors
    /// [`ErrorKind::Argument`] for a role that no template knows.
    pub fn message(self) -> Result<Message> {
        if !ROLES.contains(&self.role.as_str()) {
            return Err(Error::new(ErrorKind::Argument, format!("a message has the role '{}'", self.role))
                .remedy(format!("known are {}", ROLES.join(", "))));
        }
        let calls = self.tool_calls.into_iter().map(Call::call).collect::<Result<_>>()?;
        let mut message = Message::new(self.role, self.content);
        message.reasoning = self.reasoning_content;
        message.tool_calls = calls;
        message.tool_call_id = self.tool_call_id;
        message.name = self.name;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use tilestream::ContentPart;

    use super::*;

    fn read(json: &str) -> Result<Message, String> {
        let turn: Turn = serde_json::from_str(json).map_err(|error| error.to_string())?;
        turn.message().map_err(|error| error.to_string())
    }

    #[test]
    fn contents_are_texts_or_parts_and_what_is_unknown_is_named() {
        let hello = Message::user("hello");
        assert_eq!(read(r#"{"role": "user", "content": "hello"}"#), Ok(hello));
        let parts = r#"[{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]"#;
        let hello = Message::user(["hel", "lo"].map(ContentPart::from).to_vec());
        assert_eq!(read(&format!(r#"{{"role": "user", "content": {parts}}}"#)), Ok(hello));
        for (json, says) in [
            (r#"{"role": "robot", "content": "x"}"#, "'robot'"),
            (
                r#"{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "4"}}]}"#,
                "'f'",
            ),
            (
                r#"{"role": "assistant", "content": "", "tool_calls": [{"type": "x", "function": {"name": "f"}}]}"#,
                "'x'",
            ),
            (r#"{"role": "user", "content": 4}"#, "content"),
            (r#"{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}"#, "\"image_url\""),
            (r#"{"role": "user"}"#, "content"),
            (r#"{"role": "user", "content": "x", "nmae": "y"}"#, "nmae"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let thought = Message { reasoning: Some("hm".into()), ..Message::assistant("d") };
        let parts = Message::user(["b", "c"].map(ContentPart::from).to_vec());
        let mut called = Message::assistant("");
        let arguments = Map::from_iter([("a".to_owned(), Value::from(4))]);
        called.tool_calls.push(ToolCall { id: "1".into(), name: "f".into(), arguments });
        let mut result = Message::new("tool", "5");
        (result.tool_call_id, result.name) = (Some("1".into()), Some("f".into()));
        for message in
            [called, result, Message::system("a"), Message::user("b\n\"c\""), parts, Message::assistant(""), thought]
        {
            let json = serde_json::to_string(&Turn::of(&message)).expect("JSON");
            assert_eq!(read(&json), Ok(message));
        }
    }
}
