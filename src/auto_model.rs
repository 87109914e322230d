//! Open a model and generate: the library's front door. A model is what the command takes: a split model, a checkpoint folder,
//! a GGUF file, a name on the Hub, or an address.
//!
//! ```no_run
//! # fn main() -> tilestream::Result<()> {
//! use tilestream::{AutoModel, GenerateOptions, Message};
//!
//! pollster::block_on(async {
//!     let mut model = AutoModel::from_pretrained("models/smollm2").budget(64 << 20).load().await?;
//!     let prompt = model.chat_prompt(&[Message::user("What is a tile?")])?;
//!     let mut answer = model.generate(prompt, GenerateOptions::default().max_tokens(64))?;
//!     while let Some(delta) = answer.next().await? {
//!         print!("{}", delta.text);
//!     }
//!     Ok(())
//! })
//! # }
//! ```

use std::ops::ControlFlow;
use std::sync::OnceLock;

use crate::generate::Generation;
use crate::gpu::kernels::{InputType, KvType};
use crate::gpu::{Device, Upload};
use crate::model::batch;
use crate::model::kv::{StateLayout, pages_for};
use crate::model::layout::ModelLayout;
use crate::model::lower::lower;
use crate::model::memory::{self, EngineConfig};
use crate::model::{CancelToken, Engine};
use crate::model_files::{ModelFiles, ModelText};
use crate::monitor::{self, TileMonitor};
use crate::plan::ModelSpec;
use crate::platform::now_s;
use crate::prefixes::PrefixStore;
use crate::reads::ReadStrategy;
use crate::scheduler::{Event, GenerateOptions, Prefixes, Request, RequestId, Scheduler};
use crate::shard::OnProgress;
use crate::shard::split::Tell;
use crate::source::{self, SourceOptions};
use crate::store::{ReadMode, ReadPlan};
use crate::text::Message;
use crate::trace::Trace;
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

mod report;

pub use report::{ExpertsReport, ProfileReport};

/// GPU bytes that a model may use where the caller does not say: what a small GPU has free.
pub(crate) const DEFAULT_BUDGET_BYTES: u64 = 4 << 30;
/// Positions of KV cache that are reserved where the caller does not say; more are added as a text grows.
const DEFAULT_CONTEXT: u32 = 256;

/// Opens models, and answers.
pub struct AutoModel {
    core: Core,
    scheduler: Scheduler,
    opened_s: f64,
}

/// What requests are computed with.
pub(crate) struct Core {
    pub(crate) files: ModelFiles,
    pub(crate) engine: Engine,
    pub(crate) options: LoadOptions,
    reads: ReadStrategy,
    /// Beginnings of texts that are kept outside of the GPU.
    pub(crate) prefixes: Option<Prefixes>,
    /// Shared by all who look, whatever device is in use.
    monitor: OnceLock<TileMonitor>,
}

impl Core {
    /// Opens the model again, on another device where its own is lost: see [`AutoModel::reopen`].
    pub(crate) async fn reopen(&mut self, less_memory: bool) -> Result<()> {
        let mut options = self.options.clone();
        if less_memory {
            let least = self.files.smallest_budget(&options, self.engine.gpu().uploads_directly())?;
            options.budget_bytes = (options.budget_bytes / 2).max(least);
        }
        let device = self.engine.gpu().replacement().await?;
        (self.engine, self.reads) = self.files.engine_within(&device, &mut options).await?;
        self.options = options;
        self.prefixes = self.prefixes.take().map(|prefixes| prefixes.on(&self.engine));
        if let Some(monitor) = self.monitor.get() {
            monitor.follow(&self.engine);
        }
        Ok(())
    }

    /// Refuses ids that the model does not have, and more of them than it has positions, `more` included.
    pub(crate) fn check_ids(&self, ids: &[u32], more: usize) -> Result<()> {
        let spec = self.files.spec();
        self.options.check_length(spec, ids.len(), more)?;
        let vocab = spec.vocab;
        match ids.iter().find(|id| **id >= vocab) {
            Some(id) => Err(Error::new(ErrorKind::Argument, format!("token {id} is not in the vocabulary of {vocab}"))),
            None => Ok(()),
        }
    }
}

