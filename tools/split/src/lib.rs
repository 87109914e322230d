//! The companion's commands: `split`, `synth` and `verify`, shared by its own binary and the `tilestream` command.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use pollster::block_on;
use serde_json::Value;
use tilestream::internals::checkpoint::Checkpoint;
use tilestream::internals::shard::split::{SplitOptions, Weights, has_deleted, notice, split};
use tilestream::internals::shard::synth::{SynthOptions, preset, synth, with_layers};
use tilestream::internals::shard::{Finding, MANIFEST, Manifest, OnProgress, verify, verify_kept};
use tilestream::internals::{plan, source};
use tilestream::store::cache::FolderCache;
use tilestream::store::{FileStore, FolderSink, Originals, Store};
use tilestream::{Error, ErrorKind, Result};

mod hub;
mod progress;
pub mod size;
mod words;

pub use hub::{HubArgs, stoppable};
pub use progress::Reporter;
use size::{parse_size, show_size};
pub use words::told;

/// More than any config.json has.
const LARGEST_CONFIG_BYTES: u64 = 4 << 20;

/// Splits a checkpoint into a model: one file for each layer, in the order in which they are used.
///
/// A split that was stopped is continued by the same command. Onto a finished model the same command verifies every block, and
/// makes damaged files again.
#[derive(Args, Clone, Debug)]
pub struct SplitArgs {
    /// A Hugging Face folder (safetensors or PyTorch), a GGUF file, or a model on the Hub: ORG/NAME or ORG/NAME@REVISION
    pub checkpoint: PathBuf,
    /// The folder of the model: new, empty, or that of a split that was stopped
    pub out: PathBuf,
    /// How matrices are stored, embeddings and head included
    #[arg(long, value_enum, default_value_t)]
    pub weights: WeightsArg,
    /// Cut layers into files of at most this size, such as 100MB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_file_size: Option<u64>,
    /// Delete each file of the checkpoint once all that came from it is on disk and verified
    #[arg(long)]
    pub delete_original: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Makes a model of random weights in a published shape, as fast as the disk writes.
#[derive(Args, Clone, Debug)]
pub struct SynthArgs {
    /// llama-3.1-8b, llama-3.1-70b, llama-3.1-405b, mixtral-8x7b, qwen3-235b-a22b, deepseek-v3, or a file with a config.json
    pub preset: String,
    /// The folder of the model: new or empty
    pub out: PathBuf,
    /// Another number of layers than the published shape has
    #[arg(long, value_name = "N")]
    pub layers: Option<u32>,
    /// How matrices are stored; original is bf16
    #[arg(long, value_enum, default_value_t)]
    pub weights: WeightsArg,
    /// Cut layers into files of at most this size, such as 100MB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_file_size: Option<u64>,
    /// The same seed makes the same weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Compares every block of a model with its checksum, and names each bad block and the tensors it belongs to.
///
/// Of a model on a web server, the folder in which it is cached: what lies there is compared.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The folder of a split model, or one that a model on a web server is cached in
    pub model: PathBuf,
}

/// How matrices are stored.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum WeightsArg {
    /// Every bit as published
    #[default]
    Original,
    /// 8 bits and a scale for each 32 weights
    Q8,
    /// 4 bits, a scale and a zero point for each 32 weights
    Q4,
}

impl From<WeightsArg> for Weights {
    fn from(weights: WeightsArg) -> Self {
        match weights {
            WeightsArg::Original => Self::Original,
            WeightsArg::Q8 => Self::Q8,
            WeightsArg::Q4 => Self::Q4,
        }
    }
}

/// Runs `split`; `stop` (set by Ctrl-C) leaves a split that the next run continues.
///
/// # Errors
/// Those of opening a checkpoint and of [`split`].
pub fn run_split(args: &SplitArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    let sink = FolderSink::create(&args.out)?;
    let result = block_on(stoppable(stop, split_into(args, &sink, stop)));
    source::remove_if_empty(sink);
    let manifest = to_continue(result, "split")?;
    tell_end("split", &manifest, args.out.display());
    Ok(())
}

async fn split_into(args: &SplitArgs, sink: &FolderSink, stop: &Arc<AtomicBool>) -> Result<Manifest> {
    let options = args.hub.options(None);
    if !args.delete_original
        && let Some(repo) = source::hub_repo(&args.checkpoint)?
    {
        let store = source::open_hub(&repo, &options).await?;
        let checkpoint = source::hub_checkpoint(&store, &options).await?;
        return split_from(args, &store, None, &checkpoint, repo.name().to_owned(), sink, stop).await;
    }
    options.check_local()?;
    let (store, checkpoint) = if has_deleted(sink).await? {
        source::open_saved(&args.checkpoint, sink).await?
    } else {
        match source::open_checkpoint(&args.checkpoint, &options).await {
            // The last run was stopped after its very last step but one.
            Err(error) if error.kind() == ErrorKind::NotFound && args.delete_original => {
                let error = error.remedy("--delete-original is for a checkpoint on this machine");
                return whole(sink, stop)
                    .await
                    .map_err(|found| if found.kind() == ErrorKind::NotFound { error } else { found });
            }
            opened => opened?,
        }
    };
    let originals = args.delete_original.then_some(&store as &dyn Originals);
    let name = source::name_of(&args.checkpoint);
    split_from(args, &store, originals, &checkpoint, name, sink, stop).await
}

/// The folder of the split model that `model` stands for: see [`source::split_folder`]. Notices go to stderr.
///
/// # Errors
/// As [`source::split_folder`].
pub async fn open_or_split(
    model: &Path,
    hub: &HubArgs,
    shards_dir: Option<&Path>,
    progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    source::split_folder(model, &hub.options(shards_dir), &say, progress).await
}

