//! The splitter: a checkpoint -> a model.
//!
//! Memory does not grow with the model: rows go through in chunks of a few MiB. Quantized blocks keep their exact
//! numbers, and what is a convention of the source (interleaved halves of Q and K) ends here.

use std::collections::BTreeMap;

use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use super::checksum::hex;
use super::layout::{TensorSpec, shards};
use super::write::{Job, Journal, Origin, SavedCheckpoint, build};
use super::{FORMAT_VERSION, Manifest, OnProgress};
use crate::checkpoint::{Checkpoint, Tensor};
use crate::plan::ModelSpec;
use crate::store::{ModelSink, Originals, Store};
use crate::{Error, ErrorKind, Result};

mod convert;
mod quantized;
#[cfg(test)]
mod repair_tests;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod stopping_tests;
mod tensors;
#[cfg(test)]
mod tests;
mod transpose;
mod turned;

pub use super::write::{Tell, has_deleted, saved_checkpoint};
use convert::CheckpointRows;
pub use tensors::notice;
pub(super) use tensors::{Group, Stem, wanted};

/// How the matrices of a model are stored; vectors are always `f32`. Of a Hugging Face checkpoint that is quantized,
/// matrices that have no more bits than are asked for keep their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Every bit as published; GGUF's blocks, and what other tools quantized, keep their numbers.
    #[default]
    Original,
    /// [`Encoding::Q8_0`](crate::encoding::Encoding), embeddings and head too.
    Q8,
    /// [`Encoding::Q4_1`](crate::encoding::Encoding), embeddings and head too.
    Q4,
}

impl Weights {
    /// The name on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }
}

/// What a split is asked to do.
#[derive(Default)]
pub struct SplitOptions<'a> {
    /// The model's name, for people.
    pub name: String,
    pub weights: Weights,
    /// Largest shard: layers beyond it are cut between rows.
    pub max_file_bytes: Option<u64>,
    /// Delete the files of the checkpoint, each once all that came from it is in finished files that were read back.
    pub originals: Option<&'a dyn Originals>,
    /// Gets what the user should know: which files of a finished model were damaged and are made again.
    pub tell: Option<Tell<'a>>,
}