/// How to load; made by [`AutoModel::from_pretrained`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoadOptions {
    /// GPU bytes for everything.
    pub budget_bytes: u64,
    /// Bytes of weights that stay on the GPU at most; what the budget leaves where none. With 0 every sweep streams them all,
    /// through the windows of a large budget: so it shows what streaming costs.
    pub most_pinned_bytes: Option<u64>,
    /// Bytes of weights that may stay in the host's memory, beside those on the GPU.
    pub ram_bytes: u64,
    /// The device to open the model on, in a budget of its own that is cut out of the device's memory. `None`: a device for
    /// this model alone.
    pub device: Option<Device>,
    /// The adapter whose name contains this, where no device is given. `None`: the best one.
    pub adapter: Option<String>,
    /// Positions of KV cache to reserve, over all sequences. More than the model's positions, or than `context_limit`, are
    /// not reserved for any of them.
    pub context: Option<u32>,
    /// Positions that a text may take, prompt and answer. `None`: as many as the model has.
    pub context_limit: Option<u32>,
    /// How keys and values are stored.
    pub kv: KvType,
    /// What numbers matrices are multiplied with. [`InputType::I8`] is faster and rounds activations: where the matrices'
    /// encodings have whole numbers too.
    pub inputs: InputType,
    /// Sequences that decode in one sweep.
    pub sequences: u32,
    /// Rows of a sweep at most; what the budget allows where none.
    pub prefill_chunk: Option<u32>,
    /// How weights reach the GPU.
    pub upload: Upload,
    /// How the files of a model in a folder are read. Where none is said: through the system's cache where it can hold what a
    /// sweep reads; else as the disk was measured to be fastest, for which up to 1.6 GB of a large model are read. Steady
    /// figures are remembered.
    pub io: Option<ReadMode>,
    /// Stops the loading, and what the model does after it. Clones of these options share it.
    pub cancel: CancelToken,
    /// Take the kernel shapes that are known to be fastest on this adapter, and on a GPU search for two seconds where none
    /// are known yet. No number depends on it.
    pub tune: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            budget_bytes: DEFAULT_BUDGET_BYTES,
            most_pinned_bytes: None,
            ram_bytes: 0,
            device: None,
            adapter: None,
            context: None,
            context_limit: None,
            kv: KvType::F32,
            inputs: InputType::F32,
            sequences: 1,
            prefill_chunk: None,
            upload: Upload::Auto,
            io: None,
            cancel: CancelToken::default(),
            tune: true,
        }
    }
}

impl LoadOptions {
    crate::options::setters!(
        budget_bytes: u64, ram_bytes: u64, kv: KvType, inputs: InputType, sequences: u32, upload: Upload,
        cancel: CancelToken, tune: bool;
        some most_pinned_bytes: u64, device: Device, adapter: String, context: u32, context_limit: u32,
        prefill_chunk: u32, io: ReadMode,
    );

    /// The smallest budget in bytes that works for a plan and its layout, on an adapter that maps its own buffers
    /// (`direct`) or not.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind) where the plan's keys do not pack into this kind of cache.
    pub fn smallest_budget(&self, spec: &ModelSpec, layout: &ModelLayout, direct: bool) -> Result<u64> {
        self.smallest_for(spec, layout, direct, 1)
    }

    /// The same for sweeps of so many rows.
    pub(crate) fn smallest_for(&self, spec: &ModelSpec, layout: &ModelLayout, direct: bool, rows: u32) -> Result<u64> {
        let config = EngineConfig { rows: Some(rows), direct, ..self.engine_config(spec) };
        let program = lower(spec, layout, StateLayout::new(spec, self.kv)?, &config)?;
        Ok(memory::smallest_budget(spec, &program, &config))
    }

    /// Positions that a text may take in a model: its own, or fewer.
    pub fn positions(&self, spec: &ModelSpec) -> u32 {
        spec.max_positions.min(self.context_limit.unwrap_or(u32::MAX))
    }

    /// Checks that a text of so many tokens fits, with room for `more` of them.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] with both numbers.
    pub fn check_length(&self, spec: &ModelSpec, tokens: usize, more: usize) -> Result<()> {
        let most = self.positions(spec);
        if tokens.saturating_add(more) <= most as usize {
            return Ok(());
        }
        let room = if more > 0 { " and leave none for an answer" } else { "" };
        let (message, remedy) = if most < spec.max_positions {
            let most_of = format!("{most} positions of this context (the model has {})", spec.max_positions);
            (
                format!("{tokens} tokens pass the {most_of}{room}"),
                "shorten the text, or raise the context (" + Term::ContextLimit + ")",
            )
        } else {
            let limit = spec.limited_by.map_or_else(String::new, |field| {
                format!(" up to which its attention is known here (its config's '{field}')")
            });
            (format!("{tokens} tokens pass the model's {most} positions{limit}{room}"), "shorten the text".into())
        };
        Err(Error::new(ErrorKind::Argument, message).remedy(remedy))
    }

    pub(crate) fn engine_config(&self, spec: &ModelSpec) -> EngineConfig {
        let most = u64::from(self.positions(spec)) * u64::from(self.sequences.max(1));
        let positions = u64::from(self.context.unwrap_or(DEFAULT_CONTEXT)).min(most);
        EngineConfig {
            budget_bytes: self.budget_bytes,
            most_pinned_bytes: self.most_pinned_bytes,
            kv_pages: pages_for(positions),
            rows: self.prefill_chunk,
            sequences: self.sequences,
            direct: false,
            inputs: self.inputs,
            uniform_inputs: false,
            reads: ReadPlan::default(),
        }
    }
}

