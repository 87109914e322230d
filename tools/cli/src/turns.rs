//! Messages of a chat as JSON: the form of OpenAI's API, in which chats are kept and prompts are given.

use serde::{Deserialize, Serialize};
use tilestream::{Content, Error, ErrorKind, Message, Result};

/// Who may speak.
const ROLES: [&str; 4] = ["system", "developer", "user", "assistant"];

/// One message.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    role: String,
    content: Content,
    /// What the model thought before it answered.
    #[serde(default, alias = "reasoning", alias = "thinking", skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
}

impl Turn {
    /// A message as JSON.
    pub fn of(message: &Message) -> Self {
        Self {
            role: message.role.clone(),
            content: message.content.clone(),
            reasoning_content: message.reasoning.clone(),
        }
    }

    /// # Errors
    /// [`ErrorKind::Argument`] for a role that no template knows.
    pub fn message(self) -> Result<Message> {
        if !ROLES.contains(&self.role.as_str()) {
            return Err(Error::new(ErrorKind::Argument, format!("a message has the role '{}'", self.role))
                .remedy(format!("known are {}", ROLES.join(", "))));
        }
        Ok(Message { reasoning: self.reasoning_content, ..Message::new(self.role, self.content) })
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
            (r#"{"role": "tool", "content": "x"}"#, "'tool'"),
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
        for message in [Message::system("a"), Message::user("b\n\"c\""), parts, Message::assistant(""), thought] {
            let json = serde_json::to_string(&Turn::of(&message)).expect("JSON");
            assert_eq!(read(&json), Ok(message));
        }
    }
}
