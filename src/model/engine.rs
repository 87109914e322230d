//! Walks the plan: one sweep of ops over tiles, whatever the model's family.

use std::ops::Range;
use std::sync::Arc;

use super::budget::{self, Demand, Shares, StepSizes, padded};
use super::buffers::Buffers;
use super::cancel::CancelToken;
use super::experts::ExpertStep;
use super::kv::{KvCache, KvGeometry, SequencePages};
use super::layout::{LayerLayout, ModelLayout};
use super::needed::needed_kernels;
use super::products::InputChoice;
use super::readback::Readback;
use super::recurrent::RecurrentStates;
use super::sections::Sections;
use super::step::{Row, Step, StepInput};
use crate::gpu::Gpu;
use crate::gpu::kernels::{Kernels, KvType, Tuning};
use crate::gpu::recorder::Recorder;
use crate::gpu::search::Search;
use crate::plan::{BufferId, ModelSpec};
use crate::platform::{BoxFuture, yield_now};
use crate::shard::Model;
use crate::store::Window;
use crate::stream::{Profile, Stage, StreamOptions, TileSource, TileStates, TileStream, TileTable};
use crate::{Error, ErrorKind, Result};

/// Multiply-adds in one submit, about: a slow GPU does them in well under the two seconds after which drivers reset.
pub(super) const WORK_PER_SUBMIT: u64 = 2_000_000_000;

/// What a sweep gives back for the rows whose logits were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The id of the largest logit.
    Best,
    /// All logits.
    Logits,
}

/// Results of a sweep, in the order in which the rows were asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Best(Vec<u32>),
    /// `[rows][vocab]`.
    Logits(Vec<Vec<f32>>),
}

struct ModelSource(Arc<Model>);

impl TileSource for ModelSource {
    fn read<'a>(&'a self, file: u32, offset_bytes: u64, window: &'a mut Window<'_>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.verified().read(file, offset_bytes, window))
    }
}

/// Where the vectors of the layer under way lie: in pinned memory (segment offset in floats) or in `vectors`.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    /// The tile, where it is pinned.
    pub(super) pinned: Option<usize>,
    pub(super) base: u32,
}

