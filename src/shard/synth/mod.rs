//! Models of random weights: a published shape at the speed of the disk, to measure with and to test sizes that nobody
//! downloads for a test.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::layout::TensorSpec;
use super::split::{Weights, empty_manifest, plan_job, wanted};
use super::write::{Job, Journal, build};
use super::{FORMAT_VERSION, Manifest, OnProgress, StoredTensor};
use crate::Result;
use crate::encoding::Encoding;
use crate::plan::ModelSpec;
use crate::store::ModelSink;

mod presets;
mod random;

pub use presets::{PRESETS, preset, with_layers};
use random::RandomRows;

/// What random weights are made like.
#[derive(Clone, Debug, Default)]
pub struct SynthOptions {
    /// The model's name, for people.
    pub name: String,
    /// `original` is `bf16`.
    pub weights: Weights,
    /// Largest shard.
    pub max_file_bytes: Option<u64>,
    /// The same seed makes the same bytes.
    pub seed: u64,
}

/// Writes a model of random weights for a config: matrices of deviation 0.02, norms around one. It has no tokenizer.
///
/// # Errors
/// Those of [`split`](super::split::split), except those of its checkpoint.
pub async fn synth(
    config: &Value,
    spec: &ModelSpec,
    sink: &dyn ModelSink,
    options: &SynthOptions,
    progress: &mut OnProgress<'_>,
) -> Result<Manifest> {
    let encoding = encoding(options.weights);
    let mut job = job(spec, options)?;
    job.manifest = Manifest {
        name: options.name.clone(),
        weights: "synthetic".to_owned(),
        config: config.clone(),
        ..empty_manifest()
    };
    let settings = json!({
        "format": FORMAT_VERSION, "synthetic": encoding.name(), "seed": options.seed, "config": config,
        "max_file_bytes": options.max_file_bytes,
    });
    job.journal = Journal::new(settings, None, Default::default(), job.names());
    let mut rows = RandomRows::new(job.tensors.clone(), encoding, options.seed)?;
    build(&mut job, &mut rows, sink, None, None, progress).await
}

/// Where [`synth`] would put each tensor: the layout of a model of which nothing exists.
///
/// # Errors
/// Those of a shape that cannot be stored, and of a size limit that no row fits in.
pub fn tensors(spec: &ModelSpec, options: &SynthOptions) -> Result<BTreeMap<String, StoredTensor>> {
    Ok(job(spec, options)?.stored())
}

fn encoding(weights: Weights) -> Encoding {
    match weights {
        Weights::Original => Encoding::BF16,
        Weights::Q8 => Encoding::Q8_0,
        Weights::Q4 => Encoding::Q4_1,
    }
}

fn job(spec: &ModelSpec, options: &SynthOptions) -> Result<Job> {
    let stored = |(name, shape): (String, Vec<u64>)| {
        let encoding = if shape.len() == 1 { Encoding::F32 } else { encoding(options.weights) };
        TensorSpec { name, encoding, shape }
    };
    let targets = wanted(spec).into_iter().map(|(stem, tensors)| (stem, tensors.into_iter().map(stored).collect()));
    plan_job(targets.collect(), options.max_file_bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use pollster::block_on;

    use super::*;
    use crate::encoding::decode_row;
    use crate::shard::testing::spec;
    use crate::shard::{MANIFEST, Model, verify};
    use crate::store::{MemoryStore, Window};

    fn make(weights: Weights, seed: u64) -> MemoryStore {
        let sink = MemoryStore::new();
        let options = SynthOptions { name: "tiny".to_owned(), weights, seed, ..SynthOptions::default() };
        let mut go = |_: super::super::Progress<'_>| ControlFlow::Continue(());
        block_on(synth(&json!({}), &spec(false), &sink, &options, &mut go)).expect("made");
        assert!(block_on(verify(&sink, &mut go)).expect("readable").is_empty());
        sink
    }

    #[test]
    fn weights_are_random_of_sane_size_and_rows_differ() {
        for weights in [Weights::Original, Weights::Q8, Weights::Q4] {
            let model = block_on(Model::open(Arc::new(make(weights, 1)))).expect("opened");
            let name = "model.layers.1.mlp.up_proj.weight";
            let encoding = model.tensor(name).expect("stored").encoding().expect("known");
            let stride = encoding.row_stride(64) as usize;
            let mut bytes = vec![0; stride * 40];
            block_on(model.read_rows(name, 0..40, &mut Window::from_slice(&mut bytes))).expect("read");
            assert_eq!(bytes.chunks(stride).collect::<HashSet<_>>().len(), 40, "rows differ");
            let mut values = vec![0.0_f32; 40 * 64];
            for (row, out) in bytes.chunks(stride).zip(values.chunks_mut(64)) {
                decode_row(encoding, row, 64, out).expect("decoded");
            }
            let deviation = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
            assert!((0.015..0.025).contains(&deviation), "{weights:?}: {deviation}");
            assert!(values.iter().all(|x| x.abs() < 0.2));
        }
    }

    #[test]
    fn a_seed_makes_the_same_bytes_and_another_seed_others() {
        let layer = |seed| make(Weights::Original, seed).get("layer-00000.safetensors").expect("written");
        assert!(layer(1) == layer(1));
        assert!(layer(1) != layer(2));
        assert!(make(Weights::Q4, 1).get(MANIFEST).is_some());
    }

    #[test]
    fn norms_are_around_one() {
        let model = block_on(Model::open(Arc::new(make(Weights::Q8, 1)))).expect("opened");
        let mut bytes = vec![0; 64 * 4];
        let window = &mut Window::from_slice(&mut bytes);
        block_on(model.read_rows("model.norm.weight", 0..1, window)).expect("read");
        let norms: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert!(norms.iter().all(|norm| (norm - 1.0).abs() < 0.2) && norms[0] != norms[1], "{norms:?}");
    }
}
