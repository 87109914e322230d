//! Keeps a model loaded and answers requests one after the other, for programs in other languages: a JSON object a
//! line.
//!
//! The first line on stdout tells what was loaded. Then each line `{"ids": [1, 2], "max_tokens": 8}` on stdin is
//! answered by one line with the new ids and the seconds from the request to each of them. The comparisons of
//! tools/bench ask Tilestream this way, so that loading and the first use of each shader stay apart from the rest.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use tilestream::internals::shard::Progress;
use tilestream::{AutoModel, Error, ErrorKind, GenerateOptions, LoadOptions, Result};
use tilestream_split::size::parse_size;

/// Answers requests, one JSON object a line, with a model that stays loaded.
#[derive(Parser)]
struct Args {
    /// A split model's folder, or a checkpoint, which is split on first use.
    model: PathBuf,
    /// GPU memory for everything.
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    budget: u64,
    /// Positions of KV cache to reserve.
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Where a checkpoint is split to, instead of the cache folder.
    #[arg(long, value_name = "DIR")]
    shards_dir: Option<PathBuf>,
}

/// A line of stdin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    ids: Vec<u32>,
    max_tokens: u32,
}

fn main() -> ExitCode {
    match pollster::block_on(serve(&Args::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("answer_lines: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &Args) -> Result<()> {
    let (hub, mut go_on) = (Default::default(), |_: Progress<'_>| ControlFlow::Continue(()));
    let shards_dir = args.shards_dir.as_deref();
    let folder = tilestream_split::open_or_split(&args.model, &hub, shards_dir, &mut go_on).await?;
    let mut options = LoadOptions::default().budget_bytes(args.budget);
    options.context = args.context;
    let start = Instant::now();
    let mut model = AutoModel::from_pretrained(&folder).options(options).load().await?;
    let load_s = start.elapsed().as_secs_f64();
    let version = concat!("tilestream ", env!("CARGO_PKG_VERSION"));
    say(&json!({ "version": version, "folder": folder, "load_s": load_s, "profile": model.profile() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::io(error, "standard input"))?;
        let start = Instant::now();
        let ask = serde_json::from_str(&line)
            .map_err(|error| Error::new(ErrorKind::Argument, format!("a line is no request: {error}")))?;
        say(&answer(&mut model, ask, start).await?)?;
    }
    Ok(())
}

/// New ids, seconds from `start` to each, and the bytes that were read meanwhile: what was read ahead before the
/// request came does not count.
async fn answer(model: &mut AutoModel, ask: Ask, start: Instant) -> Result<Value> {
    let read_before = model.profile().bytes_read;
    let options = GenerateOptions::default().max_tokens(ask.max_tokens).ignore_eos(true);
    let (mut ids, mut times_s) = (Vec::new(), Vec::new());
    let mut pieces = model.generate(ask.ids, options)?;
    while let Some(piece) = pieces.next().await? {
        if let Some(id) = piece.id {
            times_s.push(start.elapsed().as_secs_f64());
            ids.push(id);
        }
    }
    drop(pieces);
    let profile = model.profile();
    let read = profile.bytes_read - read_before;
    Ok(json!({ "ids": ids, "times_s": times_s, "bytes_read": read, "profile": profile }))
}

fn say(object: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{object}").and_then(|()| out.flush());
    written.map_err(|error| Error::io(error, "standard output"))
}