/// A model on a GPU.
pub struct Engine {
    pub(super) gpu: Gpu,
    pub(super) spec: ModelSpec,
    pub(super) layout: ModelLayout,
    model: Arc<Model>,
    pub(super) kernels: Kernels,
    pub(super) recorder: Recorder,
    pub(super) stream: TileStream,
    profile: Profile,
    pub(super) buffers: Buffers,
    pub(super) step: Step,
    pub(super) readback: Readback,
    pub(super) kv: KvCache,
    /// What experts need; none in a model without them.
    pub(super) experts: Option<ExpertStep>,
    sections: Sections,
    kv_pages: u64,
    shares: Shares,
    cancel: CancelToken,
    /// From the first position of a row of the sweep under way to the end of the last.
    pub(super) positions: Range<u32>,
    /// Multiply-adds recorded since the last submit.
    pub(super) work: u64,
    /// Whether the step's copies still wait for a submit.
    step_waits: bool,
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
        mut demand: Demand,
    ) -> Result<Self> {
        let layout = ModelLayout::new(&spec, &model)?;
        let geometry = KvGeometry::new(&spec, kv_kind)?;
        demand.direct = gpu.uploads_directly();
        demand.budget_bytes = gpu.budget_bytes();
        demand.uniform_inputs = gpu.tuning().uniform_inputs;
        let shares = budget::share(&spec, &layout, &geometry, &demand)?;
        let tuning = match gpu.searches() {
            true => Search::new(&gpu).of_model(&layout.products()).await,
            false => gpu.tuning().clone(),
        };
        let inputs = InputChoice { most_rounded: demand.inputs, uniform: shares.uniform_inputs };
        let kernels = gpu.kernels(tuning);
        kernels.prepare(&needed_kernels(&spec, &layout, kv_kind, inputs)).await?;
        gpu.keep_pipelines();
        let recorder = Recorder::new(&gpu).await?;
        let buffers = Buffers::new(&gpu, &spec, &layout, &shares, inputs).await?;
        let sizes = StepSizes::new(&spec, u64::from(shares.rows), &demand);
        let mut step = Step::new(&gpu, sizes).await?;
        if !model.store().is_local() {
            step = step.read_in_parallel()?;
        }
        let readback = Readback::new(&gpu, u64::from(shares.head_rows), u64::from(spec.vocab)).await?;
        let states = RecurrentStates::new(&gpu, &spec, shares.head_rows).await?;
        let mut kv = KvCache::new(geometry).with_recurrent(states);
        kv.grow(&gpu, demand.kv_pages).await?;
        let profile = Profile::default();
        let experts = ExpertStep::new(&gpu, &spec, u64::from(shares.rows)).await?;
        let (stream, sections) = open_stream(&gpu, &model, &layout, &shares, &profile).await?;
        let (cancel, kv_pages) = (CancelToken::default(), demand.kv_pages);
        Ok(Self {
            gpu,
            spec,
            layout,
            model,
            kernels,
            recorder,
            stream,
            profile,
            buffers,
            step,
            readback,
            kv,
            experts,
            sections,
            kv_pages,
            shares,
            cancel,
            positions: 0..0,
            work: 0,
            step_waits: false,
        })
    }

    /// The plan.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The opened model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The device and its accountant.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The sizes that its kernels were compiled for.
    pub fn tuning(&self) -> &Tuning {
        self.kernels.tuning()
    }

    /// Whether any matrix is multiplied with rounded activations.
    pub fn rounds_inputs(&self) -> bool {
        self.buffers.i8_input.is_some()
    }

    /// How the budget was shared out.
    pub fn shares(&self) -> Shares {
        self.shares
    }

    /// Busy seconds and events.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Stops a sweep from another task.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Where each tile lies and where it is now.
    pub fn tiles(&self) -> (&Arc<TileTable>, &TileStates) {
        (self.stream.table(), self.stream.states())
    }

    /// The first tile of each layer, and of the head at the end.
    pub fn layer_tiles(&self) -> Vec<usize> {
        let first = |layer: &LayerLayout| {
            let matrix = layer.matrices.first().map(|matrix| matrix.first_piece);
            layer.vectors.piece.into_iter().chain(matrix).min().unwrap_or(0)
        };
        let layers = self.layout.layers.iter().chain([&self.layout.head]);
        layers.map(|layer| self.stream.table().tiles_of(first(layer)..first(layer) + 1).start).collect()
    }

    /// The same engine, stopped by a token that others hold already.
    pub fn with_cancel_token(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Bytes of tiles that stay on the GPU, and bytes that a warm sweep of one row with the head reads (of experts, what
    /// the chosen ones have on average).
    pub fn residency(&self) -> (u64, u64) {
        let dense = self.sections.of_sweep(true).into_iter();
        let mut streamed: u64 = dense.map(|section| self.stream.streamed_bytes(section)).sum();
        for (layer, first) in self.spec.layers.iter().zip(&self.sections.experts) {
            let Some(experts) = &layer.experts else { continue };
            let all: u64 = (0..experts.count as usize).map(|i| self.stream.streamed_bytes(first + i)).sum();
            streamed += all * u64::from(experts.routing.chosen) / u64::from(experts.count);
        }
        (self.stream.pinned_bytes(), streamed)
    }

    /// Keeps up to `bytes` of the tiles that do not fit the GPU in the host's memory, from when they are next read.
    pub fn keep_in_ram(&mut self, bytes: u64) {
        self.stream.keep_in_ram(bytes);
    }

    /// Bytes of tiles in the host's memory.
    pub fn ram_bytes(&self) -> u64 {
        self.stream.ram_bytes()
    }

    /// The stream's section of an expert.
    pub(super) fn expert_section(&self, layer: usize, expert: usize) -> usize {
        self.sections.experts[layer] + expert
    }

    /// Bytes of all tiles.
    pub fn model_bytes(&self) -> u64 {
        self.stream.table().len_bytes()
    }

    /// The pages of sequences.
    pub fn kv(&mut self) -> &mut KvCache {
        &mut self.kv
    }

    /// One row of an activation buffer as the last sweep left it, for tools and tests: `[width]`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a row or buffer that is not there; [`ErrorKind::Budget`] and those of the GPU.
    pub async fn read_activation(&self, id: BufferId, row: u64) -> Result<Vec<f32>> {
        let index = usize::from(id.0);
        let (Some(buffer), Some(spec)) = (self.buffers.activations.get(index), self.spec.buffers.get(index)) else {
            return Err(Error::new(ErrorKind::Argument, format!("the plan has no buffer {index}")));
        };
        if row >= u64::from(self.shares.rows) {
            return Err(Error::new(ErrorKind::Argument, format!("a sweep has no row {row}")));
        }
        let bytes = u64::from(spec.width) * 4;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = self.gpu.buffer("activation", bytes, usage).await?;
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, row * padded(spec.width) * 4, &copy, 0, bytes);
        let after = self.gpu.submit(encoder.finish());
        self.gpu.map(&copy, wgpu::MapMode::Read, after).ready().await?;
        let unmapped = |error| Error::new(ErrorKind::Internal, "an activation is not mapped").source(error);
        let view = copy.get_mapped_range(..).map_err(unmapped)?;
        Ok(bytemuck::pod_collect_to_vec(&view[..bytes as usize]))
    }

    /// Adds KV pages, giving up pinned tiles where the budget has no room for them.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] when all tiles are given up and it is still too small.
    pub async fn grow_kv(&mut self, pages: u64) -> Result<()> {
        let total = self.kv_pages + pages;
        if total * 4 > self.step.pages.size() {
            let message = format!("{total} pages of KV cache pass what the model's positions can fill");
            return Err(Error::new(ErrorKind::Budget, message));
        }
        let bytes = self.kv.geometry().bytes(pages);
        let free = self.gpu.accountant().free_bytes();
        if free < bytes {
            self.recorder.forget_groups();
            self.stream.unpin(bytes - free).await;
        }
        self.kv.grow(&self.gpu, pages).await?;
        self.kv_pages = total;
        Ok(())
    }

    /// One pass over the layers for `rows`, and over the head for the rows whose indices stand in `heads`.
    ///
    /// Each row's sequence has pages for its position; positions of a sequence follow each other. `more` tells whether
    /// the next sweep will want the head, so that its tiles are read ahead.
    ///
    /// # Errors
    /// Those of reads and of the GPU; [`ErrorKind::Cancelled`]. The KV cache then holds what it held before, as far as
    /// the sequences' lengths tell; recurrent states are lost (see [`KvCache::settle`]).
    pub async fn sweep(
        &mut self,
        rows: &[Row],
        sequences: &[&SequencePages],
        heads: &[u32],
        want: Want,
        next_has_head: bool,
    ) -> Result<Output> {
        let result = self.try_sweep(rows, sequences, heads, want, next_has_head).await;
        let result = result.map_err(|error| self.gpu.cause(error));
        if result.is_err() {
            self.recorder.discard();
            self.abandon_step().await;
        } else if let Some(states) = self.kv.recurrent_mut() {
            states.slots.end();
        }
        result
    }

    async fn try_sweep(
        &mut self,
        rows: &[Row],
        sequences: &[&SequencePages],
        heads: &[u32],
        want: Want,
        next_has_head: bool,
    ) -> Result<Output> {
        if rows.is_empty() || rows.len() > self.shares.rows as usize || heads.len() > self.shares.head_rows as usize {
            return Err(Error::new(ErrorKind::Argument, format!("a sweep of {} rows", rows.len())));
        }
        self.cancel.check()?;
        self.time_dispatches().await?;
        let positions = || rows.iter().map(|row| row.position);
        self.positions = positions().min().unwrap_or(0)..positions().max().map_or(0, |last| last + 1);
        if let Some(states) = self.kv.recurrent_mut() {
            states.slots.begin(rows, sequences)?;
        }
        let (sections, next) = (self.sections.of_sweep(!heads.is_empty()), self.sections.of_sweep(next_has_head));
        self.stream.begin_sweep(rows.len() as u32, &sections, &next).await?;
        let residual = &self.buffers.activations[usize::from(self.spec.residual.0)];
        let input = StepInput { rows, sequences, heads };
        self.step.upload(&mut self.recorder, &self.spec, &self.model, residual, input).await?;
        self.step_waits = true;
        for layer in 0..self.spec.layers.len() {
            self.layer(layer, rows.len() as u32).await?;
        }
        if heads.is_empty() {
            let after = self.submit().await?;
            self.stream.end_sweep(after);
            return Ok(Output::Best(Vec::new()));
        }
        self.recorder.set_place(self.spec.layers.len(), 0);
        self.head(heads.len() as u32, want).await
    }

    /// Submits nothing but the step's copies' end, so that its staging can be mapped again.
    async fn abandon_step(&mut self) {
        if self.step_waits {
            let after = self.gpu.queue.submit([]);
            self.step.submitted(&self.gpu, after);
            self.step_waits = false;
        }
        self.work = 0;
    }

    pub(super) async fn submit(&mut self) -> Result<wgpu::SubmissionIndex> {
        self.submit_with(|_| ()).await
    }

    pub(super) async fn submit_with(
        &mut self,
        last: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex> {
        self.gpu.check()?;
        let (load, sweep) = self.stream.position();
        self.profile.mark(Stage::Compute, true, load, sweep);
        let after = self.recorder.submit(last).await?;
        let profile = self.profile.clone();
        self.gpu.on_done(after.clone(), move || profile.mark(Stage::Compute, false, load, sweep));
        if self.step_waits {
            self.step.submitted(&self.gpu, after.clone());
            self.step_waits = false;
        }
        self.work = 0;
        Ok(after)
    }

    async fn layer(&mut self, index: usize, rows: u32) -> Result<()> {
        let vectors = self.bring_vectors(self.layout.layers[index].vectors.piece, 0).await?;
        // Ops on the cache take a dispatch for each of its segments.
        let most = self.kv.layer(index).len().max(1);
        for op in 0..self.spec.layers[index].ops.len() {
            if !self.recorder.has_room(most) || self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            self.recorder.set_place(index, op);
            self.op(index, op, rows, vectors).await?;
        }
        self.cancel.check()
    }

    /// Makes sure that a tile is on the GPU, submitting what used the load before it.
    pub(super) async fn bring(&mut self, tile: usize) -> Result<()> {
        if self.stream.locate(tile).is_some() {
            return Ok(());
        }
        self.cancel.check()?;
        let after = self.submit().await?;
        self.stream.advance(tile, after).await?;
        yield_now().await;
        Ok(())
    }

    /// Brings the vectors of a layer or of an expert; those that are not pinned are copied out of the ring, `at` bytes into
    /// `vectors`, for they serve the whole of it.
    pub(super) async fn bring_vectors(&mut self, piece: Option<usize>, at: u64) -> Result<Vectors> {
        let Some(piece) = piece else { return Ok(Vectors { pinned: None, base: 0 }) };
        let tile = self.stream.table().tiles_of(piece..piece + 1).start;
        self.bring(tile).await?;
        if let Some(home) = self.stream.home(tile) {
            return Ok(Vectors { pinned: Some(tile), base: (home.offset_bytes / 4) as u32 });
        }
        if !self.recorder.is_empty() && self.recorder.has_dispatches() {
            // Copies come before a submit's dispatches, and those of the layer before still need its vectors.
            self.submit().await?;
        }
        let lost = || Error::new(ErrorKind::Internal, "a tile left the GPU while it was needed");
        let place = self.stream.locate(tile).ok_or_else(lost)?;
        let len = self.stream.table().tile(tile).len_bytes;
        self.recorder.copy(place.buffer, place.offset_bytes, &self.buffers.vectors, at, len);
        Ok(Vectors { pinned: None, base: (at / 4) as u32 })
    }
}

async fn open_stream(
    gpu: &Gpu,
    model: &Arc<Model>,
    layout: &ModelLayout,
    shares: &Shares,
    profile: &Profile,
) -> Result<(TileStream, Sections)> {
    let table = TileTable::new(layout.pieces.clone(), shares.window_bytes);
    let sections = Sections::new(layout, &table);
    let has_experts = layout.layers.iter().any(|layer| !layer.experts.is_empty());
    let options = StreamOptions {
        window_bytes: shares.window_bytes,
        windows: shares.windows,
        readers: shares.readers,
        pinned_bytes: shares.pinned_bytes,
        sections: sections.list.clone(),
        // What a router asks for must not wait for what it did not ask for, and half of the readers are left to it.
        reserved_windows: if has_experts { shares.windows - shares.readers.div_ceil(2) } else { 0 },
    };
    let source = Arc::new(ModelSource(Arc::clone(model)));
    Ok((TileStream::new(gpu, source, table, options, profile.clone()).await?, sections))
}
