//! Functions that clients let the model call: what it is told of them, and the calls in what it writes.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tilestream::{CallFormat, Functions, GrammarSource, TemplateArguments, ToolCall};

use super::Server;
use super::asked::{Fields, told_back};
use super::failure::Failure;
use super::sampling::Sampling;

/// Functions of a request at most: each is put into the prompt.
const MOST_FUNCTIONS: usize = 1024;

/// Whether the model calls a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    Auto,
    /// One at least.
    Required,
    Named(String),
}

/// The functions of a request.
#[derive(Clone, Debug)]
pub struct Tools {
    /// `{"name": …, "description": …, "parameters": …}` each.
    functions: Vec<Value>,
    choice: Choice,
    /// Whether several may be called at once.
    parallel: bool,
}

impl Tools {
    /// Takes `tools`, `tool_choice` and `parallel_tool_calls` as OpenAI's API writes them. `None`: the model calls nothing.
    pub fn take(fields: &mut Fields) -> Result<Option<Self>, Failure> {
        let tools: Vec<Value> = fields.take("tools")?.unwrap_or_default();
        let choice = fields.take::<Value>("tool_choice")?;
        let parallel = fields.take("parallel_tool_calls")?.unwrap_or(true);
        let function = |(index, mut tool): (usize, Value)| match tool["type"].as_str() {
            Some("function") if tool["function"].is_object() => Ok(tool["function"].take()),
            Some("function") => Err(Failure::request("tools", format!("tools[{index}] has no field 'function'"))),
            kind => {
                let kind = told_back(kind.unwrap_or("none"));
                let message = format!("tools[{index}] has the type '{kind}'; functions are supported");
                Err(Failure::request("tools", message))
            }
        };
        let functions = tools.into_iter().enumerate().map(function).collect::<Result<Vec<_>, _>>()?;
        let choice = match &choice {
            None => Choice::Auto,
            Some(Value::String(word)) if word == "auto" => Choice::Auto,
            Some(Value::String(word)) if word == "required" => Choice::Required,
            Some(Value::String(word)) if word == "none" => return Ok(None),
            Some(object) => match object["function"]["name"].as_str() {
                Some(name) => Choice::Named(name.to_owned()),
                None => {
                    let known = "'tool_choice' must be auto, none, required, or name a function";
                    return Err(Failure::request("tool_choice", known));
                }
            },
        };
        Self::new(functions, choice, parallel)
    }

    /// Functions, which are checked; `None` where there are none.
    pub fn new(functions: Vec<Value>, choice: Choice, parallel: bool) -> Result<Option<Self>, Failure> {
        if functions.len() > MOST_FUNCTIONS {
            let message = format!("{} functions are more than {MOST_FUNCTIONS}", functions.len());
            return Err(Failure::request("tools", message));
        }
        for (index, function) in functions.iter().enumerate() {
            let parameters = &function["parameters"];
            if function["name"].as_str().is_none_or(str::is_empty) {
                return Err(Failure::request("tools", format!("tools[{index}] has no name")));
            }
            if !(parameters.is_null() || parameters.is_object()) {
                return Err(Failure::request("tools", format!("tools[{index}] has parameters that are no schema")));
            }
        }
        let is_known = |name: &String| functions.iter().any(|function| function["name"] == **name);
        match &choice {
            Choice::Named(name) if !is_known(name) => {
                let message = format!("'tool_choice' names '{}', which is none of the tools", told_back(name));
                Err(Failure::request("tool_choice", message))
            }
            Choice::Required if functions.is_empty() => {
                Err(Failure::request("tool_choice", "'tool_choice' is required, and there are no tools"))
            }
            _ if functions.is_empty() => Ok(None),
            _ => Ok(Some(Self { functions, choice, parallel })),
        }
    }

    /// The functions as chat templates are told them.
    pub fn described(&self) -> Vec<Value> {
        self.functions.iter().map(|function| json!({ "type": "function", "function": function })).collect()
    }

