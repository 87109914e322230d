//! The shape in which a template reads what a message says: as a text, or as a list of parts.
//!
//! Templates of models that also see images often walk over `content` as a list of `{"type": "text", "text": …}`. Given a
//! text they write nothing of it, without an error. So each template is tried, once for each role, with a word that nothing else says.

use serde_json::{Value as Json, json};

use crate::text::{Content, ContentPart};

/// Stands nowhere in a template. Letters only: it is no markup, and no method of texts changes it but those that change case.
const WORD: &str = "Zqxjkvwprobe";

/// How `content` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Parts,
}

/// The shapes of the roles that chats have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shapes {
    system: Shape,
    user: Shape,
    assistant: Shape,
}

impl Shapes {
    /// Finds the shapes with `render`, which gives the text of a list of messages, or none where the template fails.
    pub(super) fn find(render: impl Fn(&Json) -> Option<String>) -> Self {
        // None: the template fails with both.
        let reads = |chat: &dyn Fn(Json) -> Json| {
            let says = |shape: Shape| render(&chat(shape.of(&WORD.into()))).map(|text| is_said(&text));
            // What takes both gets a text, as from transformers' users.
            match says(Shape::Text) {
                Some(true) => Some(Shape::Text),
                text => match says(Shape::Parts) {
                    Some(true) => Some(Shape::Parts),
                    parts => text.or(parts).map(|_| Shape::Text),
                },
            }
        };
        let message = |role: &str, content: Json| json!({ "role": role, "content": content });
        let Some(user) = reads(&|word| json!([message("user", word)])) else {
            return Self { system: Shape::Text, user: Shape::Text, assistant: Shape::Text };
        };
        let other = |text: &str| message("user", user.of(&text.into()));
        let system = reads(&|word| json!([message("system", word), other("a")])).unwrap_or(Shape::Text);
        let assistant =
            reads(&|word| json!([other("a"), message("assistant", word), other("b")])).unwrap_or(Shape::Text);
        Self { system, user, assistant }
    }

    pub(super) fn of_role(self, role: &str) -> Shape {
        match role {
            "system" | "developer" => self.system,
            "assistant" => self.assistant,
            _ => self.user,
        }
    }
}

impl Shape {
    /// The `content` of a message.
    pub(super) fn of(self, content: &Content) -> Json {
        match (self, content) {
            (Self::Text, content) => json!(content.text()),
            (Self::Parts, Content::Text(text)) => json!([ContentPart::from(text.as_str())]),
            (Self::Parts, Content::Parts(parts)) => json!(parts),
        }
    }
}

/// Whether a prompt says the word, and not the dict that holds it.
fn is_said(prompt: &str) -> bool {
    prompt.match_indices(WORD).any(|(at, word)| {
        let (before, behind) = (prompt[..at].trim_end(), &prompt[at + word.len()..]);
        let quoted = ['\'', '"'].into_iter().any(|quote| before.ends_with(quote) && behind.starts_with(quote));
        let before = before.trim_end_matches(['\'', '"']).trim_end();
        !(quoted && before.ends_with(':'))
    })
}
