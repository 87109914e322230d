//! Chat templates, through `minijinja`, as Hugging Face writes them.
//!
//! Like transformers (`utils/chat_template_utils.py`): blocks are trimmed, `loop` controls and `generation` blocks work, the
//! methods of Python's strings and dicts are there, and `tojson` is `json.dumps`. A template comes with a checkpoint and is not
//! trusted: see [`sandbox`].

mod args;
mod builtins;
mod bytes;
mod chars;
mod date;
mod expression;
mod filters;
mod formats;
mod items;
mod json;
mod links;
mod macros;
mod markup;
mod operators;
mod python;
mod sandbox;
mod shape;
mod sorting;
mod source;
mod tokens;
mod values;
mod wrapping;

pub use date::Date;

use std::sync::OnceLock;

use serde_json::{Map, Value as Json, json};

use sandbox::Deadline;
use shape::Shapes;

use super::calls::{CallFormat, ToolCall};
use super::content::Content;
use super::stop::token_text;
use crate::words::{Term, Words};
use crate::{Error, ErrorKind, Result};

/// Special tokens that templates may name.
const TOKENS: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    pub content: Content,
    /// What the model thought before it answered, for templates that show it.
    pub reasoning: Option<String>,
    /// Functions that the model called.
    pub tool_calls: Vec<ToolCall>,
    /// Of a result (`tool`): the call that it is the result of, and the function's name.
    pub tool_call_id: Option<String>,
    pub name: Option<String>,
}

impl Message {
    /// A turn of anybody's.
    pub fn new(role: impl Into<String>, content: impl Into<Content>) -> Self {
        let (tool_calls, tool_call_id, name) = (Vec::new(), None, None);
        Self { role: role.into(), content: content.into(), reasoning: None, tool_calls, tool_call_id, name }
    }

    /// A turn of the user's.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new("user", content)
    }

    /// A turn of the model's.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new("assistant", content)
    }

    /// What the model is told before the chat.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new("system", content)
    }
}

/// What to do about a template that no model can be opened with.
fn unusable() -> Words {
    "mend the template, or take it out and give prompts as they are (" + Term::PlainPrompt + ")"
}

/// How to render a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderOptions {
    /// End with the beginning of the model's turn.
    pub add_generation_prompt: bool,
    /// What `strftime_now` tells. None: the time at which the chat is rendered, in UTC. With a template that tells the date,
    /// the same chat then gives another prompt tomorrow.
    pub date: Option<Date>,
    /// What the template asks for by names of its own, such as `enable_thinking`.
    pub arguments: TemplateArguments,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, date: None, arguments: TemplateArguments::default() }
    }
}

/// Names that a template gets from the library.
const GIVEN: [&str; 4] = ["messages", "add_generation_prompt", "tools", "documents"];

/// Values of a template's own variables: transformers' keyword arguments of `apply_chat_template`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateArguments {
    values: Map<String, Json>,
    tools: Vec<Json>,
}

impl TemplateArguments {
    /// Checks the names.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a name that a template gets from the library, and for one that no template can read.
    pub fn new(values: impl IntoIterator<Item = (String, Json)>) -> Result<Self> {
        let values: Map<String, Json> = values.into_iter().collect();
        for name in values.keys() {
            if GIVEN.contains(&name.as_str()) {
                return Err(Error::new(ErrorKind::Argument, format!("a template gets '{name}' from the chat itself")));
            }
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            if !name.chars().all(is_name) || !name.starts_with(|c: char| !c.is_numeric()) {
                let error = Error::new(ErrorKind::Argument, format!("'{name}' is no name of a template's variable"));
                return Err(error.remedy("take letters, digits and _"));
            }
        }
        Ok(Self { values, tools: Vec::new() })
    }

    /// The same with functions that the model may call, each as OpenAI's API describes it: `{"type": "function", "function":
    /// {"name": …, "description": …, "parameters": …}}`.
    pub fn with_tools(self, tools: Vec<Json>) -> Self {
        Self { tools, ..self }
    }
}

/// A chat template that compiles.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    /// Name and text.
    tokens: Map<String, Json>,
    /// Found when they are first needed.
    shapes: OnceLock<Shapes>,
    takes_tools: OnceLock<bool>,
}

impl ChatTemplate {
    /// The template of a `tokenizer_config.json`; none where it has none. Of several it is the one named `default`, or the
    /// first.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] naming the line, where it does not compile.
    pub fn from_config(config: &Json) -> Result<Option<Self>> {
        let Some(source) = source(&config["chat_template"])? else { return Ok(None) };
        let source = source::translated(source).and_then(|source| sandbox::check(&source).map(|()| source));
        let source = source.map_err(|error| {
            Error::new(ErrorKind::Text, what(&error)).file("tokenizer_config.json: chat_template").remedy(unusable())
        })?;
        let token = |name: &&str| Some((name.to_string(), json!(token_text(config.get(name)?)?)));
        Ok(Some(Self {
            source,
            tokens: TOKENS.iter().filter_map(token).collect(),
            shapes: OnceLock::new(),
            takes_tools: OnceLock::new(),
        }))
    }

