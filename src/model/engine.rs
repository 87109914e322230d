//! A model on a GPU: one sweep of a program over tiles, whatever the model's family.

use std::sync::Arc;

use super::cancel::CancelToken;
use super::executor::{Chosen, Executor, GroupRuns, make_buffers};
use super::inputs::{Batch, Inputs, Want};
use super::kv::{KvCache, SequenceState, Snapshot, StateLayout};
use super::layout::ModelLayout;
use super::lower::lower;
use super::memory::{self, EngineConfig, MemoryPlan, padded};
use super::program::{BufferIndex, Program};
use super::readback::{Output, Readback};
use super::recurrent::RecurrentStates;
use super::sections::Sections;
use crate::gpu::Gpu;
use crate::gpu::kernels::{KvType, SPAN_PAGES, Tuning};
use crate::gpu::recorder::{Recorder, TIMER_BYTES};
use crate::gpu::search::Search;
use crate::gpu::timeline::Timeline;
use crate::plan::{BufferId, ModelSpec};
use crate::platform::BoxFuture;
use crate::shard::Model;
use crate::store::Window;
use crate::stream::pipeline::pipeline_bytes;
use crate::stream::{Profile, StreamOptions, TileSource, TileStates, TileStream, TileTable};
use crate::{Error, ErrorKind, Result};

struct ModelSource(Arc<Model>);

impl TileSource for ModelSource {
    fn read<'a>(&'a self, file: u32, offset_bytes: u64, window: &'a mut Window<'_>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.verified().read(file, offset_bytes, window))
    }
}

/// A model on a GPU.
pub struct Engine {
    spec: ModelSpec,
    model: Arc<Model>,
    program: Arc<Program>,
    pub(super) executor: Executor,
    sections: Sections,
    /// Pages of layers that keep all positions.
    kv_pages: u64,
    config: EngineConfig,
    memory: MemoryPlan,
}

impl Engine {
    /// Opens a model under a budget; nothing is read yet but headers: the first sweep brings the tiles.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] with the smallest budget that works; those of the model's files and the GPU.
    pub async fn open(
        gpu: Gpu,
        model: Arc<Model>,
        spec: ModelSpec,
        kv_kind: KvType,
        mut config: EngineConfig,
    ) -> Result<Self> {
        config.direct = gpu.uploads_directly();
        config.budget_bytes = gpu.budget_bytes();
        config.uniform_inputs = gpu.tuning().uniform_inputs;
        let layout = ModelLayout::new(&spec, &model)?;
        let program = lower(&spec, &layout, StateLayout::new(&spec, kv_kind)?, &config)?;
        let memory = memory::share(&spec, &program, &config)?;
        let tuning = match gpu.searches() {
            true => Search::new(&gpu).of_model(&layout.products()).await,
            false => gpu.tuning().clone(),
        };
        let kernels = gpu.kernels(tuning);
        let ids = program.kernels(kv_kind, memory.uniform_inputs);
        kernels.prepare(&ids).await?;
        gpu.keep_pipelines();
        let mut recorder = Recorder::new(&gpu).await?;
        recorder.prepare(&ids).await?;
        let buffers = make_buffers(&gpu, &program, (memory.rows, memory.outputs), memory.uniform_inputs).await?;
        let states = RecurrentStates::new(&gpu, &spec, config.sequences.max(1), memory.snapshots).await?;
        let mut kv = KvCache::new(program.states.clone(), memory.rows).with_recurrent(states);
        if memory.snapshots > 0 {
            kv = kv.with_snapshots(&gpu).await?;
        }
        kv.grow(&gpu, &pages_of(&program, &config, &memory, config.kv_pages)).await?;
        let profile = Profile::default();
        let (stream, sections) = open_stream(&gpu, &model, &layout, &memory, &profile).await?;
        let executor = Executor {
            tuning: kernels.tuning().clone(),
            kernels: ids.iter().filter_map(|id| Some((*id, kernels.get(*id)?))).collect(),
            gpu,
            recorder,
            stream,
            profile,
            buffers,
            vectors: program.common.vectors,
            staging: program.common.staging,
            inputs: Inputs::new(!model.store().is_local())?,
            kv,
            chosen: Chosen::default(),
            uniform_inputs: memory.uniform_inputs,
            cancel: CancelToken::default(),
            runs: Vec::new(),
            work: 0,
            inputs_wait: false,
            page_io: None,
        };
        Ok(Self {
            spec,
            model,
            program: Arc::new(program),
            executor,
            sections,
            kv_pages: config.kv_pages,
            config,
            memory,
        })
    }

