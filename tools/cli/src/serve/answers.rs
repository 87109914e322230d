//! Answers on their way to a client: as they come, or whole.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};
use tilestream::{Answer, GenerateOptions, Request, StopReason, TextDelta, TokenLogprobs};

use super::admission::Taken;
use super::asked::Held;
use super::failure::Failure;
use super::metrics::Counting;
use super::{Server, unix_s};

/// A stream in which nothing happens says so this often: proxies and clients close silent ones.
const STILL_HERE: Duration = Duration::from_secs(10);

/// The last event of a stream.
const DONE: &str = "[DONE]";

/// A prompt, and how to answer it: one answer for each of the options.
pub struct Prompt {
    pub ids: Vec<u32>,
    pub options: Vec<GenerateOptions>,
}

/// Answers that were let in.
pub struct Answers {
    under_way: Vec<Answer>,
    prompt_tokens: usize,
    counting: Counting,
    places: Taken,
    /// Until the last part is told.
    held: Held,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    pub text: String,
    pub reasoning: String,
    /// The tokens, and how likely they were, where that was asked for.
    pub logprobs: Vec<(u32, TokenLogprobs)>,
    /// The same of the prompt, from its second token on.
    pub prompt_logprobs: Vec<TokenLogprobs>,
    pub stop: Option<StopReason>,
}

/// How many tokens a request took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub prompt: usize,
    /// Of the prompt, those that were not computed again.
    pub cached: usize,
    pub new: usize,
    /// Of the new ones, those of what was thought before the answer.
    pub thought: usize,
}

impl Usage {
    pub fn json(self) -> Value {
        let Self { prompt, cached, new, thought } = self;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": new,
            "total_tokens": prompt + new,
            "prompt_tokens_details": { "cached_tokens": cached },
            "completion_tokens_details": { "reasoning_tokens": thought },
        })
    }

    fn add(&mut self, delta: &TextDelta) {
        self.new += usize::from(delta.id.is_some());
        self.thought += usize::from(delta.is_thought);
        // Of several answers to one prompt each knows what the others have.
        self.cached = (self.cached + delta.cached_tokens as usize).min(self.prompt);
    }
}

/// How the parts of a stream are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events, as OpenAI's API has them.
    Events,
    /// The same with names, as Anthropic's API has them: the `type` of each.
    NamedEvents,
    /// A JSON object a line, as Ollama's API has them.
    Lines,
}

/// Where an API puts what comes.
pub trait Form: Send + 'static {
    const FRAMING: Framing;
    /// The whole answers.
    fn whole(&mut self, answers: Vec<Whole>, usage: Usage) -> Value;
    /// What is said before the first token of an answer.
    fn begin(&mut self, answer: usize) -> Vec<Value>;
    /// Something new of an answer.
    fn delta(&mut self, answer: usize, delta: &TextDelta) -> Vec<Value>;
    /// The end of an answer.
    fn end(&mut self, answer: usize, stop: StopReason) -> Vec<Value>;
    /// The end of all, with how many tokens it took.
    fn usage(&mut self, usage: Usage) -> Vec<Value>;
}

impl Answers {
    /// Asks the model, where there is room.
    ///
    /// # Errors
    /// What is wrong with the request; that the queue is full, or the server ending.
    pub fn ask(server: &Server, prompts: Vec<Prompt>, held: Held) -> Result<Self, Failure> {
        let count = prompts.iter().map(|prompt| prompt.options.len()).sum();
        if count > server.places.most() {
            let message = format!("{count} answers are asked for; this server takes {}", server.places.most());
            return Err(Failure::request("n", message));
        }
        let places = server.take_places(count)?;
        let prompt_tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
        let counting = server.counters.begin(prompt_tokens);
        let mut under_way = Vec::with_capacity(count);
        for prompt in prompts {
            for options in prompt.options {
                under_way.push(server.handle.submit(Request::new(prompt.ids.clone(), options))?);
            }
        }
        Ok(Self { under_way, prompt_tokens, counting, places, held })
    }

    /// The response of an API: a stream, or all in one.
    pub async fn respond<F: Form>(self, stream: bool, stream_usage: bool, mut form: F) -> Result<Response, Failure> {
        if stream {
            let said = self.said(stream_usage, form);
            return Ok(match F::FRAMING {
                Framing::Events => events(said),
                Framing::NamedEvents => named_events(said),
                Framing::Lines => lines(said),
            });
        }
        let mut usage = Usage { prompt: self.prompt_tokens, ..Usage::default() };
        let mut whole = vec![Whole::default(); self.under_way.len()];
        // Dropped with this future where the client hangs up, which ends the answers.
        let mut deltas = std::pin::pin!(merged(self.under_way, self.counting));
        while let Some((answer, delta)) = deltas.next().await {
            let delta = delta?;
            let whole = &mut whole[answer];
            whole.text += &delta.text;
            whole.reasoning += &delta.reasoning;
            whole.stop = delta.stop.or(whole.stop);
            usage.add(&delta);
            whole.logprobs.extend(delta.id.zip(delta.logprobs));
            whole.prompt_logprobs.extend(delta.prompt_logprobs);
        }
        Ok(Json(form.whole(whole, usage)).into_response())
    }