    /// The prompt for the model's next turn.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] naming the line, where the template fails, refuses the messages or does not come to an end.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_with(messages, &RenderOptions::default())
    }

    /// Whether the template tells the model which functions it may call.
    pub fn takes_tools(&self) -> bool {
        const NAME: &str = "a_function_to_look_for";
        *self.takes_tools.get_or_init(|| {
            let function =
                json!({ "name": NAME, "description": "", "parameters": { "type": "object", "properties": {} } });
            let arguments =
                TemplateArguments::default().with_tools(vec![json!({ "type": "function", "function": function })]);
            let options = RenderOptions { arguments, ..RenderOptions::default() };
            let messages = json!([{ "role": "user", "content": "a" }]);
            let rendered = self.run(messages, &options, Deadline::new(), sandbox::FUEL / 8);
            rendered.is_ok_and(|text| text.contains(NAME))
        })
    }

    /// How the template shows the model to write calls. `None`: in no way that is known.
    pub fn call_format(&self) -> Option<&'static CallFormat> {
        CallFormat::detect(&self.source)
    }

    /// The prompt of a chat.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let deadline = Deadline::new();
        let shapes = *self.shapes.get_or_init(|| {
            Shapes::find(|messages| {
                self.run(messages.clone(), &RenderOptions::default(), deadline, sandbox::FUEL / 8).ok()
            })
        });
        let message = |message: &Message, as_text: bool| {
            let content = shapes.of_role(&message.role).of(&message.content);
            let mut fields = json!({ "role": message.role, "content": content });
            // Templates read it under one name or the other, and decide themselves in which turns it stands.
            if let Some(reasoning) = &message.reasoning {
                fields["reasoning_content"] = json!(reasoning);
                fields["thinking"] = json!(reasoning);
            }
            if !message.tool_calls.is_empty() {
                fields["tool_calls"] = message.tool_calls.iter().map(|call| told(call, as_text)).collect();
            }
            for (name, value) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
                if let Some(value) = value {
                    fields[name] = json!(value);
                }
            }
            fields
        };
        let rendered = |as_text| {
            let messages = messages.iter().map(|one| message(one, as_text)).collect();
            self.run(messages, options, deadline, sandbox::FUEL)
        };
        // Some templates add arguments to a text, as OpenAI's API has them; most look into them.
        let has_calls = messages.iter().any(|message| !message.tool_calls.is_empty());
        let first = rendered(false);
        let found = if first.is_err() && has_calls { rendered(true).or(first) } else { first };
        found.map_err(|error| failed(&error))
    }

    fn run(
        &self,
        messages: Json,
        options: &RenderOptions,
        deadline: Deadline,
        fuel: u64,
    ) -> std::result::Result<String, minijinja::Error> {
        let messages_bytes = messages.to_string().len() + json!(options.arguments.tools).to_string().len();
        let mut root = self.tokens.clone();
        for name in ["bos_token", "eos_token"] {
            root.entry(name).or_insert_with(|| json!(""));
        }
        root.extend(options.arguments.values.clone());
        root.insert("messages".into(), messages);
        root.insert("add_generation_prompt".into(), json!(options.add_generation_prompt));
        let tools = &options.arguments.tools;
        root.insert("tools".into(), if tools.is_empty() { Json::Null } else { json!(tools) });
        root.insert("documents".into(), Json::Null);
        let date = options.date.unwrap_or_else(Date::now);
        let limits = sandbox::Limits { messages_bytes, deadline, fuel };
        sandbox::render(&self.source, minijinja::value::Serde(Json::Object(root)).into(), date, limits)
    }
}

/// A call as templates are told it.
fn told(call: &ToolCall, as_text: bool) -> Json {
    let arguments = if as_text { json!(json!(call.arguments).to_string()) } else { json!(call.arguments) };
    let mut fields = json!({ "type": "function", "function": { "name": call.name, "arguments": arguments } });
    if !call.id.is_empty() {
        fields["id"] = json!(call.id);
    }
    fields
}

/// The text of the template: a string, or one of a list of `{"name", "template"}`.
fn source(value: &Json) -> Result<Option<&str>> {
    let wrong = || {
        let error = Error::new(ErrorKind::Text, "is neither a text nor a list of named texts");
        error.file(sandbox::NAME).remedy(unusable())
    };
    let entry = match value {
        Json::Null => return Ok(None),
        Json::String(text) => return Ok(Some(text)),
        Json::Array(list) => list.iter().find(|entry| entry["name"] == "default").or(list.first()),
        _ => return Err(wrong()),
    };
    entry.map(|entry| entry["template"].as_str().ok_or_else(wrong)).transpose()
}

fn failed(error: &minijinja::Error) -> Error {
    Error::new(ErrorKind::Text, what(error))
        .file(sandbox::NAME)
        .remedy("give the prompt as it is (" + Term::PlainPrompt + ")")
}

fn what(error: &minijinja::Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("{}{line}{detail}", error.kind())
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod tests;
