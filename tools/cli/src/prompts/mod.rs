//! `tilestream run --prompts`: many prompts, all of which ride each sweep. Each answer is written as it is done.

mod input;
mod line;
mod output;
mod progress;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tilestream::{
    Answer, Error, ErrorKind, GenerateOptions, LoadOptions, ModelFiles, ModelHandle, ModelText, Request, Result,
    StopReason, TextDelta,
};
use tilestream_split::told;
use xxhash_rust::xxh3::xxh3_64;

use crate::args::RunArgs;
use crate::fetching::Fetching;
use crate::model::{self, Stopwatch};
use input::{Entry, Input, Next, READ_AHEAD};
use line::Defaults;
use output::Output;
use progress::Progress;

/// Sequences in one sweep at most: each costs logits of the whole vocabulary.
const MOST_SEQUENCES: usize = 16;
/// Where the next line may take its time, the first ones are waited for so long.
const FIRST_LINES: Duration = Duration::from_millis(100);
/// For ever, nearly: a wait that only the input's end or Ctrl-C ends.
const LONG: Duration = Duration::from_secs(u32::MAX as u64);

/// Runs all prompts of `path` that have no answer in `out` yet.
pub async fn run(args: &RunArgs, path: &Path, out: &Path, stop: &Arc<AtomicBool>) -> Result<()> {
    let source = input::open(path)?;
    model::check_sampling(&args.generation)?;
    let files = model::open_for_chat(&args.model, &args.generation, stop).await?;
    // The seed is always the same, so that the same command goes on with the same options.
    let options = model::generate_options(&args.generation, &files.sampling());
    let options = model::with_format(options, &args.generation, &files)?;
    let (output, answered) = Output::open(out)?;
    let before = answered.len() as u64;
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let input = Input::start(source, name.clone(), defaults(args, options, &files)?, answered)?;
    let progress = Progress::new(input::count(path), before);
    let mut session =
        Session { name: name.clone(), input, output, progress, count: Count { before, ..Count::default() } };
    let result = session.answer_all(args, files, stop).await;
    // Whatever ended the work: what is done stays.
    let kept = session.output.finish();
    let (count, lines) = (session.count, session.input.lines().cloned());
    drop(session);
    count.tell();
    let to_continue = if out == Path::new("-") { "" } else { "the same command continues" };
    match result {
        Err(error) if error.kind() == ErrorKind::Cancelled && !to_continue.is_empty() => {
            return Err(Error::new(ErrorKind::Cancelled, "stopped").remedy(to_continue));
        }
        result => result.and(kept)?,
    }
    let lines = lines.unwrap_or_default();
    if lines.all == 0 {
        return Err(Error::new(ErrorKind::Argument, "holds no prompt").file(name));
    }
    if !lines.gone.is_empty() {
        let numbers: Vec<_> = lines.gone.iter().map(u64::to_string).collect();
        eprintln!("{} has answers to lines that {name} does not have: {}", out.display(), numbers.join(", "));
    }
    if count.bad > 0 {
        let message = format!("{} of {} lines have no answer", count.bad, lines.all);
        return Err(Error::new(ErrorKind::Malformed, message).file(name).remedy("mend them and start again"));
    }
    Ok(())
}

/// What holds for every line.
fn defaults(args: &RunArgs, options: GenerateOptions, files: &ModelFiles) -> Result<Defaults> {
    let manifest = xxh3_64(&files.model().manifest().to_json()?);
    Ok(Defaults {
        options,
        system: args.generation.system.clone(),
        raw: args.raw,
        model: format!("{manifest:016x} {:?} {:?}", args.model.kv, args.model.activations),
    })
}

/// What came of the lines.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Answered by an earlier run, and now.
    before: u64,
    answered: u64,
    bad: u64,
    /// Of the answers, those that ended at `max_tokens`.
    cut: u64,
}

