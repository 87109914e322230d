//! A tiny checkpoint for the tests of this module, and a sink that is killed or runs full at any moment.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use half::{bf16, f16};
use serde_json::json;

use crate::checkpoint::{Checkpoint, Source, Tensor};
use crate::encoding::Encoding;
use crate::plan::*;
use crate::platform::BoxFuture;
use crate::store::{MemoryStore, ModelSink, Originals, Store};
use crate::{Error, ErrorKind, Result};

/// Two layers; 40 columns make rows that need padding, 64 do not.
pub(crate) fn spec(tied_head: bool) -> ModelSpec {
    let vector = |name, len| VectorSpec { name: str::to_owned(name), len };
    let matrix = |name, rows, columns| MatrixSpec { name: str::to_owned(name), rows, columns };
    let layer = LayerSpec {
        vectors: vec![vector("input_layernorm.weight", 64), vector("self_attn.q_proj.bias", 8)],
        matrices: vec![
            matrix("self_attn.q_proj.weight", 8, 64),
            matrix("mlp.up_proj.weight", 40, 64),
            matrix("mlp.down_proj.weight", 64, 40),
        ],
        ops: Vec::new(),
        experts: None,
        key_width: 8,
        value_width: 8,
        reads_keys_of: None,
        recurrent: None,
    };
    ModelSpec {
        family: "llama",
        hidden: 64,
        vocab: 50,
        max_positions: 128,
        limited_by: None,
        buffers: vec![BufferSpec { name: "x", width: 64 }],
        residual: BufferId(0),
        layers: vec![layer.clone(), layer],
        ropes: vec![RopeSpec { inverse_frequencies: vec![1.0], long: None, attention_factor: 1.0, temperature: None }],
        embedding_scale: 1.0,
        per_layer: None,
        head: HeadSpec {
            norm: NormKind::Rms,
            epsilon: 1e-5,
            vectors: vec![vector(FINAL_NORM, 64)],
            tied: tied_head,
            logit_scale: 1.0,
            softcap: None,
        },
    }
}

/// Value `i` of a tensor: small, and different for each tensor.
pub(crate) fn value(seed: u64, i: u64) -> f32 {
    let mixed = (seed << 32 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    (mixed as f32 / 16_777_216.0 - 0.5) * 0.25
}

pub(crate) fn plain_bytes(encoding: Encoding, values: impl Iterator<Item = f32>) -> Vec<u8> {
    match encoding {
        Encoding::F32 => values.flat_map(f32::to_le_bytes).collect(),
        Encoding::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        Encoding::BF16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        _ => panic!("not plain"),
    }
}

/// A checkpoint of two files for [`spec`]: the embeddings and layer 0, then layer 1, the norm and the head.
pub(crate) fn checkpoint(tied_head: bool, encoding: Encoding) -> (MemoryStore, Checkpoint) {
    let mut files = [Vec::new(), Vec::new()];
    let mut tensors = Vec::new();
    for (stem, group) in super::split::wanted(&spec(tied_head)) {
        for (name, shape) in group {
            let file = usize::from(!matches!(stem.to_string().as_str(), "layer-00000" | "embeddings"));
            let count = shape.iter().product();
            let seed = tensors.len() as u64;
            let shape_rows = shape[0];
            let bytes = plain_bytes(encoding, (0..count).map(|i| value(seed, i)));
            tensors.push(Tensor {
                source_name: name.clone(),
                name,
                shape,
                source: Source::Plain(encoding),
                file,
                offset_bytes: files[file].len() as u64,
                len_bytes: bytes.len() as u64,
                source_rows: shape_rows,
                rows: RowMap::ALL,
                plus: 0.0,
                inverse_lengths: None,
                transposed: false,
                companions: Vec::new(),
            });
            files[file].extend(bytes);
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let names = ["a.safetensors", "b.safetensors"];
    let checkpoint = Checkpoint {
        files: names.iter().zip(&files).map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64)).collect(),
        tensors,
        config: json!({"rms_norm_eps": 1e-5, "rope_theta": 500_000.123_456_789_f64}),
        generation_config: Some(json!({"eos_token_id": 2})),
        tokenizer: Some(br#"{"version": "1.0"}"#.to_vec()),
        gguf_tokenizer: None,
        tokenizer_files: None,
        tokenizer_config: None,
        quantized: false,
    };
    (names.into_iter().map(str::to_owned).zip(files).collect(), checkpoint)
}

/// What happens at the operation that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies and the power with it: nothing works from then on, and what was not synced is half there.
    Kill,
    /// The disk is full: this and every later write fails, everything else works.
    Full,
}

/// Counts operations that change something, and lets the one with the given number fail.
pub(crate) struct FaultySink<'a> {
    inner: &'a MemoryStore,
    fault: Fault,
    /// Operations that still work.
    left: AtomicU64,
    unsynced: Mutex<Vec<String>>,
    /// What the sink says of its free space.
    pub(crate) available: Option<u64>,
}