    /// The plan.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The plan as it is executed.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The opened model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The device and its accountant.
    pub fn gpu(&self) -> &Gpu {
        &self.executor.gpu
    }

    /// The sizes that its kernels were compiled for.
    pub fn tuning(&self) -> &Tuning {
        &self.executor.tuning
    }

    /// Whether any matrix is multiplied with rounded activations.
    pub fn rounds_inputs(&self) -> bool {
        self.program.common.rounded.is_some()
    }

    /// How the budget was shared out.
    pub fn memory(&self) -> MemoryPlan {
        self.memory
    }

    /// Bytes of the buffers that there are, and of those that were planned when the model was opened: all but the homes of
    /// tiles.
    pub fn counted_and_planned_bytes(&self) -> (u64, u64) {
        let MemoryPlan { fixed_bytes, window_bytes, windows, .. } = self.memory;
        let windows = pipeline_bytes(window_bytes, windows, self.config.direct);
        let homes = self.executor.stream.homes_bytes();
        (self.executor.gpu.accountant().used_bytes() - homes, fixed_bytes + windows - TIMER_BYTES)
    }

    /// Sequences that share sweeps.
    pub fn sequences(&self) -> u32 {
        self.config.sequences.max(1)
    }

    /// Busy seconds and events.
    pub fn profile(&self) -> &Profile {
        &self.executor.profile
    }

    /// When the GPU computed what, once [`Timeline::keep`] asks for it: from the next sweep on.
    pub fn timeline(&self) -> &Timeline {
        self.executor.recorder.timeline()
    }