    /// What an answer has to be, where it has to be a call.
    pub fn grammar(&self) -> Option<GrammarSource> {
        let parameters = |function: &Value| match &function["parameters"] {
            Value::Null => json!({ "type": "object", "properties": {} }),
            parameters => parameters.clone(),
        };
        let call = |function: &Value| {
            let fields = json!({ "name": { "const": function["name"] }, "arguments": parameters(function) });
            json!({
                "type": "object",
                "properties": fields,
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        };
        let schema = match &self.choice {
            Choice::Auto => return None,
            Choice::Named(name) => parameters(self.functions.iter().find(|function| function["name"] == **name)?),
            Choice::Required => {
                let calls: Vec<Value> = self.functions.iter().map(call).collect();
                let most = if self.parallel { 16 } else { 1 };
                json!({ "type": "array", "minItems": 1, "maxItems": most, "items": { "anyOf": calls } })
            }
        };
        Some(GrammarSource::JsonSchema(schema))
    }

    /// What finds the calls in an answer of the model that is served.
    ///
    /// # Errors
    /// That its template tells the model of no functions, or of no way to write calls that is known.
    pub fn reader(&self, server: &Server) -> Result<CallReader, Failure> {
        let template = server.handle.files().text().template.as_ref();
        if !template.is_some_and(|template| template.takes_tools()) {
            let message = "the chat template of this model does not take tools; leave 'tools' out, or serve a model that was \
                           trained to call functions";
            return Err(Failure::request("tools", message));
        }
        let forced = match &self.choice {
            Choice::Named(name) => Forced::Arguments(name.clone()),
            Choice::Required => Forced::Calls,
            Choice::Auto => Forced::No,
        };
        let format = match forced {
            Forced::No => template.and_then(|template| template.call_format()).ok_or_else(|| {
                let message = "the chat template of this model shows no way to write calls that is known here; \
                               'tool_choice': \"required\" asks for them as JSON";
                Failure::request("tools", message)
            })?,
            _ => CallFormat::json(),
        };
        let functions = Arc::new(self.functions.clone());
        Ok(CallReader { format, functions, forced, held: String::new(), begun: false, told: 0 })
    }
}

impl Server {
    /// Tells the model of functions and has answers be calls where they must: what the template is told, and what finds the
    /// calls in an answer.
    ///
    /// # Errors
    /// As [`Tools::reader`]; that an answer is asked to be something else too.
    pub async fn offer(
        self: &Arc<Self>,
        tools: Option<Tools>,
        arguments: TemplateArguments,
        sampling: &mut Sampling,
        format: Option<GrammarSource>,
    ) -> Result<(TemplateArguments, Option<CallReader>), Failure> {
        let Some(tools) = tools else {
            self.constrain(sampling, format).await?;
            return Ok((arguments, None));
        };
        let described = tools.described();
        let own = tools.grammar();
        if own.is_some() && format.is_some() {
            return Err(Failure::request("tool_choice", "an answer that must be a call can have no other format"));
        }
        let reader = self.in_background(move |server| tools.reader(server)).await?;
        sampling.options.iter_mut().for_each(|options| options.spelled = reader.marks());
        self.constrain(sampling, own.or(format)).await?;
        Ok((arguments.with_tools(described), Some(reader)))
    }
}

/// What an answer is, where the model does not choose.
#[derive(Clone, Debug, PartialEq)]
enum Forced {
    No,
    /// A list of calls.
    Calls,
    /// The arguments of this function.
    Arguments(String),
}

/// Finds calls in an answer as it comes.
#[derive(Clone, Debug)]
pub struct CallReader {
    format: &'static CallFormat,
    functions: Arc<Vec<Value>>,
    forced: Forced,
    /// What may be calls, or the beginning of some.
    held: String,
    /// Whether calls have begun.
    begun: bool,
    /// Calls that were told.
    told: usize,
}

/// What is certain of an answer now.
#[derive(Debug, Default, PartialEq)]
pub struct Said {
    pub text: String,
    /// New calls.
    pub calls: Vec<ToolCall>,
}

impl CallReader {
    /// Special tokens of which calls are made.
    pub fn marks(&self) -> Vec<String> {
        self.format.marks().into_iter().map(str::to_owned).collect()
    }

    /// Calls that were told.
    pub fn told(&self) -> usize {
        self.told
    }

    /// Takes more of the answer.
    pub fn push(&mut self, text: &str) -> Said {
        self.held += text;
        if self.forced != Forced::No {
            return Said::default();
        }
        let mut said = Said::default();
        if !self.begun {
            let Some(at) = self.format.begins_at(&self.held) else {
                said.text = std::mem::take(&mut self.held);
                return said;
            };
            self.begun = self.format.begins(&self.held[at..]);
            said.text = self.held.drain(..at).collect();
            if self.begun {
                // What sets calls apart from the text before them is no part of it.
                said.text.truncate(said.text.trim_end().len());
            }
        }
        if let Some(end) = self.format.ends_at(&self.held).filter(|_| self.begun) {
            said.calls = self.new_calls(end);
        }
        said
    }

    /// The end of the answer: what is held and does not read as calls is text.
    pub fn finish(&mut self) -> Said {
        let held = self.held.len();
        let calls = match &self.forced {
            Forced::Arguments(name) => {
                let arguments: Option<Map<String, Value>> = serde_json::from_str(&self.held).ok();
                arguments.map(|arguments| vec![self.named(name.clone(), arguments)]).unwrap_or_default()
            }
            _ => self.new_calls(held),
        };
        self.told += if let Forced::Arguments(_) = self.forced { calls.len() } else { 0 };
        let held = std::mem::take(&mut self.held);
        Said { text: if self.told == 0 { held } else { String::new() }, calls }
    }

    /// All of an answer.
    pub fn whole(&mut self, text: &str) -> Said {
        let (first, last) = (self.push(text), self.finish());
        Said { text: first.text + &last.text, calls: first.calls.into_iter().chain(last.calls).collect() }
    }

    fn named(&self, name: String, arguments: Map<String, Value>) -> ToolCall {
        ToolCall { id: String::new(), name, arguments }
    }

    /// Calls up to a place that were not told yet.
    fn new_calls(&mut self, end: usize) -> Vec<ToolCall> {
        let calls = self.format.read(&self.held[..end], Functions(&self.functions));
        let new = calls.get(self.told..).unwrap_or_default().to_vec();
        self.told += new.len();
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(template: &str, forced: Forced) -> CallReader {
        let functions = Arc::new(vec![json!({ "name": "write", "parameters": {
            "properties": { "text": { "type": "string" } } } })]);
        let format = CallFormat::detect(template).expect("a format");
        CallReader { format, functions, forced, held: String::new(), begun: false, told: 0 }
    }

    fn names(calls: &[ToolCall]) -> Vec<&str> {
        calls.iter().map(|call| &*call.name).collect()
    }

    /// The text and the calls of an answer that comes in pieces of so many bytes.
    fn pieces(mut reader: CallReader, answer: &str, len: usize) -> Said {
        let mut all = Said::default();
        let chars: Vec<char> = answer.chars().collect();
        for piece in chars.chunks(len) {
            let said = reader.push(&piece.iter().collect::<String>());
            all.text += &said.text;
            all.calls.extend(said.calls);
        }
        let said = reader.finish();
        all.text += &said.text;
        all.calls.extend(said.calls);
        all
    }

    #[test]
    fn calls_are_found_however_an_answer_comes() {
        let answer = "Let me see.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"<b>\"}}\n</tool_call>\n\
                      <tool_call>\n{\"name\": \"write\", \"arguments\": {}}\n</tool_call>";
        for len in 1..answer.len() {
            let said = pieces(reader("<tool_call>", Forced::No), answer, len);
            assert_eq!((said.text.trim_end(), names(&said.calls)), ("Let me see.", vec!["look", "write"]), "{len}");
        }
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for answer in [
            "plain < text",
            "<tool_cal",
            "a <tool_call> without an end {\"name\": \"x\"}",
            "<tool_call>no JSON</tool_call>",
            "{\"name\": 4}",
            "{ half",
        ] {
            for template in ["<tool_call>", "\"parameters\":"] {
                let said = pieces(reader(template, Forced::No), answer, 3);
                // Spaces before what looked like a call may be gone.
                let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().concat();
                assert_eq!((words(&said.text), said.calls), (words(answer), Vec::new()), "{template}: {answer}");
            }
        }
    }

    #[test]
    fn a_parameter_that_is_a_text_stays_one() {
        let answer = "<tool_call>\n<function=write>\n<parameter=text>\n12\n</parameter>\n<parameter=times>\n3\n</parameter>\n\
                      </function>\n</tool_call>";
        let said = pieces(reader("<tool_call><function=", Forced::No), answer, 7);
        assert_eq!(json!(said.calls[0].arguments), json!({ "text": "12", "times": 3 }));
    }

    #[test]
    fn forced_calls_are_lists_or_arguments() {
        let said = pieces(
            reader("\"parameters\":", Forced::Calls),
            "[{\"name\": \"write\", \"arguments\": {\"text\": \"a\"}}]",
            4,
        );
        assert_eq!((names(&said.calls), &*said.text), (vec!["write"], ""));
        let said = pieces(reader("\"parameters\":", Forced::Arguments("write".into())), "{\"text\": \"a\"}", 4);
        assert_eq!(json!(said.calls[0].arguments), json!({ "text": "a" }));
        // An answer that was cut.
        let said = pieces(reader("\"parameters\":", Forced::Calls), "[{\"name\": \"wri", 4);
        assert_eq!((said.calls.len(), &*said.text), (0, "[{\"name\": \"wri"));
    }

    #[test]
    fn what_is_wrong_with_tools_is_told() {
        let one = vec![json!({ "name": "write", "parameters": {} })];
        let new = |functions, choice| Tools::new(functions, choice, true);
        assert!(new(Vec::new(), Choice::Auto).is_ok_and(|tools| tools.is_none()));
        for (functions, choice, says) in [
            (vec![json!({ "name": "" })], Choice::Auto, "tools[0] has no name"),
            (vec![json!({ "name": "x", "parameters": 4 })], Choice::Auto, "no schema"),
            (one.clone(), Choice::Named("read".into()), "'read'"),
            (Vec::new(), Choice::Required, "no tools"),
        ] {
            let failure = new(functions, choice).expect_err(says).json().to_string();
            assert!(failure.contains(says), "{failure}");
        }
    }
}