impl Count {
    fn tell(self) {
        let Self { before, answered, bad, cut } = self;
        let part = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let (before, bad) = (part(before, "were answered before"), part(bad, "have no answer"));
        eprintln!("{answered} prompts answered{}{before}{bad}", part(cut, "of them cut at max_tokens"));
    }
}

/// A line that can be answered, and its request.
struct Asked {
    index: u64,
    id: Option<Value>,
    key: String,
    request: Request,
}

impl Asked {
    /// Asks the model.
    fn submit(self, handle: &ModelHandle) -> Result<Pending> {
        let Self { index, id, key, request } = self;
        let prompt_tokens = request.prompt.len();
        let (ids, text, reasoning) = (Vec::new(), String::new(), String::new());
        Ok(Pending { index, id, key, prompt_tokens, ids, text, reasoning, answer: handle.submit(request)? })
    }
}

/// A line whose answer is under way.
struct Pending {
    index: u64,
    id: Option<Value>,
    key: String,
    prompt_tokens: usize,
    ids: Vec<u32>,
    text: String,
    reasoning: String,
    answer: Answer,
}

impl Pending {
    /// Waits for the next part of the answer.
    async fn next(mut self) -> (Self, Result<Option<TextDelta>>) {
        let next = self.answer.next().await;
        (self, next)
    }

    /// Adds a part of the answer.
    fn add(&mut self, delta: &TextDelta) {
        self.ids.extend(delta.id);
        self.text += &delta.text;
        self.reasoning += &delta.reasoning;
    }
}

struct Session {
    /// Of the input.
    name: String,
    input: Input,
    output: Output,
    progress: Progress,
    count: Count,
}

impl Session {
    async fn answer_all(&mut self, args: &RunArgs, files: ModelFiles, stop: &Arc<AtomicBool>) -> Result<()> {
        let text = files.text().clone();
        let (first, ended) = self.first(&text, stop)?;
        if first.is_empty() {
            return Ok(());
        }
        let load = load_options(args, &files, first.iter().map(|asked| &asked.request), ended)?;
        let mut fetching = Fetching::show(&files);
        let mut watch = Stopwatch::start();
        let model = model::load(files, &load, stop).await?;
        let trace = args.generation.trace.as_deref().map(|path| (model.trace(), path));
        let handle = model.into_handle()?;
        let mut prompt_tokens = 0;
        // Dropped with what is under way in it, which ends that.
        let mut under_way = FuturesUnordered::new();
        for asked in first {
            under_way.push(asked.submit(&handle)?.next());
        }
        loop {
            while under_way.len() < READ_AHEAD {
                let wait = if under_way.is_empty() { LONG } else { Duration::ZERO };
                let Next::Entry(entry) = self.input.next(wait, stop)? else { break };
                if let Some(asked) = self.ask(*entry, &text)? {
                    under_way.push(asked.submit(&handle)?.next());
                }
            }
            let Some((mut pending, next)) = under_way.next().await else { break };
            drop(fetching.take());
            match next {
                Ok(Some(delta)) => {
                    if delta.id.is_some() {
                        watch.token();
                    }
                    pending.add(&delta);
                    match delta.stop {
                        Some(reason) => {
                            prompt_tokens += pending.prompt_tokens;
                            self.answered(pending, reason)?;
                        }
                        None => under_way.push(pending.next()),
                    }
                }
                // The last part said why the answer ended.
                Ok(None) => {}
                Err(error) => self.fail(pending, error)?,
            }
        }
        model::write_trace(trace)?;
        if args.generation.profile {
            let report = handle.with_model(|model| model.profile()).await?;
            watch.report(report, prompt_tokens).print();
        }
        Ok(())
    }

    /// The first lines that can be answered, and whether there are no more.
    fn first(&mut self, text: &ModelText, stop: &AtomicBool) -> Result<(Vec<Asked>, bool)> {
        let mut first = Vec::new();
        while first.len() < READ_AHEAD {
            let wait = if first.is_empty() { LONG } else { FIRST_LINES };
            match self.input.next(wait, stop)? {
                Next::Entry(entry) => first.extend(self.ask(*entry, text)?),
                Next::Nothing => return Ok((first, false)),
                Next::End => return Ok((first, true)),
            }
        }
        Ok((first, false))
    }

