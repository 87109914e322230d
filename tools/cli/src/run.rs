//! `tilestream run`: one prompt.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tilestream::{ErrorKind, Message, ModelText, Piece, Result, StopReason};

use crate::args::{GenerationArgs, RunArgs, ShowReasoning};
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
    let options = model::generate_options(&args.generation);
    options.sampler.validate()?;
    let files = model::open(&args.model, stop).await?.with_date(args.generation.date);
    let prompt = prompt_ids(args, files.text())?;
    let prompt_tokens = prompt.len();
    let context = u32::try_from(prompt.len()).unwrap_or(u32::MAX).saturating_add(args.generation.max_tokens);
    let load = model::load_options(&args.model, Some(context));
    load.check_length(files.spec(), prompt_tokens, 1)?;
    let mut watch = Stopwatch::start();
    let mut model = model::load(files, &load, stop).await?;
    let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
    let (mut ids, mut text, mut reasoning, mut reason) = (Vec::new(), String::new(), String::new(), None);
    let mut shown = Shown::new(args.generation.reasoning);
    let mut answer = model.generate(prompt, options)?;
    let stopped = loop {
        let piece = match answer.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break false,
            Err(error) if error.kind() == ErrorKind::Cancelled => break true,
            Err(error) => return Err(error),
        };
        if let Some(id) = piece.id {
            watch.token();
            ids.push(id);
        }
        reason = piece.stop.or(reason);
        if !args.json {
            shown.piece(&piece)?;
        }
        text += &piece.text;
        reasoning += &piece.reasoning;
    };
    drop(answer);
    model::write_trace(trace)?;
    let report = watch.report(&model, prompt_tokens);
    if args.json {
        let reason = if stopped { "cancelled" } else { reason.map_or("max_tokens", |reason| reason.as_str()) };
        let object =
            json!({ "ids": ids, "text": text, "reasoning": reasoning, "stop_reason": reason, "profile": report });
        show(&format!("{object}\n"))?;
    } else {
        show("\n")?;
    }
    if let Some(why) = cut(reason, args.generation.max_tokens, model.positions()) {
        eprintln!("({why})");
    }
    if args.generation.profile && !args.json {
        report.print();
    }
    Ok(())
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
    pub fn piece(&mut self, piece: &Piece) -> Result<()> {
        match self.reasoning {
            ShowReasoning::Only => return show(&piece.reasoning),
            ShowReasoning::Show if !piece.reasoning.is_empty() => {
                let dimmed = std::io::stderr().is_terminal();
                let (on, off) = if dimmed { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                eprint!("{on}{}{off}", piece.reasoning);
                self.thinking = true;
            }
            _ => {}
        }
        let ends = !piece.text.is_empty() || piece.stop.is_some();
        if ends && std::mem::take(&mut self.thinking) {
            eprint!("\n\n");
        }
        show(&piece.text)
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
    written.map_err(|error| tilestream::Error::io(error, "standard output"))
}

fn prompt_ids(args: &RunArgs, text: &ModelText) -> Result<Vec<u32>> {
    if let Some(file) = &args.ids_file {
        return model::read_ids(file);
    }
    let prompt = match (&args.prompt, &args.prompt_file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(file)) => model::read_text(file)?,
        (None, None) => String::new(),
    };
    text_ids(&prompt, args.raw, &args.generation, text)
}

/// The ids of a prompt, through the chat template unless `raw`.
pub fn text_ids(prompt: &str, raw: bool, generation: &GenerationArgs, text: &ModelText) -> Result<Vec<u32>> {
    if raw {
        return text.tokenizer()?.encode(prompt, true);
    }
    let mut messages = Vec::new();
    if let Some(system) = &generation.system {
        messages.push(Message::system(system.as_str()));
    }
    messages.push(Message::user(prompt));
    text.chat_prompt(&messages)
}
