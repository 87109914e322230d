//! What the tests of the whole engine share.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use safetensors::SafeTensors;
use tilestream::internals::checkpoint;
use tilestream::internals::gpu::kernels::{InputType, KvType};
use tilestream::internals::gpu::{Device, Gpu};
use tilestream::internals::model::Engine;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::kv::StateLayout;
use tilestream::internals::model::layout::ModelLayout;
use tilestream::internals::model::lower::lower;
use tilestream::internals::model::memory::{self, EngineConfig};
use tilestream::internals::model::readback::Output;
use tilestream::internals::plan::{self, ModelSpec};
use tilestream::internals::shard::Model;
use tilestream::internals::shard::split::{SplitOptions, split};
use tilestream::store::{FileStore, MemoryStore, ReadPlan, Store};

pub use pollster::block_on;

pub mod converted;
mod seeded;

/// The folder of committed test data.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

/// Each small checkpoint with each spelling of its config.
pub fn small_checkpoints() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(data("small")).expect("test data") {
        let folder = folder.expect("readable").path();
        for file in std::fs::read_dir(&folder).expect("a folder") {
            let file = file.expect("readable").file_name().into_string().expect("UTF-8");
            if file.starts_with("config") && file.ends_with(".json") {
                found.push((folder.file_name().expect("named").to_string_lossy().into_owned(), file));
            }
        }
    }
    found.sort();
    assert!(found.len() >= 14, "the small checkpoints are there");
    found
}

/// A test of its own for each name, so that cargo names the one that fails and uses all cores; `_` stands for the `-` of a name.
/// `$test` takes a name; `$there` gives those that have to be listed, in order.
macro_rules! each_named {
    ($test:ident, $there:expr; $($name:ident)*) => {
        mod each {
            $(#[test]
            fn $name() {
                super::$test(&stringify!($name).replace('_', "-"));
            })*
        }

        #[test]
        fn none_is_left_out() {
            let here = [$(stringify!($name).replace('_', "-")),*];
            assert_eq!(here.as_slice(), $there);
        }
    };
}
pub(crate) use each_named;

/// A checkpoint of each family, by the names of their folders.
pub fn families() -> Vec<String> {
    names_in("families")
}

/// What lies in a folder of the test data, in order.
pub fn names_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(data(folder)).expect("test data");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("readable").file_name();
    let mut found: Vec<_> = entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect();
    found.sort();
    found
}

/// A split model in memory, and its plan.
pub struct Files {
    pub store: Arc<MemoryStore>,
    pub spec: ModelSpec,
}

/// Splits a small checkpoint into memory.
pub async fn split_small(name: &str, config: &str) -> Files {
    let folder = data("small").join(name);
    let source = FileStore::open(&folder).expect("the folder opens");
    let mut checkpoint = checkpoint::open(&source, None).await.expect("the checkpoint opens");
    let text = std::fs::read(folder.join(config)).expect("config");
    checkpoint.config = serde_json::from_slice(&text).expect("JSON");
    split_checkpoint(&checkpoint, &source, &SplitOptions { name: name.into(), ..Default::default() }).await
}

/// Splits a checkpoint of a family into memory.
pub async fn split_family(name: &str) -> tilestream::Result<Files> {
    split_family_as(name, "config.json").await
}

/// The same with one of the spellings of its config.
pub async fn split_family_as(name: &str, config: &str) -> tilestream::Result<Files> {
    let (published, folder) = (data("families").join(name), tempfile::tempdir().expect("a folder"));
    if let Some(layers) = layers_of(&published) {
        return split_store(name, &FileStore::open(layers)?.beside(published)).await;
    }
    std::fs::copy(published.join(config), folder.path().join("config.json")).expect("copies");
    let (weights, list) = (folder.path().join("model.safetensors"), published.join("tensors.json"));
    if list.is_file() {
        seeded::write(&list, &weights);
    } else {
        std::fs::copy(published.join("model.safetensors"), weights).expect("copies");
    }
    split_folder(name, folder.path()).await
}

/// The folder in it that AirLLM wrote layers into, where there is one.
pub fn layers_of(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("readable").flatten();
    entries.map(|entry| entry.path()).find(|path| path.is_dir())
}

/// Splits the checkpoint in a folder into memory.
pub async fn split_folder(name: &str, folder: &Path) -> tilestream::Result<Files> {
    split_store(name, &FileStore::open(folder)?).await
}

async fn split_store(name: &str, source: &FileStore) -> tilestream::Result<Files> {
    let checkpoint = checkpoint::open(source, None).await?;
    let spec = plan::model_spec(&checkpoint.config)?;
    let store = Arc::new(MemoryStore::new());
    let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Continue(());
    let options = SplitOptions { name: name.into(), ..Default::default() };
    split(&checkpoint, &spec, source, &*store, &options, go_on).await?;
    Ok(Files { store, spec })
}

/// Splits an opened checkpoint into memory.
pub async fn split_checkpoint(
    checkpoint: &checkpoint::Checkpoint,
    source: &dyn Store,
    options: &SplitOptions<'_>,
) -> Files {
    let spec = plan::model_spec(&checkpoint.config).expect("a plan");
    let store = Arc::new(MemoryStore::new());
    let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Continue(());
    split(checkpoint, &spec, source, &*store, options, go_on).await.expect("splits");
    Files { store, spec }
}

/// The config of most tests: room for 128 positions, logits of up to 8 rows.
pub fn engine_config() -> EngineConfig {
    EngineConfig {
        budget_bytes: 256 << 20,
        most_pinned_bytes: None,
        kv_pages: 4,
        rows: None,
        sequences: 8,
        direct: true,
        inputs: InputType::F32,
        uniform_inputs: false,
        reads: ReadPlan::default(),
    }
}