    /// Stops a sweep from another task.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.executor.cancel
    }

    /// Where each tile lies and where it is now.
    pub fn tiles(&self) -> (&Arc<TileTable>, &TileStates) {
        (self.executor.stream.table(), self.executor.stream.states())
    }

    /// The first tile of each layer, and of the head at the end.
    pub fn layer_tiles(&self) -> Vec<usize> {
        let table = self.executor.stream.table();
        self.sections.first_pieces.iter().map(|piece| table.tiles_of(*piece..piece + 1).start).collect()
    }

    /// The same engine, stopped by a token that others hold already.
    pub fn with_cancel_token(mut self, cancel: CancelToken) -> Self {
        self.executor.cancel = cancel;
        self
    }

    /// Bytes of tiles that stay on the GPU, and bytes that a warm sweep of one row with the head reads (of experts, what
    /// the chosen ones have on average).
    pub fn residency(&self) -> (u64, u64) {
        let stream = &self.executor.stream;
        let dense = self.sections.of_sweep(1).into_iter();
        let mut streamed: u64 = dense.map(|section| stream.streamed_bytes(section)).sum();
        for (layer, first) in self.spec.layers.iter().zip(&self.sections.experts) {
            let Some(experts) = &layer.experts else { continue };
            let all: u64 = (0..experts.count as usize).map(|i| stream.streamed_bytes(first + i)).sum();
            streamed += all * u64::from(experts.routing.chosen) / u64::from(experts.count);
        }
        (stream.pinned_bytes(), streamed)
    }

    /// Keeps up to `bytes` of the tiles that do not fit the GPU in the host's memory, from when they are next read.
    pub fn keep_in_ram(&mut self, bytes: u64) {
        self.executor.stream.keep_in_ram(bytes);
    }

    /// Bytes of tiles in the host's memory.
    pub fn ram_bytes(&self) -> u64 {
        self.executor.stream.ram_bytes()
    }

    /// Bytes of all tiles.
    pub fn model_bytes(&self) -> u64 {
        self.executor.stream.table().len_bytes()
    }

    /// The states of sequences.
    pub fn kv(&mut self) -> &mut KvCache {
        &mut self.executor.kv
    }

    /// The states of sequences, to change, beside the plan.
    pub fn kv_and_spec(&mut self) -> (&mut KvCache, &ModelSpec) {
        (&mut self.executor.kv, &self.spec)
    }

    /// Keeps what a sequence has now, to go on from later. None where the budget has no room for a snapshot, or what there is
    /// for them is taken.
    pub fn snapshot(&mut self, sequence: &SequenceState) -> Option<Snapshot> {
        let mut commands = self.commands();
        let snapshot = self.executor.kv.snapshot(sequence, &mut commands)?;
        self.executor.gpu.submit(commands.finish());
        Some(snapshot)
    }

    /// A sequence that goes on from the first `len` positions of a snapshot; as [`KvCache::restore`].
    pub fn restore(&mut self, snapshot: &Snapshot, len: u32) -> Option<SequenceState> {
        let mut commands = self.commands();
        let state = self.executor.kv.restore(snapshot, len, &mut commands)?;
        self.executor.gpu.submit(commands.finish());
        Some(state)
    }

    pub(super) fn commands(&self) -> wgpu::CommandEncoder {
        self.executor.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// One row of an activation buffer as the last sweep left it, for tools and tests: `[width]`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a row or buffer that is not there; [`ErrorKind::Budget`] and those of the GPU.
    pub async fn read_activation(&self, id: BufferId, row: u64) -> Result<Vec<f32>> {
        let index = usize::from(id.0);
        let Some(spec) = self.spec.buffers.get(index) else {
            return Err(Error::new(ErrorKind::Argument, format!("the plan has no buffer {index}")));
        };
        if row >= u64::from(self.memory.rows) {
            return Err(Error::new(ErrorKind::Argument, format!("a sweep has no row {row}")));
        }
        let gpu = &self.executor.gpu;
        let bytes = u64::from(spec.width) * 4;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = gpu.buffer("activation", bytes, usage).await?;
        let mut encoder = self.commands();
        let buffer = self.executor.buffer(BufferIndex(id.0));
        encoder.copy_buffer_to_buffer(buffer, row * padded(spec.width) * 4, &copy, 0, bytes);
        let after = gpu.submit(encoder.finish());
        gpu.map(&copy, wgpu::MapMode::Read, after).ready().await?;
        let unmapped = |error| Error::new(ErrorKind::Internal, "an activation is not mapped").source(error);
        let view = copy.get_mapped_range(..).map_err(unmapped)?;
        Ok(bytemuck::pod_collect_to_vec(&view[..bytes as usize]))
    }

    /// Pages of layers that keep all positions, free and in use.
    pub fn kv_pages(&self) -> u64 {
        self.kv_pages
    }

    /// Pages that each group of states has where layers that keep all positions have `pages`.
    fn pages_of(&self, pages: u64) -> Vec<u64> {
        pages_of(&self.program, &self.config, &self.memory, pages)
    }

    /// Pages that each group lacks where layers that keep all positions have `pages` more.
    fn pages_more(&self, pages: u64) -> Vec<u64> {
        let new = self.pages_of(self.kv_pages + pages).into_iter();
        new.zip(self.executor.kv.pages()).map(|(new, old)| new.saturating_sub(old)).collect()
    }

    /// Bytes of tiles that [`Engine::grow_kv`] gives up for so many pages, if there are so many.
    pub fn growth_unpins(&self, pages: u64) -> u64 {
        let bytes = self.program.states.bytes(&self.pages_more(pages));
        bytes.saturating_sub(self.executor.gpu.accountant().free_bytes())
    }

    /// Adds `pages` pages to layers that keep all positions, and to the others what that asks for, giving up pinned tiles where
    /// the budget has no room for them.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] when all tiles are given up and it is still too small.
    pub async fn grow_kv(&mut self, pages: u64) -> Result<()> {
        let total = self.kv_pages + pages;
        let more = self.pages_more(pages);
        let table = |index: &BufferIndex| self.executor.buffer(*index).size() / 4;
        let tables = self.program.common.page_tables.iter().map(table);
        // Only running sequences are in the tables.
        let running = pages_of(&self.program, &self.config, &MemoryPlan { snapshots: 0, ..self.memory }, total);
        if running.into_iter().zip(tables).any(|(pages, most)| pages > most) {
            let message = format!("{total} pages of KV cache pass what the model's positions can fill");
            return Err(Error::new(ErrorKind::Budget, message));
        }
        let bytes = self.program.states.bytes(&more);
        let executor = &mut self.executor;
        let free = executor.gpu.accountant().free_bytes();
        if free < bytes {
            executor.recorder.forget_groups();
            executor.stream.unpin(bytes - free).await;
        }
        executor.kv.grow(&executor.gpu, &more).await?;
        self.kv_pages = total;
        Ok(())
    }

    /// One pass over the layers for the rows of `batch`, and over the head for those that want something; gives their results
    /// in order. A row whose logits are not finite has an error of its own.
    ///
    /// Each sequence has pages for its rows ([`KvCache::advance`]); positions of a sequence follow each other.
    /// `next_has_outputs` tells whether the next sweep will want the head, so that its tiles are read ahead.
    ///
    /// # Errors
    /// Those of reads and of the GPU; [`ErrorKind::Cancelled`]. The KV cache then holds what it held before, as far as
    /// the sequences' lengths tell; recurrent states are lost (see [`KvCache::settle`]).
    pub async fn sweep(&mut self, batch: Batch<'_>, next_has_outputs: bool) -> Result<Vec<Result<Output>>> {
        let result = self.try_sweep(batch, next_has_outputs).await;
        let result = result.map_err(|error| self.executor.gpu.cause(error));
        if result.is_err() {
            self.executor.abandon();
        } else if let Some(states) = self.executor.kv.recurrent_mut() {
            states.slots.end();
        }
        result
    }

    async fn try_sweep(&mut self, batch: Batch<'_>, next_has_outputs: bool) -> Result<Vec<Result<Output>>> {
        let (program, model) = (Arc::clone(&self.program), Arc::clone(&self.model));
        let rows = batch.rows.len() as u32;
        if rows == 0 || rows > self.memory.rows {
            return Err(Error::new(ErrorKind::Argument, format!("a sweep of {rows} rows")));
        }
        self.executor.cancel.check()?;
        self.time_dispatches().await?;
        if let Some(states) = self.executor.kv.recurrent_mut() {
            states.slots.begin(batch.rows, batch.sequences)?;
        }
        let wants: Vec<Want> = batch.rows.iter().map(|row| row.output).filter(|want| *want != Want::Nothing).collect();
        let passes: Vec<&[Want]> = wants.chunks(self.memory.outputs as usize).collect();
        let needs_head = |wants: &&&[Want]| wants.iter().any(|want| *want != Want::Hidden);
        let sections = self.sections.of_sweep(passes.iter().filter(needs_head).count());
        let next = self.sections.of_sweep(usize::from(next_has_outputs));
        let executor = &mut self.executor;
        executor.stream.begin_sweep(rows, &sections, &next).await?;
        executor.runs = group_runs(&executor.kv, batch);
        let Executor { inputs, recorder, buffers, .. } = executor;
        inputs.upload((&program, buffers), recorder, &self.spec, &model, batch).await?;
        executor.inputs_wait = true;
        for (index, layer) in program.layers.iter().enumerate() {
            let vectors = executor.bring_vectors(layer.vectors, 0).await?;
            let place = (index, &layer.steps[..]);
            executor.walk((&program, &model), place, (rows, 0), vectors, self.sections.experts[index]).await?;
        }
        let mut results = Vec::with_capacity(wants.len());
        // Every sweep brings them.
        let vectors = executor.bring_vectors(program.head_norm.vectors, 0).await?;
        let (head, mut first) = (program.layers.len(), 0);
        executor.recorder.set_place(head, 0);
        for (index, wants) in passes.iter().enumerate() {
            let rows = (wants.len() as u32, first);
            first += wants.len() as u32;
            executor.walk((&program, &model), (head, &program.head_norm.steps), rows, vectors, 0).await?;
            if needs_head(&wants) {
                executor.walk((&program, &model), (head, &program.head), rows, vectors, 0).await?;
            }
            let is_last = index + 1 == passes.len();
            results.extend(read_back(executor, &program, wants, is_last).await?);
            if needs_head(&wants) && !is_last {
                executor.stream.end_pass(self.sections.head);
            }
        }
        if passes.is_empty() {
            let after = executor.submit().await?;
            executor.stream.end_sweep(after);
        }
        Ok(results)
    }

    /// Times the dispatches of the sweep that begins, where that is wanted. Where they cannot be timed the timeline says why.
    ///
    /// # Errors
    /// [`ErrorKind::GpuMemory`].
    async fn time_dispatches(&mut self) -> Result<()> {
        let recorder = &mut self.executor.recorder;
        if !recorder.lacks_timer() {
            return Ok(());
        }
        match recorder.start_timer().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Budget) => {
                recorder.timeline().give_up(error.to_string());
                Ok(())
            }
            other => other,
        }
    }
}

