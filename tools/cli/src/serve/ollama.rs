//! Ollama's API: the same answers for programs that speak no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tilestream::internals::text::Date;
use tilestream::{GrammarSource, Message, StopReason, TemplateArguments, TextDelta, ToolCall};

use super::Server;
use super::answers::{Answers, Form, Framing, Prompt, Usage, Whole, finish_reason};
use super::asked::{Fields, Held};
use super::chat;
use super::failure::Failure;
use super::formats;
use super::sampling::Sampling;
use super::tools::{CallReader, Said, Tools};

/// What Ollama's clients add to a name without a tag.
const TAG: &str = ":latest";

/// The version of this program: clients ask for it to see whether somebody is there.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// The models.
pub async fn tags(State(server): State<Arc<Server>>) -> Json<Value> {
    let manifest = server.handle.files().model().manifest();
    let bytes: u64 = manifest.files.iter().map(|file| file.len_bytes).sum();
    let loaded_at = written(&Date::from_unix_s(server.loaded_at as i64));
    let model = |name: &String| {
        let details = json!({ "format": "tilestream", "family": "", "parameter_size": "", "quantization_level": "" });
        json!({ "name": name, "model": name, "modified_at": loaded_at, "size": bytes, "details": details })
    };
    Json(json!({ "models": server.names.iter().map(model).collect::<Vec<_>>() }))
}

/// Takes the name of the model, with or without a tag.
pub fn take_name(server: &Server, fields: &mut Fields) -> Result<String, Failure> {
    let Some(name) = fields.take::<String>("model")? else { return Ok(server.names[0].clone()) };
    server.named(name.strip_suffix(TAG).unwrap_or(&name))?;
    Ok(name)
}

/// `/api/chat`: the next message of a chat.
pub async fn chat(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let Asked { mut fields, mut sampling, arguments, format } = Asked::read(&server, request).await?;
    let messages = chat::messages(&mut fields)?;
    let tools = Tools::take(&mut fields)?;
    let held = fields.end()?;
    let (arguments, calls) = server.offer(tools, arguments, &mut sampling, format).await?;
    let ids = server.in_background(move |server| server.chat_prompt(messages, arguments)).await?;
    respond(server, ids, sampling, (Place::Message(calls), held)).await
}

/// `/api/generate`: an answer to one prompt, or how a text goes on (`raw`).
pub async fn generate(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let Asked { mut fields, mut sampling, arguments, format } = Asked::read(&server, request).await?;
    server.constrain(&mut sampling, format).await?;
    let prompt: String = fields.need("prompt")?;
    let system: Option<String> = fields.take("system")?;
    let raw = fields.take("raw")?.unwrap_or(false);
    let held = fields.end()?;
    let ids = server.in_background(move |server| {
        if raw {
            server.check_text(&prompt)?;
            return Ok(server.handle.files().text().tokenizer()?.encode(&prompt, true)?);
        }
        let system = system.filter(|text| !text.is_empty()).map(Message::system);
        server.chat_prompt(system.into_iter().chain([Message::user(prompt)]).collect(), arguments)
    });
    let ids = ids.await?;
    respond(server, ids, sampling, (Place::Response, held)).await
}

/// What both addresses read.
struct Asked {
    fields: Fields,
    sampling: Sampling,
    arguments: TemplateArguments,
    format: Option<GrammarSource>,
}

impl Asked {
    async fn read(server: &Arc<Server>, request: Request<Body>) -> Result<Self, Failure> {
        let mut fields = Fields::read(server, request).await?;
        take_name(server, &mut fields)?;
        let stream = fields.take("stream")?.unwrap_or(true);
        fields.spread("options")?;
        fields.rename("repeat_penalty", "repetition_penalty");
        fields.rename("num_predict", "max_tokens");
        let mut sampling = Sampling::take(&mut fields, &server.sampling, server.positions)?;
        sampling.options.truncate(1);
        let format = formats::take_plain(&mut fields)?;
        let thinks = fields.take::<Value>("think")?.map(|thinks| ("enable_thinking".to_owned(), thinks));
        let arguments = TemplateArguments::new(Map::from_iter(thinks))?;
        Ok(Self { fields, sampling: Sampling { stream, ..sampling }, arguments, format })
    }
}

