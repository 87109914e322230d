//! `tilestream run`: one prompt.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tilestream::{Error, ErrorKind, Message, ModelText, Request, Result, StopReason, TextDelta};

use crate::args::{GenerationArgs, RunArgs, ShowReasoning};
use crate::fetching::Fetching;
use crate::model::{self, Stopwatch};
use crate::prompts;

/// Runs the command.
pub fn run(args: &RunArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    pollster::block_on(async {
        if let (Some(prompts), Some(out)) = (&args.prompts, &args.out) {
            return prompts::run(args, prompts, out, stop).await;
        }
        one(args, stop).await
    })
}

async fn one(args: &RunArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    model::check_sampling(&args.generation)?;
    let prompt = Prompt::read(args)?;
    let files = model::open_for_chat(&args.model, &args.generation, stop).await?;
    let options = model::generate_options(&args.generation, &model::own_sampling(&files));
    let options = model::with_format(options, &args.generation, &files)?;
    let sampler = options.sampler.clone();
    model::tell_sampling(&sampler);
    let prompt = prompt.ids(args, files.text())?;
    let prompt_tokens = prompt.len();
    let context = u32::try_from(prompt.len()).unwrap_or(u32::MAX).saturating_add(args.generation.max_tokens);
    let load = model::load_options(&args.model, Some(context));
    load.check_length(files.spec(), prompt_tokens, 1)?;
    let mut fetching = Fetching::show(&files);
    let mut watch = Stopwatch::start();
    let model = model::load(files, &load, stop).await?;
    let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
    let (mut ids, mut text, mut reasoning, mut reason) = (Vec::new(), String::new(), String::new(), None);
    let mut shown = Shown::new(args.generation.reasoning);
    let (positions, handle) = (model.positions(), model.into_handle()?);
    let mut answer = handle.submit(Request::new(prompt, options))?;
    let stopped = loop {
        let delta = match answer.next().await {
            Ok(Some(delta)) => delta,
            Ok(None) => break false,
            Err(error) if error.kind() == ErrorKind::Cancelled => break true,
            Err(error) => return Err(error),
        };
        drop(fetching.take());
        if let Some(id) = delta.id {
            watch.token();
            ids.push(id);
        }
        reason = delta.stop.or(reason);
        if !args.json {
            shown.delta(&delta)?;
        }
        text += &delta.text;
        reasoning += &delta.reasoning;
    };
    let report = watch.report(handle.with_model(|model| model.profile()).await?, prompt_tokens);
    model::write_trace(trace)?;
    let seed = (sampler.temperature > 0.0).then_some(sampler.seed);
    if args.json {
        let reason = if stopped { "cancelled" } else { reason.map_or("max_tokens", |reason| reason.as_str()) };
        let object = json!({
            "ids": ids, "text": text, "reasoning": reasoning, "stop_reason": reason, "seed": seed, "profile": report,
        });
        show(&format!("{object}\n"))?;
    } else {
        show("\n")?;
    }
    if let Some(why) = cut(reason, args.generation.max_tokens, positions) {
        eprintln!("({why})");
    }
    if args.generation.profile && !args.json {
        report.print();
    }
    if stopped { Err(Error::new(ErrorKind::Cancelled, "stopped")) } else { Ok(()) }
}

/// Whether anything went to stdout.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether anything went to stdout.
pub fn has_shown() -> bool {
    SHOWN.load(Ordering::Relaxed)
}

/// Shows an answer as it comes: the answer on stdout, what the model thinks before it on stderr.
pub struct Shown {
    reasoning: ShowReasoning,
    /// Reasoning was the last that was written to stderr.
    thinking: bool,
}

impl Shown {
    /// Nothing is shown yet.
    pub fn new(reasoning: ShowReasoning) -> Self {
        Self { reasoning, thinking: false }
    }

