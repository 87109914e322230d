//! `/v1/completions`: a text, or ids, and how it goes on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tilestream::{StopReason, TextDelta, TokenLogprobs};

use super::Server;
use super::answers::{Answers, Form, Framing, Head, Prompt, Usage, Whole, finish_reason};
use super::asked::Fields;
use super::failure::Failure;
use super::formats;
use super::sampling::Sampling;
use super::texts::Given;

/// New tokens where a request does not say how many, as in OpenAI's API.
const USUAL_TOKENS: u32 = 16;
/// Prompts in one request at most.
const MOST_PROMPTS: usize = 64;

/// Goes on with one or several texts.
pub async fn complete(State(server): State<Arc<Server>>, request: Request<Body>) -> Result<Response, Failure> {
    let mut fields = Fields::read(&server, request).await?;
    let name = server.take_name(&mut fields)?;
    let given: Given = fields.need("prompt")?;
    let echo = fields.take("echo")?.unwrap_or(false);
    // Who wants to know about the prompt only asks for no token.
    let only_prompt = echo && fields.take_zero("max_tokens");
    let mut sampling = Sampling::take(&mut fields, &server.sampling, USUAL_TOKENS)?;
    match fields.take::<Value>("logprobs")? {
        None | Some(Value::Bool(false)) => {}
        Some(top) => {
            let bad = || Failure::request("logprobs", "'logprobs' must be a number");
            let top = top.as_u64().and_then(|top| usize::try_from(top).ok()).ok_or_else(bad)?;
            sampling.tell_logprobs("logprobs", top)?;
        }
    }
    for options in sampling.options.iter_mut().filter(|_| echo) {
        options.prompt_logprobs = options.logprobs.or(only_prompt.then_some(0));
        options.max_tokens = if only_prompt { 0 } else { options.max_tokens };
    }
    let format = formats::take(&mut fields)?;
    let held = fields.end()?;
    server.constrain(&mut sampling, format).await?;
    let count = given.count();
    if !(1..=MOST_PROMPTS).contains(&count) {
        return Err(Failure::request("prompt", format!("{count} prompts; 1 to {MOST_PROMPTS} can be given")));
    }
    let prompts = server.in_background(move |server| server.plain_prompts(given)).await?;
    let answers = sampling.options.len();
    let tells = sampling.options.iter().any(|options| options.logprobs.is_some());
    let echo = prompts.iter().filter(|_| echo).cloned().collect();
    let prompts = prompts.into_iter().map(|(_, ids)| server.checked(Prompt { ids, options: sampling.options.clone() }));
    let prompts = prompts.collect::<Result<_, _>>()?;
    let form = TextForm { head: Head::new("cmpl-", &server, name), echo, answers, tells, offsets: Vec::new() };
    Answers::ask(&server, prompts, held)?.respond(sampling.stream, sampling.stream_usage, form).await
}

struct TextForm {
    head: Head,
    /// The prompts and their ids, where they are to be said again.
    echo: Vec<(String, Vec<u32>)>,
    /// To each prompt.
    answers: usize,
    /// Whether it is told how likely tokens were.
    tells: bool,
    /// Characters of each answer's tokens that were told.
    offsets: Vec<usize>,
}

impl TextForm {
    fn choice(answer: usize, text: &str, finish_reason: Option<&str>) -> Value {
        json!({ "index": answer, "text": text, "logprobs": null, "finish_reason": finish_reason })
    }

    /// How likely tokens of an answer were, as the older API writes it; null where that was not asked for. `prompt`: of those
    /// before it, where they are told too; nothing is known of the first one.
    fn logprobs(&mut self, answer: usize, prompt: &[TokenLogprobs], of: &[(u32, TokenLogprobs)]) -> Value {
        if self.offsets.len() <= answer {
            self.offsets.resize(answer + 1, 0);
        }
        let begins = self.tells && self.offsets[answer] == 0;
        let prompt_ids = self.echo.get(answer / self.answers).filter(|_| begins).map(|(_, ids)| ids.as_slice());
        let prompt_ids = prompt_ids.unwrap_or_default();
        let known = |(id, logprobs): &(u32, TokenLogprobs)| (*id, Some(logprobs.clone()));
        let first = prompt_ids.iter().take(1).map(|id| (*id, None));
        let others = prompt_ids.iter().skip(1).zip(prompt).map(|(id, logprobs)| (*id, Some(logprobs.clone())));
        let of: Vec<_> = first.chain(others).chain(of.iter().map(known)).collect();
        if of.is_empty() {
            return Value::Null;
        }
        let tokens: Vec<String> = of.iter().map(|(id, _)| self.head.spelled(*id).0).collect();
        let told = &mut self.offsets[answer];
        let offset = |token: &String| std::mem::replace(told, *told + token.chars().count());
        let offsets: Vec<usize> = tokens.iter().map(offset).collect();
        let top = |logprobs: &TokenLogprobs| -> Value {
            logprobs.top.iter().map(|(id, logprob)| (self.head.spelled(*id).0, Value::from(*logprob))).collect()
        };
        let chosen = |(_, logprobs): &(u32, Option<TokenLogprobs>)| logprobs.as_ref().map(|of| of.chosen);
        json!({
            "tokens": tokens,
            "token_logprobs": of.iter().map(chosen).collect::<Vec<_>>(),
            "top_logprobs": of.iter().map(|(_, logprobs)| logprobs.as_ref().map(top)).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }

    fn before(&self, answer: usize) -> &str {
        self.echo.get(answer / self.answers).map_or("", |(text, _)| text)
    }
}

impl Form for TextForm {
    const FRAMING: Framing = Framing::Events;

    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value {
        let choice = |(index, whole): (usize, Whole)| {
            // A text that goes on has no thoughts beside it.
            let text = [self.before(index), &whole.reasoning, &whole.text].concat();
            let mut choice = Self::choice(index, &text, Some(finish_reason(whole.stop)));
            choice["logprobs"] = self.logprobs(index, &whole.prompt_logprobs, &whole.logprobs);
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
        if text.is_empty() && logprobs.is_empty() && delta.prompt_logprobs.is_empty() {
            return Vec::new();
        }
        let mut choice = Self::choice(answer, &text, None);
        choice["logprobs"] = self.logprobs(answer, &delta.prompt_logprobs, &logprobs);
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