/// Says on stderr what the library has to tell.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// The manifest of a finished model whose original is gone, every block of it verified.
async fn whole(sink: &FolderSink, stop: &Arc<AtomicBool>) -> Result<Manifest> {
    let manifest = Manifest::load(sink).await?;
    let mut reporter = Reporter::new("verifying", Arc::clone(stop));
    match verify(sink, &mut |progress| reporter.update(progress)).await?.first() {
        None => Ok(manifest),
        Some(finding) => {
            let message = format!("{finding}, and the checkpoint is gone that it was made from");
            let error = Error::new(ErrorKind::Checksum, message).file(sink.folder().display().to_string());
            Err(error.remedy("get the checkpoint again, and split it again without --delete-original"))
        }
    }
}

async fn split_from(
    args: &SplitArgs,
    store: &dyn Store,
    originals: Option<&dyn Originals>,
    checkpoint: &Checkpoint,
    name: String,
    sink: &FolderSink,
    stop: &Arc<AtomicBool>,
) -> Result<Manifest> {
    let spec = plan::model_spec(&checkpoint.config)?;
    let tell = |text: &str| eprintln!("{}: {text}", args.out.display());
    let options = SplitOptions {
        name,
        weights: args.weights.into(),
        max_file_bytes: args.max_file_size,
        originals,
        tell: Some(&tell),
    };
    if let Some(notice) = notice(checkpoint, options.weights) {
        eprintln!("note: {notice}; --weights q8 or q4 makes them smaller, and loses a little");
    }
    let mut reporter = Reporter::new("splitting", Arc::clone(stop));
    split(checkpoint, &spec, store, sink, &options, &mut |progress| reporter.update(progress)).await
}

/// Runs `synth`.
///
/// # Errors
/// [`ErrorKind::Argument`] for an unknown preset, and those of [`synth`].
pub fn run_synth(args: &SynthArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    let mut config = shape(&args.preset)?;
    if let Some(layers) = args.layers {
        config = with_layers(config, layers)?;
    }
    let spec = plan::model_spec(&config)?;
    let options = SynthOptions {
        name: args.preset.clone(),
        weights: args.weights.into(),
        max_file_bytes: args.max_file_size,
        seed: args.seed,
    };
    let sink = FolderSink::create(&args.out)?;
    let mut reporter = Reporter::new("writing", Arc::clone(stop));
    let result = block_on(synth(&config, &spec, &sink, &options, &mut |progress| reporter.update(progress)));
    drop(reporter);
    source::remove_if_empty(sink);
    let manifest = to_continue(result, "synth")?;
    tell_end("wrote", &manifest, args.out.display());
    Ok(())
}

/// The config of a published shape, or of a file.
fn shape(name: &str) -> Result<Value> {
    if !Path::new(name).is_file() {
        return preset(name);
    }
    let mut text = Vec::new();
    let file = File::open(name).map_err(|error| Error::io(error, name))?;
    file.take(LARGEST_CONFIG_BYTES).read_to_end(&mut text).map_err(|error| Error::io(error, name))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(ErrorKind::Malformed, "is not a config.json").file(name).source(error))
}

/// Runs `verify`: findings go to stdout, one a line.
///
/// # Errors
/// [`ErrorKind::Checksum`] where anything was found.
pub fn run_verify(args: &VerifyArgs, stop: &Arc<AtomicBool>) -> Result<()> {
    let mut reporter = Reporter::new("verifying", Arc::clone(stop));
    if FolderCache::is_at(&args.model) {
        let place = FolderCache::read_only(&args.model)?;
        let report = block_on(verify_kept(&place, &mut |progress| reporter.update(progress)));
        let report = report.map_err(|error| error.file(args.model.display().to_string()))?;
        drop(reporter);
        let right = format!(
            "{} of {} lie here and match their checksums; the rest is fetched when it is needed",
            show_size(report.right_bytes),
            show_size(report.total_bytes)
        );
        return tell_findings(&args.model, &report.findings, &right, "the next run fetches them again");
    }
    let store = FileStore::open(&args.model)?;
    let findings = block_on(verify(&store, &mut |progress| reporter.update(progress)))?;
    drop(reporter);
    tell_findings(&args.model, &findings, "every block matches its checksum", "split the model again")
}

fn tell_findings(model: &Path, findings: &[Finding], right: &str, remedy: &str) -> Result<()> {
    for finding in findings {
        writeln!(std::io::stdout(), "{finding}").map_err(|error| Error::io(error, "standard output"))?;
    }
    if findings.is_empty() {
        eprintln!("{}: {right}", model.display());
        return Ok(());
    }
    let error = Error::new(ErrorKind::Checksum, format!("{} bad blocks or files", findings.len()));
    Err(error.file(model.display().to_string()).remedy(remedy))
}

/// Says how to continue what was stopped.
fn to_continue<T>(result: Result<T>, command: &str) -> Result<T> {
    result.map_err(|error| match error.kind() {
        ErrorKind::Cancelled => error.remedy(format!("the same {command} command continues it")),
        _ => error,
    })
}

fn tell_end(done: &str, manifest: &Manifest, out: impl std::fmt::Display) {
    let bytes = manifest.files.iter().map(|file| file.len_bytes).sum();
    eprintln!(
        "{done} {} into {} files, {} ({MANIFEST} in {out})",
        manifest.name,
        manifest.files.len(),
        show_size(bytes)
    );
}

/// The exit code of an error: 2 for wrong arguments, 130 for work that was stopped (as shells count it), 1 for the rest.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Argument => 2,
        ErrorKind::Cancelled => 130,
        _ => 1,
    }
}