    /// What a line asks for; a bad one is done with this.
    fn ask(&mut self, entry: Entry, text: &ModelText) -> Result<Option<Asked>> {
        let Entry { index, id, job } = entry;
        let asked = job.and_then(|job| {
            let (key, options) = (job.key.clone(), job.options.clone());
            Ok((key, Request::new(job.prompt(text)?, options)))
        });
        match asked {
            Ok((key, request)) => Ok(Some(Asked { index, id, key, request })),
            Err(error) => self.bad(index, id, error).map(|()| None),
        }
    }

    /// What failed is that line's error, unless all fail alike: the files of the model, or its device.
    fn fail(&mut self, pending: Pending, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Argument | ErrorKind::NotFinite => self.bad(pending.index, pending.id, error),
            ErrorKind::Budget => {
                let message =
                    format!("the budget has no room for the keys and values of {} tokens", pending.prompt_tokens);
                let error = Error::new(ErrorKind::Budget, message).remedy("raise --budget, or shorten the prompt");
                self.bad(pending.index, pending.id, error)
            }
            _ => Err(error),
        }
    }

    fn answered(&mut self, pending: Pending, reason: StopReason) -> Result<()> {
        let mut line = json!({ "index": pending.index });
        if let Some(id) = pending.id {
            line["id"] = id;
        }
        line["key"] = json!(pending.key);
        line["prompt_tokens"] = json!(pending.prompt_tokens);
        line["ids"] = json!(pending.ids);
        if !pending.reasoning.is_empty() {
            line["reasoning"] = json!(pending.reasoning);
        }
        line["text"] = json!(pending.text);
        line["stop_reason"] = json!(reason.as_str());
        self.output.write(&line)?;
        self.count.answered += 1;
        self.count.cut += u64::from(reason == StopReason::MaxTokens);
        self.progress.line_done();
        Ok(())
    }

    /// A line that cannot be answered: the others go on.
    fn bad(&mut self, index: u64, id: Option<Value>, error: Error) -> Result<()> {
        let error = error.file(format!("{}:{index}", self.name));
        let message = told(&error);
        self.progress.say(&format!("no answer to {message}"));
        let mut line = json!({ "index": index });
        if let Some(id) = id {
            line["id"] = id;
        }
        line["error"] = json!({ "kind": error.kind().code(), "message": message });
        self.output.write(&line)?;
        self.count.bad += 1;
        self.progress.line_done();
        Ok(())
    }
}

/// Room for as many sequences at once as there are, and as the budget allows. `all`: there are no more than these.
fn load_options<'a>(
    args: &RunArgs,
    files: &ModelFiles,
    requests: impl Iterator<Item = &'a Request>,
    all: bool,
) -> Result<LoadOptions> {
    let mut load = model::load_options(&args.model, None);
    let most = u64::from(load.positions(files.spec()));
    let positions = |request: &Request| {
        let wanted = request.prompt.len() as u64 + u64::from(request.options.max_tokens);
        wanted.min(most).next_multiple_of(32)
    };
    let mut needs: Vec<u64> = requests.map(positions).collect();
    needs.sort_unstable_by(|a, b| b.cmp(a));
    if let (false, Some(longest)) = (all, needs.first()) {
        // More such lines may come.
        needs = vec![*longest; MOST_SEQUENCES];
    }
    let mut sequences = needs.len().min(MOST_SEQUENCES);
    loop {
        let context = needs.iter().take(sequences).sum::<u64>();
        load.context = Some(u32::try_from(context).unwrap_or(u32::MAX));
        load.sequences = sequences as u32;
        if files.smallest_budget(&load, false)? <= load.budget_bytes || needs.len() <= 1 {
            return Ok(load);
        }
        if sequences > 1 {
            sequences /= 2;
        } else {
            // A line that does not fit is that line's error.
            needs.remove(0);
        }
    }
}
