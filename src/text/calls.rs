//! Calls of functions that a model writes into its answer, and in which form it does.
//!
//! A family writes calls in its own way, which its chat template shows it. [`CallFormat::detect`] tells the way by words of that
//! template. What a model writes is not trusted: what does not read as a call stays text.

use serde_json::{Map, Value};

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call where its result is told; empty where nobody gave it a name.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments by their names.
    pub arguments: Map<String, Value>,
}

/// A function that a model may call, as clients describe it: `{"name": …, "parameters": {"properties": …}}`.
#[derive(Clone, Copy, Debug)]
pub struct Functions<'a>(pub &'a [Value]);

impl Functions<'_> {
    /// Whether a parameter is a text, whatever it looks like.
    fn is_text(&self, function: &str, parameter: &str) -> bool {
        let found = self.0.iter().find(|described| described["name"] == function);
        found.is_some_and(|described| described["parameters"]["properties"][parameter]["type"] == "string")
    }
}

/// How the arguments of a call are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// `{"name": …, "arguments": {…}}`, or a list of such; some say `parameters`.
    Json,
    /// The name, a mark, and the arguments as JSON.
    NameThenJson(&'static str),
    /// The name, and `<arg_key>…</arg_key><arg_value>…</arg_value>`.
    KeysAndValues,
    /// `<function=NAME>` and `<parameter=NAME>…</parameter>`.
    Functions,
    /// `<invoke name="NAME">` and `<parameter name="NAME">…</parameter>`.
    Invocations,
}

/// A way in which a family writes calls.
#[derive(Debug, PartialEq, Eq)]
pub struct CallFormat {
    /// Words of templates that show this way.
    shown_by: &'static [&'static str],
    /// What calls begin with. Empty: an answer that is a JSON object is a call.
    begin: &'static str,
    /// What stands before each call behind the beginning, where several share it.
    each: &'static str,
    /// What each call ends with.
    end: &'static str,
    body: Body,
}

/// Of several that a template shows the first counts.
static TABLE: [CallFormat; 9] = [
    // DeepSeek V3, R1 and V3.1.
    CallFormat {
        shown_by: &["<｜tool▁calls▁begin｜>"],
        begin: "<｜tool▁calls▁begin｜>",
        each: "<｜tool▁call▁begin｜>",
        end: "<｜tool▁call▁end｜>",
        body: Body::NameThenJson("<｜tool▁sep｜>"),
    },
    // Kimi K2.
    CallFormat {
        shown_by: &["<|tool_calls_section_begin|>"],
        begin: "<|tool_calls_section_begin|>",
        each: "<|tool_call_begin|>",
        end: "<|tool_call_end|>",
        body: Body::NameThenJson("<|tool_call_argument_begin|>"),
    },
    // Mistral since its tokenizers of version 11.
    CallFormat {
        shown_by: &["[TOOL_CALLS]", "[ARGS]"],
        begin: "[TOOL_CALLS]",
        each: "[TOOL_CALLS]",
        end: "",
        body: Body::NameThenJson("[ARGS]"),
    },
    // Mistral before.
    CallFormat { shown_by: &["[TOOL_CALLS]"], begin: "[TOOL_CALLS]", each: "", end: "", body: Body::Json },
    // MiniMax M2.
    CallFormat {
        shown_by: &["<minimax:tool_call>"],
        begin: "<minimax:tool_call>",
        each: "<invoke ",
        end: "</invoke>",
        body: Body::Invocations,
    },
    // Qwen3-Coder.
    CallFormat {
        shown_by: &["<tool_call>", "<function="],
        begin: "<tool_call>",
        each: "<tool_call>",
        end: "</tool_call>",
        body: Body::Functions,
    },
    // GLM 4.5 and later.
    CallFormat {
        shown_by: &["<tool_call>", "<arg_key>"],
        begin: "<tool_call>",
        each: "<tool_call>",
        end: "</tool_call>",
        body: Body::KeysAndValues,
    },
    // Hermes, Qwen 2.5 and 3, SmolLM3, Granite 4.
    CallFormat {
        shown_by: &["<tool_call>"],
        begin: "<tool_call>",
        each: "<tool_call>",
        end: "</tool_call>",
        body: Body::Json,
    },
    // Llama 3, with or without its mark.
    CallFormat { shown_by: &["\"parameters\":"], begin: "", each: "", end: "", body: Body::Json },
];