async fn respond(
    server: Arc<Server>,
    ids: Vec<u32>,
    sampling: Sampling,
    (place, held): (Place, Held),
) -> Result<Response, Failure> {
    let prompt = server.checked(Prompt { ids, options: sampling.options })?;
    let answers = Answers::ask(&server, vec![prompt], held)?;
    let form = OllamaForm { server, place, asked: Instant::now(), first: None, stop: None };
    answers.respond(sampling.stream, true, form).await
}

/// Where a text goes.
enum Place {
    /// With what finds calls in it, where there are tools.
    Message(Option<CallReader>),
    Response,
}

struct OllamaForm {
    server: Arc<Server>,
    place: Place,
    asked: Instant,
    /// When the first token came.
    first: Option<Instant>,
    stop: Option<StopReason>,
}

impl OllamaForm {
    fn part(&self, text: &str, thinking: &str) -> Value {
        let mut part = json!({ "model": self.server.names[0], "created_at": written(&Date::now()), "done": false });
        let said = match self.place {
            Place::Message(_) => {
                part["message"] = json!({ "role": "assistant", "content": text });
                &mut part["message"]
            }
            Place::Response => {
                part["response"] = text.into();
                &mut part
            }
        };
        if !thinking.is_empty() {
            said["thinking"] = thinking.into();
        }
        part
    }

    /// What is certain of the answer with more of its text, or with its end.
    fn read(&mut self, more: Option<&str>) -> Said {
        match (&mut self.place, more) {
            (Place::Message(Some(reader)), Some(text)) => reader.push(text),
            (Place::Message(Some(reader)), None) => reader.finish(),
            (_, text) => Said { text: text.unwrap_or_default().to_owned(), calls: Vec::new() },
        }
    }

    fn part_of(&self, said: &Said, thinking: &str) -> Value {
        let mut part = self.part(&said.text, thinking);
        if !said.calls.is_empty() {
            let call = |call: &ToolCall| json!({ "function": { "name": call.name, "arguments": call.arguments } });
            part["message"]["tool_calls"] = said.calls.iter().map(call).collect();
        }
        part
    }

    fn done(&self, mut part: Value, usage: Usage) -> Value {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, first) = (Instant::now(), self.first.unwrap_or(self.asked));
        part["done"] = true.into();
        part["done_reason"] = finish_reason(self.stop).into();
        part["total_duration"] = nanoseconds(now - self.asked).into();
        part["load_duration"] = 0.into();
        part["prompt_eval_count"] = usage.prompt.into();
        part["prompt_eval_duration"] = nanoseconds(first - self.asked).into();
        part["eval_count"] = usage.new.into();
        part["eval_duration"] = nanoseconds(now - first).into();
        part
    }
}

impl Form for OllamaForm {
    const FRAMING: Framing = Framing::Lines;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let whole = answers.into_iter().next().unwrap_or_default();
        self.stop = whole.stop;
        let (mut said, last) = (self.read(Some(&whole.text)), self.read(None));
        said.text += &last.text;
        said.calls.extend(last.calls);
        self.done(self.part_of(&said, &whole.reasoning), usage)
    }

    fn begin(&mut self, _: usize) -> Vec<Value> {
        Vec::new()
    }

    fn delta(&mut self, _: usize, delta: &TextDelta) -> Vec<Value> {
        self.first.get_or_insert_with(Instant::now);
        let said = self.read(Some(&delta.text));
        let says = said != Said::default() || !delta.reasoning.is_empty();
        if says { vec![self.part_of(&said, &delta.reasoning)] } else { Vec::new() }
    }

    fn end(&mut self, _: usize, stop: StopReason) -> Vec<Value> {
        self.stop = Some(stop);
        let said = self.read(None);
        if said == Said::default() { Vec::new() } else { vec![self.part_of(&said, "")] }
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        vec![self.done(self.part("", ""), usage)]
    }
}

/// A time as RFC 3339 writes it.
fn written(date: &Date) -> String {
    let Date { year, month, day, hour, minute, second } = date;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