/// A model about to be loaded.
#[derive(Clone, Debug)]
pub struct Loader {
    model: std::path::PathBuf,
    source: SourceOptions,
    options: LoadOptions,
}

impl Loader {
    /// GPU bytes for everything: weights, KV cache, activations, staging.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.options.budget_bytes = bytes;
        self
    }

    /// The device to open the model on, beside others: see [`LoadOptions::device`].
    pub fn device(mut self, device: &Device) -> Self {
        self.options.device = Some(device.clone());
        self
    }

    /// How a checkpoint is looked for, and where it is split to.
    pub fn source(mut self, source: SourceOptions) -> Self {
        self.source = source;
        self
    }

    /// All options at once.
    pub fn options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Opens the model on a GPU; a checkpoint is split first, unless that was done before. Weights are read by the first answer.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no model, and those of splitting; [`ErrorKind::Budget`] with the smallest that works; those
    /// of damaged files and of the GPU. Where the driver has less memory than the budget, half of it is tried, and so on:
    /// [`ProfileReport::budget_bytes`] tells what is used. Of a device that was given, less than the budget may be left: that is
    /// [`ErrorKind::Budget`] too.
    pub async fn load(self) -> Result<AutoModel> {
        self.load_with(&|_| (), &mut |_| ControlFlow::Continue(())).await
    }

    /// The same: `tell` gets what the user should know of a split, `progress` how far it is, and can stop it.
    ///
    /// # Errors
    /// As [`Loader::load`], and [`ErrorKind::Cancelled`].
    pub async fn load_with(self, tell: Tell<'_>, progress: &mut OnProgress<'_>) -> Result<AutoModel> {
        source::open(&self.model, &self.source, tell, progress).await?.load(&self.options).await
    }
}

impl AutoModel {
    /// What the `tilestream` command takes: the folder of a split model; a checkpoint, which is split into a cache folder when
    /// it is first used (a Hugging Face folder, a GGUF file, `ORG/NAME` or `ORG/NAME@REVISION` on the Hub); or the address of
    /// a split model on a web server. A path that is there goes before a name on the Hub.
    pub fn from_pretrained(model: impl Into<std::path::PathBuf>) -> Loader {
        Loader { model: model.into(), source: SourceOptions::default(), options: LoadOptions::default() }
    }

    pub(crate) async fn open(files: ModelFiles, mut options: LoadOptions) -> Result<Self> {
        let opened_s = now_s();
        let device = match &options.device {
            Some(device) => device.clone(),
            None => Device::open(options.adapter.as_deref(), None).await?.with_kept_pipelines(),
        };
        let (engine, reads) = files.engine_within(&device, &mut options).await?;
        let core = Core { files, engine, options, reads, prefixes: None, monitor: OnceLock::new() };
        Ok(Self { core, scheduler: Scheduler::default(), opened_s })
    }

    /// Opens the model again after its device failed, or ran out of memory: then with half the budget, if that is enough. A
    /// new device is opened only where the old one is lost; models that shared it share the new one. What the KV cache held is
    /// gone; the figures start anew.
    ///
    /// # Errors
    /// As [`Loader::load`]. The old budget is given back only then, so a device that goes on needs room for both.
    pub async fn reopen(&mut self, less_memory: bool) -> Result<()> {
        self.core.reopen(less_memory).await?;
        self.scheduler.device_changed();
        Ok(())
    }

    /// The manifest, plan and files.
    pub fn files(&self) -> &ModelFiles {
        &self.core.files
    }

    /// Tokenizer, template and stop ids.
    pub fn text(&self) -> &ModelText {
        self.core.files.text()
    }

    /// A view of the stream that can be looked at while the model answers. It follows the model to another device.
    pub fn monitor(&self) -> TileMonitor {
        self.core.monitor.get_or_init(|| TileMonitor::new(&self.core.engine, monitor::EVENTS)).clone()
    }

    /// Starts to keep every event, for a [`Trace`].
    pub fn trace(&self) -> Trace {
        Trace::new(&self.core.engine)
    }

    /// How the files are read.
    pub fn reads(&self) -> &ReadStrategy {
        &self.core.reads
    }