impl<'a> FaultySink<'a> {
    pub(crate) fn new(inner: &'a MemoryStore, fault: Fault, working: u64) -> Self {
        Self { inner, fault, left: AtomicU64::new(working), unsynced: Mutex::default(), available: None }
    }

    /// Operations left: how many of `u64::MAX` were not made.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Relaxed)
    }

    fn step(&self, writes: bool) -> Result<()> {
        let left = self.left.load(Relaxed);
        if left > 0 {
            self.left.store(left - 1, Relaxed);
            return Ok(());
        }
        if self.fault == Fault::Full {
            return if writes { Err(Error::new(ErrorKind::NoSpace, "disk full")) } else { Ok(()) };
        }
        for name in self.unsynced.lock().expect("no panics").drain(..) {
            if let Some(mut bytes) = self.inner.get(&name) {
                bytes.truncate(bytes.len() / 2);
                self.inner.insert(name, bytes);
            }
        }
        Err(Error::new(ErrorKind::Io, "killed"))
    }

    fn then<'b, T>(&self, writes: bool, operation: BoxFuture<'b, Result<T>>) -> BoxFuture<'b, Result<T>>
    where
        T: Send + 'b,
    {
        match self.step(writes) {
            Ok(()) => operation,
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Store for FaultySink<'_> {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.inner.len(name)
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        self.inner.read_at(name, offset_bytes, buffer)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.inner.list()
    }

    fn describe(&self, name: &str) -> String {
        self.inner.describe(name)
    }
}

impl ModelSink for FaultySink<'_> {
    fn create<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.unsynced.lock().expect("no panics").push(name.to_owned());
        let step = self.step(true);
        Box::pin(async move {
            step?;
            self.inner.create(name).await
        })
    }

    fn append<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        match self.step(true) {
            Ok(()) => self.inner.append(name, bytes),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        let result = self.then(true, self.inner.sync(name));
        self.unsynced.lock().expect("no panics").retain(|unsynced| unsynced != name);
        result
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        match self.step(false) {
            Ok(()) => self.inner.rename(from, to),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        match self.step(false) {
            Ok(()) => ModelSink::remove(self.inner, name),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn sync_names(&self) -> BoxFuture<'_, Result<()>> {
        self.then(false, self.inner.sync_names())
    }

    fn entries(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.inner.entries()
    }

    fn available_bytes(&self) -> BoxFuture<'_, Result<Option<u64>>> {
        Box::pin(std::future::ready(Ok(self.available)))
    }
}

/// Originals in a memory store, whose removals count as operations of a faulty sink.
pub(crate) struct FaultyOriginals<'a> {
    pub(crate) store: &'a MemoryStore,
    pub(crate) sink: &'a FaultySink<'a>,
}

impl Originals for FaultyOriginals<'_> {
    fn may_remove(&self, name: &str) -> Result<()> {
        self.store.may_remove(name)
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        match self.sink.step(false) {
            Ok(()) => Originals::remove(self.store, name),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}