    /// What is said, in order.
    fn said(self, stream_usage: bool, mut form: impl Form) -> impl Stream<Item = Value> + Send {
        let Self { under_way, prompt_tokens, counting, places, held } = self;
        let begin: Vec<_> = (0..under_way.len()).flat_map(|answer| form.begin(answer)).collect();
        let state = (
            Box::pin(merged(under_way, counting)),
            form,
            Usage { prompt: prompt_tokens, ..Usage::default() },
            (places, held),
        );
        let told = stream::unfold(Some(state), move |state| async move {
            let (mut deltas, mut form, mut usage, held) = state?;
            let (said, goes_on) = match deltas.next().await {
                Some((answer, Ok(delta))) => {
                    usage.add(&delta);
                    let mut said = form.delta(answer, &delta);
                    said.extend(delta.stop.into_iter().flat_map(|stop| form.end(answer, stop)));
                    (said, true)
                }
                Some((_, Err(error))) => (vec![Failure::from(error).json()], false),
                None => (if stream_usage { form.usage(usage) } else { Vec::new() }, false),
            };
            Some((said, goes_on.then_some((deltas, form, usage, held))))
        });
        stream::iter(begin).chain(told.flat_map(stream::iter))
    }
}

impl Server {
    /// Places for so many answers.
    ///
    /// # Errors
    /// That the queue is full, or the server ending.
    pub fn take_places(&self, count: usize) -> Result<Taken, Failure> {
        let places = self.places.take(count).ok_or_else(|| {
            self.counters.turned_away();
            Failure::full()
        })?;
        // Looked at behind that: a server that ends waits for what took its place before.
        if self.ending.load(Ordering::SeqCst) {
            return Err(Failure::ending());
        }
        Ok(places)
    }
}

fn events(said: impl Stream<Item = Value> + Send + 'static) -> Response {
    let said = said.map(|json| (json.to_string(), json.get("error").is_some()));
    // What failed is not said to be done.
    let until_failed = |failed: &mut bool, (data, fails): (String, bool)| {
        let goes_on = !std::mem::replace(failed, fails);
        std::future::ready(goes_on.then_some(data))
    };
    let data = said.chain(stream::iter([(DONE.to_owned(), false)])).scan(false, until_failed);
    sse(data.map(|data| Event::default().data(data)))
}

fn named_events(said: impl Stream<Item = Value> + Send + 'static) -> Response {
    let event = |json: Value| {
        let name = json["type"].as_str().unwrap_or("error").to_owned();
        Event::default().event(name).data(json.to_string())
    };
    sse(said.map(event))
}

fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(STILL_HERE)).into_response()
}

fn lines(said: impl Stream<Item = Value> + Send + 'static) -> Response {
    let lines = said.map(|json| Ok::<_, Infallible>(format!("{json}\n")));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// What comes of all answers, with the number of the answer; nothing after an error.
fn merged(
    under_way: Vec<Answer>,
    counting: Counting,
) -> impl Stream<Item = (usize, tilestream::Result<TextDelta>)> + Send {
    let streams = under_way.into_iter().enumerate().map(|(index, answer)| {
        let deltas = stream::unfold(answer, move |mut answer| async move {
            let next = answer.next().await.transpose()?;
            Some(((index, next), answer))
        });
        Box::pin(deltas)
    });
    let until_failed = |(failed, counting): &mut (bool, Counting), item: (usize, tilestream::Result<TextDelta>)| {
        match &item.1 {
            Ok(delta) if delta.id.is_some() => counting.token(delta.cached_tokens),
            Ok(_) => {}
            Err(_) => counting.failed(),
        }
        let was = std::mem::replace(failed, item.1.is_err());
        std::future::ready((!was).then_some(item))
    };
    stream::select_all(streams).scan((false, counting), until_failed)
}

/// Why an answer ended, in the words of the APIs.
pub fn finish_reason(stop: Option<StopReason>) -> &'static str {
    match stop {
        Some(StopReason::MaxTokens | StopReason::ContextFull) => "length",
        _ => "stop",
    }
}

/// What is the same in everything that is said of a request.
pub struct Head {
    id: String,
    created: u64,
    /// As the request called it.
    model: String,
    server: Arc<Server>,
}

impl Head {
    /// A head with a new id behind `prefix`.
    pub fn new(prefix: &str, server: &Arc<Server>, model: String) -> Self {
        Self { id: server.new_id(prefix), created: unix_s(), model, server: Arc::clone(server) }
    }

    /// A token as text, and as bytes. Part of a character is written as its bytes, so that no two tokens look alike.
    pub fn spelled(&self, id: u32) -> (String, Vec<u8>) {
        let tokenizer = self.server.handle.files().text().tokenizer();
        let bytes = tokenizer.ok().and_then(|tokenizer| tokenizer.token_bytes(id)).unwrap_or_default();
        let hex = || bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let text = str::from_utf8(&bytes).map_or_else(|_| format!("bytes:{}", hex()), str::to_owned);
        (text, bytes)
    }

    /// A JSON object with it.
    pub fn json(&self, object: &str, choices: Vec<Value>) -> Value {
        let Self { id, created, model, .. } = self;
        json!({ "id": id, "object": object, "created": created, "model": model, "choices": choices })
    }
}