/// The smallest budget for `config`.
pub async fn smallest(files: &Files, config: &EngineConfig) -> u64 {
    let model = Model::open(Arc::clone(&files.store) as Arc<dyn Store>).await.expect("opens");
    let layout = ModelLayout::new(&files.spec, &model).expect("a layout");
    let states = StateLayout::new(&files.spec, KvType::F32).expect("states");
    let program = lower(&files.spec, &layout, states, config).expect("a program");
    memory::smallest_budget(&files.spec, &program, config)
}

/// A device of this process, for whoever neither loses it nor looks at its memory. There are as many as tests run at once, for a
/// driver compiles for one device on one core; a test keeps the one that it was given first.
pub fn device() -> &'static Device {
    static DEVICES: [LazyLock<Device>; 2] = [const {
        LazyLock::new(|| block_on(Device::open(None, None)).expect("an adapter; set-up installs one in software"))
    }; 2];
    thread_local! {
        static LEASE: Lease = Lease::new();
    }
    LEASE.with(|lease| &*DEVICES[lease.0])
}

/// Tests that use each of the devices.
static USES: Mutex<[u32; 2]> = Mutex::new([0; 2]);

/// The use of a device, by its index, as long as a thread lives.
struct Lease(usize);

impl Lease {
    fn new() -> Self {
        let mut uses = USES.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(uses[1] < uses[0]);
        uses[index] += 1;
        Self(index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        USES.lock().unwrap_or_else(PoisonError::into_inner)[self.0] -= 1;
    }
}

/// A budget on the device of this process.
pub async fn gpu(budget_bytes: u64) -> Gpu {
    device().budget(budget_bytes).await.expect("no cap")
}

/// A device of its own with this budget, for who looks at what the driver reserves.
pub async fn own_gpu(budget_bytes: u64) -> Gpu {
    Gpu::open(None, budget_bytes).await.expect("an adapter; set-up installs one in software")
}

/// Opens a split model.
pub async fn open(files: &Files, gpu: Gpu, config: EngineConfig) -> tilestream::Result<Engine> {
    let model = Arc::new(Model::open(Arc::clone(&files.store) as Arc<dyn Store>).await?);
    Engine::open(gpu, model, files.spec.clone(), KvType::F32, config).await
}

/// Loads a split model under a budget (or ample), with a prefill chunk (or what the budget allows).
pub async fn load(files: &Files, budget_bytes: Option<u64>, rows: Option<u32>) -> Engine {
    let budget_bytes = budget_bytes.unwrap_or(engine_config().budget_bytes);
    let config = EngineConfig { rows, budget_bytes, ..engine_config() };
    open(files, gpu(budget_bytes).await, config).await.expect("loads")
}

/// Logits of every position, one after the other.
pub async fn all_logits(model: &mut Engine, ids: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    let collect = |_, logits: &[f32]| {
        all.extend_from_slice(logits);
        Ok(())
    };
    batch::score(model, ids, collect).await.expect("scores");
    all
}

/// Sweeps until every sequence has the logits of its last id.
pub async fn finish(model: &mut Engine, sequences: &mut [&mut Sequence]) -> tilestream::Result<Vec<Vec<f32>>> {
    let mut last = vec![None; sequences.len()];
    while last.iter().any(Option::is_none) {
        let mut waiting: Vec<_> =
            sequences.iter_mut().enumerate().filter(|(index, _)| last[*index].is_none()).collect();
        let mut sharing: Vec<_> = waiting.iter_mut().map(|(_, sequence)| &mut ***sequence).collect();
        let results = batch::sweep(model, &mut sharing, Want::Logits).await?;
        let indices: Vec<_> = waiting.iter().map(|(index, _)| *index).collect();
        for (index, next) in indices.into_iter().zip(results) {
            if let Some(Output::Logits(logits)) = next {
                last[index] = Some(logits);
            }
        }
    }
    Ok(last.into_iter().flatten().collect())
}

/// The logits after `ids` in a new model.
pub async fn alone(files: &Files, ids: &[u32]) -> Vec<f32> {
    let mut model = load(files, None, None).await;
    let mut sequence = Sequence::new(ids.to_vec());
    assert!(model.kv().reserve(&mut sequence.state, 64));
    finish(&mut model, &mut [&mut sequence]).await.expect("sweeps").remove(0)
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What the reference said about a checkpoint.
pub struct Golden {
    pub ids: Vec<u32>,
    logits: Vec<f32>,
    vocab: usize,
    pub greedy: Vec<u32>,
    pub margins: Vec<f32>,
}

impl Golden {
    /// Reads `golden.safetensors` of a small checkpoint.
    pub fn read(name: &str) -> Self {
        Self::read_file(&data("small").join(name).join("golden.safetensors"))
    }

    /// Reads a golden file.
    pub fn read_file(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensor = |name: &str| tensors.tensor(name).expect("a golden tensor");
        let numbers = |name: &str| bytemuck::pod_collect_to_vec::<u8, f32>(tensor(name).data());
        let ids = |name: &str| {
            let wide = bytemuck::pod_collect_to_vec::<u8, i64>(tensor(name).data());
            wide.into_iter().map(|id| u32::try_from(id).expect("an id")).collect()
        };
        let vocab = tensor("logits").shape()[1];
        let (ids, greedy) = (ids("ids"), ids("greedy"));
        Self { ids, logits: numbers("logits"), vocab, greedy, margins: numbers("greedy_margin") }
    }

    /// The reference's logits at a position.
    pub fn logits(&self, position: usize) -> &[f32] {
        &self.logits[position * self.vocab..(position + 1) * self.vocab]
    }
}

/// ‖a − b‖ / ‖b‖.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |value: f64| value * value;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (difference / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}