/// Pages that each group of states has where layers that keep all positions have `pages`.
fn pages_of(program: &Program, config: &EngineConfig, memory: &MemoryPlan, pages: u64) -> Vec<u64> {
    program.states.pages(pages, u64::from(config.sequences), u64::from(memory.rows), u64::from(memory.snapshots))
}

/// Copies results back, and ends the sweep with the last of them.
async fn read_back(
    executor: &mut Executor,
    program: &Program,
    wants: &[Want],
    is_last: bool,
) -> Result<Vec<Result<Output>>> {
    let copies = readback(executor, program).copies(wants);
    let after = executor.submit_with(copies).await?;
    if is_last {
        executor.stream.end_sweep(after.clone());
    }
    readback(executor, program).finish(&executor.gpu, after, wants).await
}

fn readback<'a>(executor: &'a Executor, program: &Program) -> Readback<'a> {
    let common = &program.common;
    Readback {
        best: executor.buffer(common.best),
        logits: executor.buffer(common.logits),
        hidden: (executor.buffer(common.head_normed), padded(program.hidden)),
        mapped: executor.buffer(common.readback),
        vocab: u64::from(program.vocab),
        hidden_len: u64::from(program.hidden),
    }
}

/// The dispatches that each group of states takes.
fn group_runs(kv: &KvCache, batch: Batch<'_>) -> Vec<GroupRuns> {
    let rows = || batch.rows.iter().map(|row| (batch.sequences[row.sequence], row.position));
    let runs =
        |group| GroupRuns { written: kv.written(group, rows()), read: kv.read(group, batch.spans(), SPAN_PAGES) };
    (0..kv.layout().groups.len()).map(runs).collect()
}

async fn open_stream(
    gpu: &Gpu,
    model: &Arc<Model>,
    layout: &ModelLayout,
    memory: &MemoryPlan,
    profile: &Profile,
) -> Result<(TileStream, Sections)> {
    let table = TileTable::new(layout.pieces.clone(), memory.window_bytes);
    let sections = Sections::new(layout, &table);
    let has_experts = layout.layers.iter().any(|layer| !layer.experts.is_empty());
    let options = StreamOptions {
        window_bytes: memory.window_bytes,
        windows: memory.windows,
        readers: memory.readers,
        pinned_bytes: memory.pinned_bytes,
        sections: sections.list.clone(),
        // What a router asks for must not wait for what it did not ask for, and half of the readers are left to it.
        reserved_windows: if has_experts { memory.windows - memory.readers.div_ceil(2) } else { 0 },
    };
    let source = Arc::new(ModelSource(Arc::clone(model)));
    Ok((TileStream::new(gpu, source, table, options, profile.clone()).await?, sections))
}