/// What Mistral may write between the name of a function and the arguments, with a name for the call.
const CALL_ID: &str = "[CALL_ID]";
/// The mark that Llama 3 may write before a call.
const PYTHON_TAG: &str = "<|python_tag|>";

impl CallFormat {
    /// The way that a chat template shows.
    pub fn detect(template: &str) -> Option<&'static Self> {
        TABLE.iter().find(|format| format.shown_by.iter().all(|word| template.contains(word)))
    }

    /// Calls as JSON, one or a list.
    pub fn json() -> &'static Self {
        &TABLE[TABLE.len() - 1]
    }

    /// Whether a text begins with calls, and not only with what may become some.
    pub fn begins(&self, text: &str) -> bool {
        match self.begin {
            "" => text.starts_with(['{', '[']) || text.starts_with(PYTHON_TAG),
            begin => text.starts_with(begin),
        }
    }

    /// Texts of which tokens may be that are no text otherwise.
    pub fn marks(&self) -> Vec<&'static str> {
        let separator = if let Body::NameThenJson(separator) = self.body { separator } else { "" };
        let tag = match self.begin {
            "" => PYTHON_TAG,
            "[TOOL_CALLS]" => CALL_ID,
            _ => "",
        };
        let mut marks = vec![self.begin, self.each, self.end, separator, tag];
        marks.retain(|mark| !mark.is_empty());
        marks.dedup();
        marks
    }

    /// Where calls begin in an answer, or may begin with what comes next: up to there it is text. `None`: nowhere.
    pub fn begins_at(&self, text: &str) -> Option<usize> {
        if self.begin.is_empty() {
            let start = text.len() - text.trim_start().len();
            let rest = &text[start..];
            let begins = rest.is_empty()
                || rest.starts_with('{')
                || PYTHON_TAG.starts_with(rest)
                || rest.starts_with(PYTHON_TAG);
            return begins.then_some(start);
        }
        if let Some(at) = text.find(self.begin) {
            return Some(at);
        }
        // Part of the mark may stand at the end.
        let parts = self.begin.char_indices().skip(1).map(|(len, _)| &self.begin[..len]);
        parts.filter(|part| text.ends_with(part)).map(|part| text.len() - part.len()).min()
    }

    /// Where the last call that has come to its end ends. `None`: nowhere, or calls have no such mark.
    pub fn ends_at(&self, text: &str) -> Option<usize> {
        let mark = Some(self.end).filter(|end| !end.is_empty())?;
        text.rfind(mark).map(|at| at + mark.len())
    }

    /// The calls in a text that begins with them, of some functions. Empty where they do not read as such.
    pub fn read(&self, text: &str, functions: Functions<'_>) -> Vec<ToolCall> {
        let text = text.trim();
        if self.begin.is_empty() {
            let text = text.strip_prefix(PYTHON_TAG).unwrap_or(text);
            // Some write several, one behind the other.
            return json_calls(text).unwrap_or_default();
        }
        let Some(behind) = text.strip_prefix(self.begin) else { return Vec::new() };
        if self.each.is_empty() {
            return json_calls(behind).unwrap_or_default();
        }
        let parts = if self.each == self.begin { text } else { behind };
        let parts: Vec<&str> = parts.split(self.each).skip(1).collect();
        let calls: Option<Vec<Vec<ToolCall>>> = parts.into_iter().map(|part| self.read_one(part, functions)).collect();
        calls.unwrap_or_default().concat()
    }

    fn read_one(&self, part: &str, functions: Functions<'_>) -> Option<Vec<ToolCall>> {
        // Without its end a call may have been cut.
        let part = if self.end.is_empty() { part } else { part.split_once(self.end)?.0 };
        let one = |name: &str, arguments| {
            let name = name.trim();
            (!name.is_empty()).then(|| vec![ToolCall { id: String::new(), name: name.to_owned(), arguments }])
        };
        match self.body {
            Body::Json => json_calls(part),
            Body::NameThenJson(separator) => {
                let (before, behind) = part.split_once(separator)?;
                // DeepSeek V3 says what kind of thing is called, and puts the name where V3.1 has the arguments.
                let (name, json) = match before.trim() {
                    "function" => behind.trim_start().split_once('\n')?,
                    name => (name, behind),
                };
                // Kimi counts its calls.
                let name = name.trim().strip_prefix("functions.").unwrap_or(name.trim());
                let name = name
                    .rsplit_once(':')
                    .filter(|(_, count)| count.parse::<u32>().is_ok())
                    .map_or(name, |(name, _)| name);
                // Mistral may give a call a name of its own.
                let name = name.split(CALL_ID).next().unwrap_or(name);
                one(name, serde_json::from_str(fenced(json)).ok()?)
            }
            Body::KeysAndValues => {
                let (name, rest) = part.split_at(part.find("<arg_key>").unwrap_or(part.len()));
                let mut arguments = Map::new();
                for pair in rest.split("<arg_key>").skip(1) {
                    let (key, behind) = pair.split_once("</arg_key>")?;
                    let value = between(behind, "<arg_value>", "</arg_value>")?;
                    let is_text = functions.is_text(name.trim(), key.trim());
                    arguments.insert(key.trim().to_owned(), plain(value, is_text));
                }
                one(name, arguments)
            }
            Body::Functions => {
                let (name, rest) = part.split_once("<function=")?.1.split_once('>')?;
                let is_text = |parameter: &str| functions.is_text(name.trim(), parameter);
                one(name, parameters(rest.split_once("</function>")?.0, "<parameter=", '>', is_text)?)
            }
            Body::Invocations => {
                let (name, (_, rest)) = between(part, "name=\"", "\"").zip(part.split_once('>'))?;
                let is_text = |parameter: &str| functions.is_text(name.trim(), parameter);
                one(name, parameters(rest, "<parameter name=\"", '"', is_text)?)
            }
        }
    }
}