    /// The engine below, for tools and tests.
    #[doc(hidden)]
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.core.engine
    }

    /// Stops a generation from another task or thread.
    pub fn cancel_token(&self) -> CancelToken {
        self.core.engine.cancel_token().clone()
    }

    /// The ids of a chat, ready for the model's answer.
    ///
    /// # Errors
    /// [`ErrorKind::Text`] where the model has no tokenizer or the template fails.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.text().chat_prompt(messages)
    }

    /// Continues `prompt`, a piece of text at a time. What it shares with the text before is not computed again.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty prompt, one that is too long, or options out of range.
    pub fn generate(&mut self, prompt: Vec<u32>, options: GenerateOptions) -> Result<Generation<'_>> {
        self.generate_all(vec![Request::new(prompt, options)])
    }

    /// Goes on with an answer to `prompt` that was interrupted after the tokens `answer`; only what is new is given.
    ///
    /// # Errors
    /// As [`AutoModel::generate`].
    pub fn continue_answer(
        &mut self,
        mut prompt: Vec<u32>,
        answer: &[u32],
        options: GenerateOptions,
    ) -> Result<Generation<'_>> {
        prompt.extend(answer);
        self.generate_all(vec![Request { answered: answer.len(), ..Request::new(prompt, options) }])
    }

    /// Continues many prompts; as many as the KV cache and the load options allow share each sweep.
    ///
    /// # Errors
    /// As [`AutoModel::generate`].
    pub fn generate_all(&mut self, requests: Vec<Request>) -> Result<Generation<'_>> {
        Generation::new(self, requests)
    }

    /// Takes a request, which shares the sweeps of those under way; [`AutoModel::next_event`] tells what becomes of it.
    ///
    /// # Errors
    /// As [`AutoModel::generate`]; the others go on.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        self.scheduler.submit(&self.core, request)
    }

    /// Ends a request between two sweeps; nothing more is told of it.
    pub fn cancel(&mut self, request: RequestId) {
        self.scheduler.cancel(&mut self.core, request);
    }

    /// What becomes of any request next. None: all are done.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] where the [`CancelToken`] asks to stop; the requests can go on after it was reset.
    pub async fn next_event(&mut self) -> Result<Option<Event>> {
        self.scheduler.next(&mut self.core, None).await
    }

    /// What happens next to one of these requests; what happens to others meanwhile is told to who asks for it.
    pub(crate) async fn next_event_of(&mut self, requests: &[RequestId]) -> Result<Option<Event>> {
        self.scheduler.next(&mut self.core, Some(requests)).await
    }

    /// Whether no request waits or runs.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// Keeps beginnings of texts in `store` too, block by block, and goes on behind those that it has; their bits are those that
    /// would be computed. Recurrent models keep none.
    pub fn keep_prefixes(&mut self, store: Box<dyn PrefixStore>) {
        self.core.prefixes = Some(Prefixes::new(store, &self.core.engine));
    }

    /// How often the device failed and a new one went on.
    pub fn devices_lost(&self) -> u32 {
        self.scheduler.devices_lost()
    }

    /// Calls `visit(position, logits)` for each position of `ids`, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the model has not so many positions, or an id is not in its vocabulary; those of reads
    /// and of the GPU, and of `visit`.
    pub async fn score(&mut self, ids: &[u32], visit: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        self.core.check_ids(ids, 0)?;
        self.scheduler.forget(&mut self.core);
        let engine = &mut self.core.engine;
        let (free, pages) = (engine.kv_pages(), pages_for(ids.len() as u64));
        if free < pages {
            engine.grow_kv(pages - free).await?;
        }
        batch::score(engine, ids, visit).await
    }

    /// Positions that a text may take, prompt and answer.
    pub fn positions(&self) -> u32 {
        self.core.options.positions(self.core.files.spec())
    }

    /// Figures since the model was opened.
    pub fn profile(&self) -> ProfileReport {
        let figures = self.core.engine.profile().figures();
        let gpu = self.core.engine.gpu();
        let (pinned_bytes, streamed_bytes_per_sweep) = self.core.engine.residency();
        let slack = gpu.reserved_bytes().map_or(0, |held| held.saturating_sub(gpu.buffer_bytes()));
        ProfileReport {
            adapter: gpu.adapter.info.name.clone(),
            budget_bytes: gpu.budget_bytes(),
            peak_gpu_bytes: gpu.accountant().peak_bytes() + slack,
            model_bytes: self.core.engine.model_bytes(),
            pinned_bytes,
            ram_bytes: self.core.engine.ram_bytes(),
            streamed_bytes_per_sweep,
            sweeps: figures.sweeps,
            bytes_read: figures.bytes_read,
            bytes_from_ram: figures.bytes_from_ram,
            experts: ExpertsReport::new(figures.expert_uses),
            read_busy_s: figures.read_busy_s,
            upload_busy_s: figures.upload_busy_s,
            compute_busy_s: figures.compute_busy_s,
            stall_s: figures.stall_s,
            wall_s: now_s() - self.opened_s,
        }
    }
}
