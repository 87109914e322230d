//! What was said in a chat, and what of it the model still sees.

use std::path::Path;

use serde_json::{Value, json};
use tilestream::{Content, Error, ErrorKind, Message, Result};

use crate::model;
use crate::turns::Turn;

/// A message and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub asked: Content,
    pub answer: Message,
    /// Whether the answer came to its end, or to that of a limit.
    pub whole: bool,
    /// What the answer can go on from. `None`: it came to its end, or is of another chat.
    pub begun: Option<Begun>,
}

/// An answer that was stopped or cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What they were drawn with.
    pub seed: u64,
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    pub system: Option<Content>,
    exchanges: Vec<Exchange>,
    /// The oldest ones, that the model does not see any more.
    left_out: usize,
    /// A message that got no answer.
    pub unanswered: Option<Content>,
}

impl Conversation {
    /// A conversation in which nothing was said.
    pub fn new(system: Option<Content>) -> Self {
        Self { system, ..Self::default() }
    }

    /// What the model sees, with the next message.
    pub fn messages(&self, asked: &Content) -> Vec<Message> {
        let mut messages = self.of(&self.exchanges[self.left_out..]);
        messages.push(Message::user(asked.clone()));
        messages
    }

    /// Adds a message and its answer.
    pub fn push(&mut self, exchange: Exchange) {
        self.unanswered = None;
        self.exchanges.push(exchange);
    }

    /// The last message and its answer.
    pub fn last(&self) -> Option<&Exchange> {
        self.exchanges.last()
    }

    /// Takes the last message and its answer back.
    pub fn pop(&mut self) -> Option<Exchange> {
        let last = self.exchanges.pop();
        self.left_out = self.left_out.min(self.exchanges.len());
        last
    }

    /// Hides the oldest message and its answer from the model; false where it sees none.
    pub fn leave_out_oldest(&mut self) -> bool {
        let more = self.left_out < self.exchanges.len();
        self.left_out += usize::from(more);
        more
    }