/// Splits a checkpoint into `sink`, or finishes a split that was stopped there. Of a model that is finished every block is
/// verified, and the files that are damaged are made again.
///
/// # Errors
/// [`ErrorKind::Missing`], [`ErrorKind::Malformed`] or [`ErrorKind::Unsupported`] naming the tensor that does not fit
/// the plan; [`ErrorKind::Argument`] for `q8` and `q4` of weights that are quantized already, a size limit that no row
/// fits in, or a sink that holds something else; [`ErrorKind::NoSpace`]; [`ErrorKind::Cancelled`].
pub async fn split(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    source: &dyn Store,
    sink: &dyn ModelSink,
    options: &SplitOptions<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<Manifest> {
    let (targets, plans) = tensors::matched(checkpoint, spec, options.weights)?;
    let mut job = plan_job(targets, options.max_file_bytes)?;
    job.manifest = Manifest {
        format: FORMAT_VERSION,
        name: options.name.clone(),
        weights: options.weights.name().to_owned(),
        config: checkpoint.config.clone(),
        generation_config: checkpoint.generation_config.clone(),
        tokenizer_config: checkpoint.tokenizer_config.clone(),
        ..empty_manifest()
    };
    job.tokenizer = checkpoint.tokenizer.clone();
    job.origins = origins(checkpoint, &plans, &job);
    let settings = json!({
        "format": FORMAT_VERSION, "weights": options.weights.name(), "max_file_bytes": options.max_file_bytes,
    });
    let stamp = |(name, _): &(String, u64)| Some((name.clone(), source.stamp(name)?));
    let stamps: BTreeMap<String, String> = checkpoint.files.iter().filter_map(stamp).collect();
    let samples = (samples(checkpoint, source).await?, stamps.clone());
    job.journal = Journal::new(settings, Some(SavedCheckpoint::new(checkpoint)), samples, job.names());
    let mut rows = CheckpointRows::new(source, &checkpoint.files, plans, stamps);
    build(&mut job, &mut rows, sink, options.originals, options.tell, progress).await
}

/// Lays out the tensors of each stem.
pub(super) fn plan_job(targets: Vec<Group<TensorSpec>>, max_file_bytes: Option<u64>) -> Result<Job> {
    let mut job = Job {
        manifest: empty_manifest(),
        tensors: Vec::new(),
        shards: Vec::new(),
        order: Vec::new(),
        tokenizer: None,
        journal: Journal::default(),
        origins: Vec::new(),
    };
    let mut embeddings = Vec::new();
    for (stem, tensors) in targets {
        for mut shard in shards(&stem.to_string(), &tensors, max_file_bytes)? {
            shard.entries.iter_mut().for_each(|entry| entry.tensor += job.tensors.len());
            let order = if stem == Stem::Embeddings { &mut embeddings } else { &mut job.order };
            order.push(job.shards.len());
            job.shards.push(shard);
        }
        job.tensors.extend(tensors);
    }
    // Checkpoints begin with the embeddings: written first, they free their original soonest.
    embeddings.append(&mut job.order);
    job.order = embeddings;
    Ok(job)
}

/// A manifest of nothing, to be filled.
pub(super) fn empty_manifest() -> Manifest {
    Manifest {
        format: FORMAT_VERSION,
        name: String::new(),
        weights: String::new(),
        config: serde_json::Value::Null,
        generation_config: None,
        tokenizer_config: None,
        source: None,
        files: Vec::new(),
        tensors: BTreeMap::new(),
        checksum: String::new(),
    }
}

/// Which shards hold something of each file of the checkpoint. A file that nothing comes from is not ours to delete.
fn origins(checkpoint: &Checkpoint, plans: &[convert::TensorPlan], job: &Job) -> Vec<Origin> {
    let uses = |file: usize| {
        let holds = |shard: &super::layout::Shard| shard.entries.iter().any(|entry| plans[entry.tensor].reads(file));
        (0..job.shards.len()).filter(|index| holds(&job.shards[*index])).collect::<Vec<_>>()
    };
    let files = checkpoint.files.iter().enumerate();
    let origins = files.map(|(i, (name, len))| Origin { name: name.clone(), len_bytes: *len, shards: uses(i) });
    origins.filter(|origin| !origin.shards.is_empty()).collect()
}

/// Bytes of one sample, and samples of one file.
const SAMPLE_BYTES: u64 = 4096;
const SAMPLES: usize = 64;

/// For each file that is (still) there what its store knows its content by, or a hash of samples from its tensors.
async fn samples(checkpoint: &Checkpoint, source: &dyn Store) -> Result<BTreeMap<String, String>> {
    let mut samples = BTreeMap::new();
    for (index, (name, len_bytes)) in checkpoint.files.iter().enumerate() {
        let runs = checkpoint.tensors.iter().flat_map(Tensor::runs);
        let runs: Vec<_> = runs.filter(|(file, ..)| *file == index).collect();
        let mut hash = Xxh3::new();
        match source.len(name).await {
            Ok(len) if len == *len_bytes => {}
            Ok(len) => {
                let message = format!("has {len} bytes now; it had {len_bytes} when its header was read");
                return Err(Error::new(ErrorKind::Truncated, message).file(source.describe(name)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        if let Some(id) = source.content_id(name) {
            samples.insert(name.clone(), id);
            continue;
        }
        for (_, offset_bytes, len_bytes) in runs.iter().step_by(runs.len().div_ceil(SAMPLES).max(1)) {
            let mut sample = vec![0; SAMPLE_BYTES.min(*len_bytes) as usize];
            let offset = offset_bytes + (len_bytes - sample.len() as u64) / 2;
            source.read_at(name, offset, &mut sample).await?;
            hash.update(&sample);
        }
        samples.insert(name.clone(), hex(hash.digest()));
    }
    Ok(samples)
}
