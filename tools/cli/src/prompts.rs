//! `tilestream run --prompts`: many prompts, all of which ride each sweep.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;
use serde_json::json;
use tilestream::{Error, ErrorKind, Request, Result};

use crate::args::RunArgs;
use crate::model::{self, Stopwatch};
use crate::run::text_ids;

/// Sequences in one sweep at most: each costs logits of the whole vocabulary.
const MOST_SEQUENCES: usize = 16;

/// A line of the input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    ids: Option<Vec<u32>>,
    system: Option<String>,
    max_tokens: Option<u32>,
}

#[derive(Clone, Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    reason: Option<&'static str>,
}

/// Runs all prompts of `path` and writes the answers to `out`, in the same order. The file appears when all are done.
pub async fn run(args: &RunArgs, path: &Path, out: &Path, stop: &Arc<AtomicBool>) -> Result<()> {
    let lines = read(path)?;
    let files = model::open(&args.model, stop).await?;
    let mut requests = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let request = request(line, args, files.text());
        requests.push(request.map_err(|error| error.file(format!("{}:{}", path.display(), index + 1)))?);
    }
    let positions = |request: &Request| request.prompt.len() as u64 + u64::from(request.options.max_tokens);
    let longest = requests.iter().map(positions).max().unwrap_or(1);
    let sequences = requests.len().min(MOST_SEQUENCES);
    let context = u32::try_from(longest.next_multiple_of(32) * sequences as u64).unwrap_or(u32::MAX);
    let mut load = model::load_options(&args.model, Some(context));
    load.sequences = sequences as u32;
    let (prompt_tokens, count) = (requests.iter().map(|request| request.prompt.len()).sum(), requests.len());
    let mut watch = Stopwatch::start();
    let mut model = model::load(files, &load, stop).await?;
    let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
    let mut answers = vec![Answer::default(); count];
    let mut generation = model.generate_all(requests)?;
    let mut done = 0;
    while let Some(piece) = generation.next().await? {
        let answer = &mut answers[piece.request];
        if let Some(id) = piece.id {
            watch.token();
            answer.ids.push(id);
        }
        answer.text += &piece.text;
        if let Some(reason) = piece.stop {
            answer.reason = Some(reason.as_str());
            done += 1;
            eprintln!("{done} of {count} prompts answered");
        }
    }
    drop(generation);
    write(out, &answers)?;
    model::write_trace(trace)?;
    if args.generation.profile {
        watch.report(&model, prompt_tokens).print();
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let text = model::read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            Error::new(ErrorKind::Argument, format!("is not a prompt: {error}")).file(format!(
                "{}:{}",
                path.display(),
                index + 1
            ))
        })
    };
    let lines: Vec<Line> = lines.map(parse).collect::<Result<_>>()?;
    if lines.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "holds no prompt").file(path.display().to_string()));
    }
    Ok(lines)
}

fn request(line: Line, args: &RunArgs, text: &tilestream::ModelText) -> Result<Request> {
    let mut options = model::generate_options(&args.generation);
    options.max_tokens = line.max_tokens.unwrap_or(options.max_tokens);
    let prompt = match (line.prompt, line.ids) {
        (Some(prompt), None) => {
            let system = line.system.or_else(|| args.generation.system.clone());
            let generation = crate::args::GenerationArgs { system, ..args.generation.clone() };
            text_ids(&prompt, args.raw, &generation, text)?
        }
        (None, Some(ids)) => ids,
        _ => return Err(Error::new(ErrorKind::Argument, "needs either 'prompt' or 'ids'")),
    };
    Ok(Request { prompt, options })
}

fn write(path: &Path, answers: &[Answer]) -> Result<()> {
    model::write_whole(path, |out| {
        answers.iter().try_for_each(|answer| {
            let line = json!({ "ids": answer.ids, "text": answer.text, "stop_reason": answer.reason });
            writeln!(out, "{line}")
        })
    })
}