    /// Shows what came out of one token.
    pub fn delta(&mut self, delta: &TextDelta) -> Result<()> {
        match self.reasoning {
            ShowReasoning::Only => return show(&delta.reasoning),
            ShowReasoning::Show if !delta.reasoning.is_empty() => {
                let dimmed = std::io::stderr().is_terminal();
                let (on, off) = if dimmed { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                eprint!("{on}{}{off}", delta.reasoning);
                self.thinking = true;
            }
            _ => {}
        }
        let ends = !delta.text.is_empty() || delta.stop.is_some();
        if ends && std::mem::take(&mut self.thinking) {
            eprint!("\n\n");
        }
        show(&delta.text)
    }
}

/// Why an answer did not come to its end, if a limit cut it.
pub fn cut(reason: Option<StopReason>, max_tokens: u32, positions: u32) -> Option<String> {
    match reason {
        Some(StopReason::MaxTokens) => Some(format!("cut at --max-tokens {max_tokens}")),
        Some(StopReason::ContextFull) => Some(format!("cut: the context of {positions} tokens is full")),
        _ => None,
    }
}

/// Writes to stdout at once; a reader that went away is an error like any other.
pub fn show(text: &str) -> Result<()> {
    SHOWN.fetch_or(!text.is_empty(), Ordering::Relaxed);
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::io(error, "standard output"))
}

/// Whether anything comes from standard input, which is gone once it was read.
pub fn reads_stdin(args: &RunArgs) -> bool {
    let is_stdin = |file: &Option<std::path::PathBuf>| file.as_deref() == Some(Path::new("-"));
    let given =
        args.prompt.is_some() || args.prompt_file.is_some() || args.ids_file.is_some() || args.prompts.is_some();
    !given || is_stdin(&args.prompt_file) || is_stdin(&args.prompts)
}

/// What the model is to continue, as it was given.
enum Prompt {
    Ids(Vec<u32>),
    Text(String),
}

impl Prompt {
    fn read(args: &RunArgs) -> Result<Self> {
        if let Some(file) = &args.ids_file {
            return model::read_ids(file).map(Self::Ids);
        }
        match (&args.prompt, &args.prompt_file) {
            (Some(prompt), _) => Ok(Self::Text(prompt.clone())),
            (None, Some(file)) if file != Path::new("-") => model::read_text(file).map(Self::Text),
            (None, given) => from_stdin(given.is_some()).map(Self::Text),
        }
    }

    fn ids(self, args: &RunArgs, text: &ModelText) -> Result<Vec<u32>> {
        match self {
            Self::Ids(ids) => Ok(ids),
            Self::Text(prompt) => text_ids(&prompt, args.raw, &args.generation, text),
        }
    }
}

/// A prompt on standard input, without the end of its last line, which `echo` adds.
fn from_stdin(asked_for: bool) -> Result<String> {
    let failed = |error| Error::io(error, "standard input");
    let no_prompt = || {
        Error::new(ErrorKind::Argument, "there is no prompt")
            .remedy("give one with --prompt, --prompt-file or on standard input")
    };
    if !asked_for && std::io::stdin().is_terminal() {
        return Err(no_prompt());
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    let mut text = model::utf8(bytes).map_err(|error| error.file("standard input"))?;
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    if text.is_empty() { Err(no_prompt()) } else { Ok(text) }
}

/// The ids of a prompt, through the chat template unless `raw`.
pub fn text_ids(prompt: &str, raw: bool, generation: &GenerationArgs, text: &ModelText) -> Result<Vec<u32>> {
    if raw {
        let (ids, own) = (text.tokenizer()?.encode(prompt, true)?, text.tokenizer()?.encode(prompt, false)?);
        if ids.len() > own.len() && ids.first() == own.first() && ids.get(..1) == ids.get(1..2) {
            eprintln!(
                "the prompt begins with the token that stands before every text: the model sees it twice; leave it out"
            );
        }
        return Ok(ids);
    }
    let mut messages = Vec::new();
    if let Some(system) = &generation.system {
        messages.push(Message::system(system.as_str()));
    }
    messages.push(Message::user(prompt));
    text.chat_prompt(&messages)
}