    /// Messages that the model does not see any more.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Writes it, whole or not at all. A file of something else is not replaced.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn save(&self, path: &Path) -> Result<()> {
        if path.exists() && Self::load(path).is_err() {
            let error =
                Error::new(ErrorKind::Argument, "is there and is no conversation").file(path.display().to_string());
            return Err(error.remedy("give another name"));
        }
        let mut messages = self.of(&self.exchanges);
        messages.extend(self.unanswered.iter().map(|asked| Message::user(asked.clone())));
        let turns: Vec<_> = messages.iter().map(Turn::of).collect();
        model::write_whole(path, |out| writeln!(out, "{:#}", json!({ "messages": turns })))
    }

    /// Reads a conversation: `{"messages": […]}`, where user and assistant take turns.
    ///
    /// # Errors
    /// Those of reading, and [`ErrorKind::Malformed`] naming the message.
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        Self::parse(&model::read_text(path)?).map_err(|error| error.file(name))
    }

    fn parse(text: &str) -> Result<Self> {
        let wrong = |message: String| Error::new(ErrorKind::Malformed, message);
        let mut object: Value =
            serde_json::from_str(text).map_err(|error| wrong(format!("is no conversation: {error}")))?;
        let Some(Value::Array(list)) = object.get_mut("messages").map(Value::take) else {
            return Err(wrong("is no conversation: it needs a list \"messages\"".into()));
        };
        let mut loaded = Self::default();
        for (index, value) in list.into_iter().enumerate() {
            let number = index + 1;
            let turn: Turn =
                serde_json::from_value(value).map_err(|error| wrong(format!("message {number}: {error}")))?;
            let message = turn.message().map_err(|error| wrong(format!("message {number}: {error}")))?;
            match (message.role.as_str(), loaded.unanswered.take()) {
                ("system" | "developer", None) if index == 0 => loaded.system = Some(message.content),
                ("user", None) => loaded.unanswered = Some(message.content),
                ("assistant", Some(asked)) => {
                    loaded.push(Exchange { asked, answer: message, whole: true, begun: None })
                }
                (role, _) => {
                    return Err(wrong(format!("message {number} is of the {role}, out of turn"))
                        .remedy("after a system message, user and assistant take turns"));
                }
            }
        }
        Ok(loaded)
    }

    fn of(&self, exchanges: &[Exchange]) -> Vec<Message> {
        let mut messages: Vec<_> = self.system.iter().map(|told| Message::system(told.clone())).collect();
        for exchange in exchanges {
            messages.extend([Message::user(exchange.asked.clone()), exchange.answer.clone()]);
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use tilestream::ContentPart;

    use super::*;

    fn exchange(n: u32) -> Exchange {
        let answer = Message::assistant(format!("a{n}"));
        Exchange { asked: format!("q{n}").into(), answer, whole: true, begun: None }
    }

    fn conversation(count: u32) -> Conversation {
        let mut conversation = Conversation::new(Some("s".into()));
        (1..=count).for_each(|n| conversation.push(exchange(n)));
        conversation
    }

    fn contents(messages: &[Message]) -> Vec<String> {
        messages.iter().map(|message| message.content.text().into_owned()).collect()
    }

    #[test]
    fn the_oldest_are_left_out_and_the_system_prompt_stays() {
        let mut talk = conversation(3);
        assert_eq!(contents(&talk.messages(&"x".into())), ["s", "q1", "a1", "q2", "a2", "q3", "a3", "x"]);
        assert!(talk.leave_out_oldest() && talk.leave_out_oldest());
        assert_eq!(contents(&talk.messages(&"x".into())), ["s", "q3", "a3", "x"]);
        assert!(talk.leave_out_oldest() && !talk.leave_out_oldest());
        assert_eq!(contents(&talk.messages(&"x".into())), ["s", "x"]);
        assert_eq!((talk.pop(), talk.left_out()), (Some(exchange(3)), 2));
        talk.push(exchange(4));
        assert_eq!(contents(&talk.messages(&"x".into())), ["s", "q4", "a4", "x"]);
    }

    #[test]
    fn what_is_saved_is_loaded_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chat.json");
        let mut talk = conversation(2);
        talk.push(Exchange {
            answer: Message { reasoning: Some("hm".into()), ..Message::assistant("\u{1f600}\n") },
            ..exchange(3)
        });
        talk.unanswered = Some(["and", "?"].map(ContentPart::from).to_vec().into());
        talk.save(&path).expect("saves");
        assert_eq!(Conversation::load(&path).expect("loads"), talk);
        talk.leave_out_oldest();
        talk.unanswered = None;
        talk.save(&path).expect("saves again");
        assert_eq!(Conversation::load(&path).expect("loads").exchanges, talk.exchanges, "also what is left out");
        std::fs::write(&path, "my notes").expect("writes");
        assert!(talk.save(&path).expect_err("no conversation").to_string().contains("another name"));
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "my notes");
    }

    #[test]
    fn files_that_are_no_conversation_are_refused_by_message() {
        let user = r#"{"role": "user", "content": "a"}"#;
        let model = r#"{"role": "assistant", "content": "b"}"#;
        let system = r#"{"role": "system", "content": "c"}"#;
        let of = |messages: &[&str]| format!("{{\"messages\": [{}]}}", messages.join(", "));
        for (text, says) in [
            ("".to_owned(), "no conversation"),
            ("[]".into(), "messages"),
            ("{}".into(), "messages"),
            (of(&[user, user]), "message 2 is of the user"),
            (of(&[model]), "message 1 is of the assistant"),
            (of(&[user, model, system]), "message 3 is of the system"),
            (of(&[user, r#"{"role": "robot", "content": "x"}"#]), "message 2: "),
            (of(&[r#"{"role": "user", "content": 4}"#]), "message 1: "),
        ] {
            let error = Conversation::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(Conversation::parse(&of(&[])).expect("empty"), Conversation::default());
        let open = Conversation::parse(&of(&[system, user, model, user])).expect("a conversation");
        assert_eq!((open.system, open.unanswered), (Some("c".into()), Some("a".into())));
    }
}
