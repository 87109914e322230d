//! `tilestream run`: one prompt.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tilestream::{ErrorKind, Message, ModelText, Result};

use crate::args::{GenerationArgs, RunArgs};
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
    let files = model::open(&args.model, stop).await?;
    let prompt = prompt_ids(args, files.text())?;
    let prompt_tokens = prompt.len();
    let context = u32::try_from(prompt.len()).unwrap_or(u32::MAX).saturating_add(args.generation.max_tokens);
    let load = model::load_options(&args.model, Some(context));
    load.check_length(files.spec(), prompt_tokens, 1)?;
    let mut watch = Stopwatch::start();
    let mut model = model::load(files, &load, stop).await?;
    let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
    let (mut ids, mut text, mut reason) = (Vec::new(), String::new(), None);
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
            show(&piece.text)?;
        }
        text += &piece.text;
    };
    drop(answer);
    model::write_trace(trace)?;
    let report = watch.report(&model, prompt_tokens);
    if args.json {
        let reason = if stopped { "cancelled" } else { reason.map_or("max_tokens", |reason| reason.as_str()) };
        let object = json!({ "ids": ids, "text": text, "stop_reason": reason, "profile": report });
        show(&format!("{object}\n"))?;
    } else {
        show("\n")?;
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
