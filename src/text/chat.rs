//! Chat templates, through `minijinja`, as Hugging Face writes them.

use minijinja::{Environment, ErrorKind as TemplateError, Value, context};
use serde::Serialize;

use super::stop::token_text;
use crate::{Error, ErrorKind, Result};

/// Steps that a template may take: far more than any real one, few enough that a hostile one ends soon.
const FUEL: u64 = 2_000_000;
/// A prompt beyond this is no chat.
const LONGEST_PROMPT_BYTES: usize = 64 << 20;
const TEMPLATE: &str = "chat_template";

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    pub content: String,
}

impl Message {
    /// A turn of the user's.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }

    /// A turn of the model's.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".into(), content: content.into() }
    }

    /// What the model is told before the chat.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system".into(), content: content.into() }
    }
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// The template of a `tokenizer_config.json`; none where it has none.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] naming the line, where it does not compile.
    pub fn from_config(config: &serde_json::Value) -> Result<Option<Self>> {
        let Some(source) = source(&config["chat_template"])? else { return Ok(None) };
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(TemplateError::InvalidOperation, message))
        });
        // Templates ask for today's date; the same prompt always giving the same ids is worth more.
        environment.add_function("strftime_now", |_format: String| String::new());
        environment.add_template_owned(TEMPLATE, source).map_err(|error| failed(&error))?;
        let token = |name| token_text(&config[name]).unwrap_or_default().to_owned();
        Ok(Some(Self { environment, bos_token: token("bos_token"), eos_token: token("eos_token") }))
    }

    /// The prompt for the model's next turn.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the template fails or refuses the messages.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let template = self.environment.get_template(TEMPLATE).map_err(|error| failed(&error))?;
        let (bos_token, eos_token) = (&self.bos_token, &self.eos_token);
        let tools = Value::from(());
        let context =
            context! { messages, bos_token, eos_token, add_generation_prompt => true, tools, documents => () };
        let prompt = template.render(context).map_err(|error| failed(&error))?;
        if prompt.len() > LONGEST_PROMPT_BYTES {
            return Err(Error::new(ErrorKind::Text, "the chat template writes without end").file(TEMPLATE));
        }
        Ok(prompt)
    }
}

/// The text of the template: a string, or the one called `default` of a list.
fn source(value: &serde_json::Value) -> Result<Option<String>> {
    let named = |list: &[serde_json::Value], wanted: &str| {
        let found = list.iter().find(|entry| entry["name"] == wanted).or(list.first());
        found.and_then(|entry| entry["template"].as_str()).map(str::to_owned)
    };
    match value {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(text.clone())),
        serde_json::Value::Array(list) => Ok(named(list, "default")),
        _ => Err(Error::new(ErrorKind::Text, "is neither a text nor a list of texts").file(TEMPLATE)),
    }
}

fn failed(error: &minijinja::Error) -> Error {
    let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = error.detail().unwrap_or("");
    Error::new(ErrorKind::Text, format!("{}{line}: {detail}", error.kind()))
        .file(TEMPLATE)
        .remedy("give the prompt as it is, with --raw")
}