/// What stands between two marks.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(begin)?.1.split_once(end)?.0)
}

/// `<parameter=NAME>VALUE</parameter>` and its like: a line break belongs to the marks at both ends.
fn parameters(text: &str, begin: &str, name_end: char, is_text: impl Fn(&str) -> bool) -> Option<Map<String, Value>> {
    let mut arguments = Map::new();
    for part in text.split(begin).skip(1) {
        let (name, behind) = part.split_once(name_end)?;
        let value = behind.split_once("</parameter>")?.0;
        let value = value.strip_prefix('>').unwrap_or(value);
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        arguments.insert(name.trim().to_owned(), plain(value, is_text(name.trim())));
    }
    Some(arguments)
}

/// A value that is written without quotes where it is a text.
fn plain(text: &str, is_text: bool) -> Value {
    let value = if is_text { None } else { serde_json::from_str(text).ok() };
    value.unwrap_or_else(|| text.into())
}

/// JSON in a block of code, or as it is.
fn fenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inner.map_or(text, |inner| inner.strip_suffix("```").unwrap_or(inner)).trim()
}

fn object(text: &str) -> Option<Map<String, Value>> {
    if text.is_empty() {
        return Some(Map::new());
    }
    serde_json::from_str(text).ok()
}

/// Calls as JSON objects, one behind the other or in lists.
fn json_calls(text: &str) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    // Llama 3.1 sets several apart by semicolons.
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next()?.ok()? {
            Value::Array(list) => calls.extend(list.into_iter().map(json_call).collect::<Option<Vec<_>>>()?),
            value => calls.push(json_call(value)?),
        }
        rest = rest[values.byte_offset()..].trim_start_matches([';', ',']).trim();
    }
    Some(calls)
}

fn json_call(value: Value) -> Option<ToolCall> {
    let Value::Object(mut fields) = value else { return None };
    let Some(Value::String(name)) = fields.remove("name") else { return None };
    let arguments = match fields.remove("arguments").or_else(|| fields.remove("parameters")) {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(Value::String(text)) => object(&text)?,
        Some(_) => return None,
    };
    let id = fields.remove("id").and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default();
    Some(ToolCall { id, name, arguments })
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
