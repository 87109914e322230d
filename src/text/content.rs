//! What a message says: a text, or parts, as OpenAI's API writes both.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A text, or a list of parts. A template gets it in the shape that it reads: where that is a text, parts are joined.
///
/// As JSON it is a string, or a list of `{"type": "text", "text": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Given", untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentPart {
    Text { text: String },
}

impl Content {
    /// All that it says, in one text.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Parts(parts) => parts.iter().map(|ContentPart::Text { text }| text.as_str()).collect(),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.text().is_empty()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Content {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Vec<ContentPart>> for Content {
    fn from(parts: Vec<ContentPart>) -> Self {
        Self::Parts(parts)
    }
}

impl From<&str> for ContentPart {
    fn from(text: &str) -> Self {
        Self::Text { text: text.to_owned() }
    }
}

impl From<String> for ContentPart {
    fn from(text: String) -> Self {
        Self::Text { text }
    }
}

/// A content as it was written, with parts of any kind.
#[derive(Deserialize)]
#[serde(untagged, expecting = "'content' must be a text, or a list of {\"type\": \"text\", \"text\": …}")]
enum Given {
    Text(String),
    Parts(Vec<Map<String, Value>>),
}

impl TryFrom<Given> for Content {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        match given {
            Given::Text(text) => Ok(Self::Text(text)),
            Given::Parts(parts) => parts.into_iter().map(part).collect::<Result<_, _>>().map(Self::Parts),
        }
    }
}

fn part(mut fields: Map<String, Value>) -> Result<ContentPart, String> {
    const SUPPORTED: &str = "only {\"type\": \"text\", \"text\": …} is supported";
    let refused = |what: String| Err(format!("'content' has a part {what}; {SUPPORTED}"));
    match fields.remove("type") {
        Some(Value::String(kind)) if kind == "text" => {}
        Some(kind) => return refused(format!("of the type {kind}")),
        None => return refused("without a type".to_owned()),
    }
    let Some(Value::String(text)) = fields.remove("text") else {
        return refused("of the type \"text\" whose 'text' is no text".to_owned());
    };
    match fields.keys().next() {
        Some(name) => refused(format!("with '{name}'")),
        None => Ok(ContentPart::Text { text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_a_text_or_parts_that_are_texts() {
        let parts = |texts: &[&str]| Content::Parts(texts.iter().map(|text| ContentPart::from(*text)).collect());
        for (json, content, text) in [
            (r#""hello""#, Content::from("hello"), "hello"),
            (r#""""#, Content::from(String::new()), ""),
            ("[]", parts(&[]), ""),
            (r#"[{"type":"text","text":"hel"},{"type":"text","text":"lo"}]"#, parts(&["hel", "lo"]), "hello"),
            (r#"[{"type":"text","text":""}]"#, parts(&[""]), ""),
        ] {
            let read: Content = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!((&read, read.text().as_ref(), read.is_empty()), (&content, text, text.is_empty()), "{json}");
            assert_eq!(serde_json::to_string(&content).expect("JSON"), json);
        }
    }

    #[test]
    fn other_parts_are_refused_by_name() {
        for (json, says) in [
            ("4", "must be a text, or a list"),
            ("null", "must be a text, or a list"),
            (r#"{"type":"text","text":"a"}"#, "must be a text, or a list"),
            (r#"["a"]"#, "must be a text, or a list"),
            (r#"[{"type":"image_url","image_url":{"url":"x"}}]"#, r#"of the type "image_url"; only {"type": "text""#),
            (r#"[{"type":"text","text":"a"},{"type":"input_audio"}]"#, r#"of the type "input_audio""#),
            (r#"[{"type":7}]"#, "of the type 7"),
            (r#"[{"text":"a"}]"#, "without a type"),
            (r#"[{"type":"text"}]"#, "'text' is no text"),
            (r#"[{"type":"text","text":["a"]}]"#, "'text' is no text"),
            (r#"[{"type":"text","text":"a","detail":"low"}]"#, "with 'detail'"),
        ] {
            let error = serde_json::from_str::<Content>(json).expect_err(json).to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
