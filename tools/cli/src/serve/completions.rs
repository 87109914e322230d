//! `/v1/completions`: a text, or ids, and how it goes on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tilestream::{StopReason, TextDelta, TokenLogprobs};

use super::Server;
use super::answers::{Answers, Form, Framing, Head, Prompt, Usage, Whole, finish_reason};
use super::asked::Fields;
use super::failure::Failure;
use super::sampling::Sampling;

/// New tokens where a request does not say how many, as in OpenAI's API.
const USUAL_TOKENS: u32 = 16;
/// Prompts in one request at most.
const MOST_PROMPTS: usize = 64;

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text, token ids, or a list of one of them")]
enum Given {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    ManyIds(Vec<Vec<u32>>),
}

/// Goes on with one or several texts.
pub async fn complete(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let name = server.take_name(&mut fields)?;
    let given: Given = fields.need("prompt")?;
    let mut sampling = Sampling::take(&mut fields, &server.sampling, USUAL_TOKENS)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    match fields.take::<Value>("logprobs")? {
        None | Some(Value::Bool(false)) => {}
        Some(_) if echo => {
            return Err(Failure::request("logprobs", "'logprobs' of a prompt ('echo') are not told yet"));
        }
        Some(top) => {
            let bad = || Failure::request("logprobs", "'logprobs' must be a number");
            let top = top.as_u64().and_then(|top| usize::try_from(top).ok()).ok_or_else(bad)?;
            sampling.tell_logprobs("logprobs", top)?;
        }
    }
    let held = fields.end()?;
    let count = match &given {
        Given::Text(_) | Given::Ids(_) => 1,
        Given::Texts(texts) => texts.len(),
        Given::ManyIds(many) => many.len(),
    };
    if !(1..=MOST_PROMPTS).contains(&count) {
        return Err(Failure::request("prompt", format!("{count} prompts; 1 to {MOST_PROMPTS} can be given")));
    }
    let prompts = server.in_background(move |server| server.plain_prompts(given)).await?;
    let answers = sampling.options.len();
    let echo = prompts.iter().filter(|_| echo).map(|(text, _)| text.clone()).collect();
    let prompts = prompts.into_iter().map(|(_, ids)| server.checked(Prompt { ids, options: sampling.options.clone() }));
    let prompts = prompts.collect::<Result<_, _>>()?;
    let form = TextForm { head: Head::new("cmpl-", &server, name), echo, answers, offsets: Vec::new() };
    Answers::ask(&server, prompts, held)?.respond(sampling.stream, sampling.stream_usage, form).await
}

impl Server {
    /// The texts of the prompts, and their ids.
    fn plain_prompts(&self, given: Given) -> Result<Vec<(String, Vec<u32>)>, Failure> {
        let tokenizer = self.handle.files().text().tokenizer()?;
        let of_text = |text: String| {
            self.check_text(&text)?;
            let ids = tokenizer.encode(&text, true)?;
            Ok((text, ids))
        };
        let of_ids = |ids: Vec<u32>| {
            self.check_ids(&ids)?;
            Ok((tokenizer.decode(&ids), ids))
        };
        match given {
            Given::Text(text) => Ok(vec![of_text(text)?]),
            Given::Texts(texts) => texts.into_iter().map(of_text).collect(),
            Given::Ids(ids) => Ok(vec![of_ids(ids)?]),
            Given::ManyIds(many) => many.into_iter().map(of_ids).collect(),
        }
    }
}

struct TextForm {
    head: Head,
    /// The texts of the prompts, where they are to be said again.
    echo: Vec<String>,
    /// To each prompt.
    answers: usize,
    /// Characters of each answer's tokens that were told.
    offsets: Vec<usize>,
}

impl TextForm {
    fn choice(answer: usize, text: &str, finish_reason: Option<&str>) -> Value {
        json!({ "index": answer, "text": text, "logprobs": null, "finish_reason": finish_reason })
    }

    /// How likely tokens of an answer were, as the older API writes it; null where that was not asked for.
    fn logprobs(&mut self, answer: usize, of: &[(u32, TokenLogprobs)]) -> Value {
        if of.is_empty() {
            return Value::Null;
        }
        let tokens: Vec<String> = of.iter().map(|(id, _)| self.head.spelled(*id).0).collect();
        if self.offsets.len() <= answer {
            self.offsets.resize(answer + 1, 0);
        }
        let told = &mut self.offsets[answer];
        let offset = |token: &String| std::mem::replace(told, *told + token.chars().count());
        let offsets: Vec<usize> = tokens.iter().map(offset).collect();
        let top = |logprobs: &TokenLogprobs| -> Value {
            logprobs.top.iter().map(|(id, logprob)| (self.head.spelled(*id).0, Value::from(*logprob))).collect()
        };
        json!({
            "tokens": tokens,
            "token_logprobs": of.iter().map(|(_, logprobs)| logprobs.chosen).collect::<Vec<_>>(),
            "top_logprobs": of.iter().map(|(_, logprobs)| top(logprobs)).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }

    fn before(&self, answer: usize) -> &str {
        self.echo.get(answer / self.answers).map_or("", String::as_str)
    }
}

impl Form for TextForm {
    const FRAMING: Framing = Framing::Events;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let choice = |(index, whole): (usize, Whole)| {
            // A text that goes on has no thoughts beside it.
            let text = [self.before(index), &whole.reasoning, &whole.text].concat();
            let mut choice = Self::choice(index, &text, Some(finish_reason(whole.stop)));
            choice["logprobs"] = self.logprobs(index, &whole.logprobs);
            choice
        };
        let choices = answers.into_iter().enumerate().map(choice).collect();
        let mut all = self.head.json("text_completion", choices);
        all["usage"] = usage.json();
        all
    }

    fn begin(&mut self, answer: usize) -> Vec<Value> {
        let before = self.before(answer);
        let choice = || Self::choice(answer, before, None);
        if before.is_empty() { Vec::new() } else { vec![self.head.json("text_completion", vec![choice()])] }
    }

    fn delta(&mut self, answer: usize, delta: &TextDelta) -> Vec<Value> {
        let text = [delta.reasoning.as_str(), &delta.text].concat();
        let logprobs: Vec<_> = delta.id.zip(delta.logprobs.clone()).into_iter().collect();
        if text.is_empty() && logprobs.is_empty() {
            return Vec::new();
        }
        let mut choice = Self::choice(answer, &text, None);
        choice["logprobs"] = self.logprobs(answer, &logprobs);
        vec![self.head.json("text_completion", vec![choice])]
    }

    fn end(&mut self, answer: usize, stop: StopReason) -> Vec<Value> {
        let choice = Self::choice(answer, "", Some(finish_reason(Some(stop))));
        vec![self.head.json("text_completion", vec![choice])]
    }

    fn usage(&mut self, usage: Usage) -> Vec<Value> {
        let mut all = self.head.json("text_completion", Vec::new());
        all["usage"] = usage.json();
        vec![all]
    }
}
