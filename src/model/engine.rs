//! Walks the plan: one sweep of ops over tiles, whatever the model's family.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::budget::{self, Demand, Shares, StepSizes, padded};
use super::kv::{KvCache, KvGeometry, SequencePages};
use super::layout::{MatrixLayout, ModelLayout, VectorLayout};
use super::readback::Readback;
use super::step::{Row, Step};
use crate::gpu::kernels::{
    ArgmaxParams, AttentionParams, GateParams, GatherRowsParams, Kernel, KernelId, Kernels, KvType, KvWriteParams,
    MatMulParams, RmsNormParams, RopeParams, Tuning, grid,
};
use crate::gpu::recorder::{Bind, Recorder};
use crate::gpu::{CountedBuffer, Gpu};
use crate::plan::{Activation, BufferId, ModelSpec, Op, VectorId};
use crate::platform::{BoxFuture, yield_now};
use crate::shard::Model;
use crate::store::Window;
use crate::stream::{Profile, Stage, StreamOptions, TileSource, TileStream, TileTable};
use crate::{Error, ErrorKind, Result};

/// Section numbers of the stream.
const LAYERS: usize = 0;
const HEAD: usize = 1;

/// Multiply-adds in one submit, about: a slow GPU does them in well under the two seconds after which drivers reset.
const WORK_PER_SUBMIT: u64 = 2_000_000_000;

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

/// Lets another task stop a sweep between two tiles.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the engine to stop; the sweep under way ends with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Makes the token usable again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether someone asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::new(ErrorKind::Cancelled, "stopped on request")) } else { Ok(()) }
    }
}

struct ModelSource(Arc<Model>);

impl TileSource for ModelSource {
    fn read<'a>(&'a self, file: u32, offset_bytes: u64, window: &'a mut Window<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.verified().read(file, offset_bytes, window))
    }
}

/// Buffers whose size depends on rows and vocabulary.
struct Buffers {
    /// By [`BufferId`].
    activations: Vec<CountedBuffer>,
    /// The vectors of the layer under way, where they are not pinned.
    vectors: CountedBuffer,
    attention_state: CountedBuffer,
    head_input: CountedBuffer,
    head_normed: CountedBuffer,
    logits: CountedBuffer,
}

/// Where the vectors of the layer under way lie: in pinned memory (segment offset in floats) or in `vectors`.
#[derive(Clone, Copy)]
struct Vectors {
    /// The tile, where it is pinned.
    pinned: Option<usize>,
    base: u32,
}

/// A model on a GPU.
pub struct Engine {
    gpu: Gpu,
    spec: ModelSpec,
    layout: ModelLayout,
    model: Arc<Model>,
    kernels: Kernels,
    recorder: Recorder,
    stream: TileStream,
    profile: Profile,
    buffers: Buffers,
    step: Step,
    readback: Readback,
    kv: KvCache,
    kv_pages: u64,
    shares: Shares,
    cancel: CancelToken,
    /// Multiply-adds recorded since the last submit.
    work: u64,
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
        demand.direct = gpu.adapter.maps_primary_buffers();
        demand.budget_bytes = gpu.budget_bytes();
        let shares = budget::share(&spec, &layout, &geometry, &demand)?;
        let tuning = Tuning::for_adapter(&gpu.adapter.info, gpu.device.features(), &gpu.adapter.limits);
        let kernels = Kernels::new(&gpu.device, tuning);
        kernels.prepare(&needed_kernels(&layout, kv_kind)).await?;
        let recorder = Recorder::new(&gpu).await?;
        let buffers = Buffers::new(&gpu, &spec, &layout, &shares).await?;
        let sizes = StepSizes::new(&spec, u64::from(shares.rows), &demand);
        let step = Step::new(&gpu, sizes).await?;
        let readback = Readback::new(&gpu, u64::from(shares.head_rows), u64::from(spec.vocab)).await?;
        let mut kv = KvCache::new(geometry);
        kv.grow(&gpu, demand.kv_pages).await?;
        let profile = Profile::default();
        let stream = open_stream(&gpu, &model, &layout, &shares, &profile).await?;
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
            kv_pages,
            shares,
            cancel,
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

    /// Bytes of tiles that stay on the GPU, and bytes that a warm sweep with the head reads.
    pub fn residency(&self) -> (u64, u64) {
        (self.stream.pinned_bytes(), self.stream.streamed_bytes())
    }

    /// Bytes of all tiles.
    pub fn model_bytes(&self) -> u64 {
        self.stream.table().len_bytes()
    }

    /// The pages of sequences.
    pub fn kv(&mut self) -> &mut KvCache {
        &mut self.kv
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
    /// the sequences' lengths tell.
    pub async fn sweep(
        &mut self,
        rows: &[Row],
        sequences: &[&SequencePages],
        heads: &[u32],
        want: Want,
        next_has_head: bool,
    ) -> Result<Output> {
        let result = self.try_sweep(rows, sequences, heads, want, next_has_head).await;
        if result.is_err() {
            self.recorder.discard();
            self.abandon_step().await;
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
        let next: &[usize] = if next_has_head { &[LAYERS, HEAD] } else { &[LAYERS] };
        let sections: &[usize] = if heads.is_empty() { &[LAYERS] } else { &[LAYERS, HEAD] };
        self.stream.begin_sweep(sections, next).await?;
        let tables: Vec<&[u32]> = sequences.iter().map(|sequence| &sequence.pages[..]).collect();
        let residual = &self.buffers.activations[usize::from(self.spec.residual.0)];
        self.step.upload(&mut self.recorder, &self.spec, &self.model, residual, rows, &tables, heads).await?;
        self.step_waits = true;
        for layer in 0..self.spec.layers.len() {
            self.layer(layer, rows.len() as u32).await?;
        }
        if heads.is_empty() {
            let after = self.submit().await?;
            self.stream.end_sweep(after);
            return Ok(Output::Best(Vec::new()));
        }
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

    async fn submit(&mut self) -> Result<wgpu::SubmissionIndex> {
        self.submit_with(|_| ()).await
    }

    async fn submit_with(&mut self, last: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<wgpu::SubmissionIndex> {
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
        let vectors = self.bring_vectors(self.layout.layers[index].vectors.piece).await?;
        for op in 0..self.spec.layers[index].ops.len() {
            if self.recorder.is_full() || self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            self.op(index, op, rows, vectors).await?;
        }
        self.cancel.check()
    }

    /// Makes sure that a tile is on the GPU, submitting what used the load before it.
    async fn bring(&mut self, tile: usize) -> Result<()> {
        if self.stream.locate(tile).is_some() {
            return Ok(());
        }
        self.cancel.check()?;
        let after = self.submit().await?;
        self.stream.advance(tile, after).await?;
        yield_now().await;
        Ok(())
    }

    /// Brings a layer's vectors; those that are not pinned are copied out of the ring, for they serve the whole layer.
    async fn bring_vectors(&mut self, piece: Option<usize>) -> Result<Vectors> {
        let Some(piece) = piece else { return Ok(Vectors { pinned: None, base: 0 }) };
        let tile = self.stream.table().tiles_of(piece..piece + 1).start;
        self.bring(tile).await?;
        let pinned = self.stream.is_pinned(tile);
        if !pinned && !self.recorder.is_empty() && self.recorder.has_dispatches() {
            // Copies come before a submit's dispatches, and those of the layer before still need its vectors.
            self.submit().await?;
        }
        let lost = || Error::new(ErrorKind::Gpu, "a tile left the GPU while it was needed");
        let place = self.stream.locate(tile).ok_or_else(lost)?;
        if pinned {
            return Ok(Vectors { pinned: Some(tile), base: (place.offset_bytes / 4) as u32 });
        }
        let len = self.stream.table().tile(tile).len_bytes;
        self.recorder.copy(place.buffer, place.offset_bytes, &self.buffers.vectors, 0, len);
        Ok(Vectors { pinned: None, base: 0 })
    }

    async fn op(&mut self, layer: usize, op: usize, rows: u32, vectors: Vectors) -> Result<()> {
        let op = self.spec.layers[layer].ops[op].clone();
        match op {
            Op::MatMul { input, output, weight, bias, accumulate } => {
                let layout = &self.layout.layers[layer];
                let bias = bias.map(|bias| vectors.base + layout.vectors.offsets[usize::from(bias.0)]);
                let call = MatMulCall {
                    input: Operand::Buffer(input),
                    output: Operand::Buffer(output),
                    matrix: layout.matrix(weight).clone(),
                    bias,
                    accumulate,
                };
                self.matmul(&call, rows, vectors).await
            }
            Op::RmsNorm { input, output, weight, epsilon } => {
                let offset = self.vector_offset(&self.layout.layers[layer].vectors, weight, vectors);
                self.rms_norm(Operand::Buffer(input), Operand::Buffer(output), offset, epsilon, rows, vectors)
            }
            Op::Rope { target, heads, head_dim, pairs } => self.rope(target, heads, head_dim, pairs, rows),
            Op::KvWrite { key, value } => self.kv_write(layer, key, value, rows),
            Op::Attention { .. } => self.attention(layer, &op, rows),
            Op::Gate { gate, up, output, activation } => self.gate(gate, up, output, activation, rows),
        }
    }

    fn vector_offset(&self, layout: &VectorLayout, id: VectorId, vectors: Vectors) -> u32 {
        vectors.base + layout.offsets[usize::from(id.0)]
    }

    async fn matmul(&mut self, call: &MatMulCall, tokens: u32, vectors: Vectors) -> Result<()> {
        let matrix = &call.matrix;
        let pieces = matrix.pieces();
        let end = self.stream.table().tiles_of(pieces).end;
        let mut tile = self.stream.table().tiles_of(matrix.first_piece..matrix.first_piece + 1).start;
        while tile < end {
            self.bring(tile).await?;
            if self.recorder.is_full() || self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            tile = self.matmul_run(call, tile, end, tokens, vectors)?;
        }
        Ok(())
    }

    /// One dispatch over the tiles from `first` on that lie together; returns the tile after them.
    fn matmul_run(
        &mut self,
        call: &MatMulCall,
        first: usize,
        end: usize,
        tokens: u32,
        vectors: Vectors,
    ) -> Result<usize> {
        let lost = || Error::new(ErrorKind::Gpu, "a tile left the GPU while it was needed");
        let start = self.stream.locate(first).ok_or_else(lost)?;
        let tile = self.stream.table().tile(first);
        let (mut rows, mut next, mut bytes) = (tile.rows, first + 1, tile.len_bytes);
        let work_left = WORK_PER_SUBMIT / (call.matrix.columns * u64::from(tokens)).max(1);
        while next < end && rows < work_left {
            let Some(place) = self.stream.locate(next) else { break };
            if place.buffer.id() != start.buffer.id() || place.offset_bytes != start.offset_bytes + bytes {
                break;
            }
            let tile = self.stream.table().tile(next);
            rows += tile.rows;
            bytes += tile.len_bytes;
            next += 1;
        }
        let matrix = &call.matrix;
        let first_row = matrix.first_rows[tile.piece - matrix.first_piece] + tile.first_row;
        let encoding = matrix.encoding;
        let plane = |index: usize| match index < encoding.descriptor().planes.len() {
            true => (encoding.plane_offset(matrix.columns, index) / 16) as u32,
            false => 0,
        };
        let (input, input_width) = operand(&self.buffers, &self.spec, call.input);
        let (output, output_width) = operand(&self.buffers, &self.spec, call.output);
        let params = MatMulParams {
            rows: rows as u32,
            first_row: first_row as u32,
            weight_base: (start.offset_bytes / 16) as u32,
            row_stride: (encoding.row_stride(matrix.columns) / 16) as u32,
            chunks: matrix.columns.div_ceil(32) as u32,
            tokens,
            input_stride: (input_width / 4) as u32,
            output_stride: output_width as u32,
            plane1: plane(1),
            plane2: plane(2),
            plane3: plane(3),
            bias_offset: call.bias.unwrap_or(0),
            flags: u32::from(call.accumulate) | u32::from(call.bias.is_some()) << 1,
        };
        let kernel = self.kernel(if tokens == 1 { KernelId::MatVec(encoding) } else { KernelId::MatMul(encoding) })?;
        let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
        let binds = [start.buffer.into(), start.buffer.into(), input.into(), vectors, output.into()];
        let size = grid::matmul(self.kernels.tuning(), &params, tokens > 1);
        self.recorder.dispatch(&kernel, &binds, &params, size)?;
        self.work += rows * matrix.columns * u64::from(tokens);
        Ok(next)
    }

    fn rms_norm(
        &mut self,
        input: Operand,
        output: Operand,
        weight_offset: u32,
        epsilon: f32,
        rows: u32,
        vectors: Vectors,
    ) -> Result<()> {
        let (from, from_width) = operand(&self.buffers, &self.spec, input);
        let (to, to_width) = operand(&self.buffers, &self.spec, output);
        let width = match input {
            Operand::Buffer(id) => self.spec.buffers[usize::from(id.0)].width,
            _ => self.spec.hidden,
        };
        let (input_stride, output_stride) = (from_width as u32, to_width as u32);
        let params = RmsNormParams { rows, width, input_stride, output_stride, weight_offset, epsilon };
        let kernel = self.kernel(KernelId::RmsNorm)?;
        let binds = [from.into(), vectors_bind(&self.stream, &self.buffers, vectors)?, to.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::rms_norm(&params))
    }

    fn rope(&mut self, target: BufferId, heads: u32, head_dim: u32, pairs: u32, rows: u32) -> Result<()> {
        let (buffer, width) = operand(&self.buffers, &self.spec, Operand::Buffer(target));
        let params = RopeParams { rows, heads, head_dim, pairs, stride: width as u32 };
        let kernel = self.kernel(KernelId::Rope)?;
        let binds = [(&self.step.angles).into(), buffer.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::rope(&params))
    }

    fn kv_write(&mut self, layer: usize, key: BufferId, value: BufferId, rows: u32) -> Result<()> {
        let kernel = self.kernel(KernelId::KvWrite(self.kv.geometry().kind))?;
        let (key, key_width) = operand(&self.buffers, &self.spec, Operand::Buffer(key));
        let (value, value_width) = operand(&self.buffers, &self.spec, Operand::Buffer(value));
        for segment in self.kv.layer(layer) {
            let params = KvWriteParams {
                rows,
                kv_width: self.spec.layers[layer].kv_width,
                key_stride: key_width as u32,
                value_stride: value_width as u32,
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
            };
            let binds = [key.into(), value.into(), (&self.step.meta).into(), (&self.step.pages).into(), segment.bind];
            self.recorder.dispatch(&kernel, &binds, &params, grid::kv_write(&params))?;
        }
        Ok(())
    }

    fn attention(&mut self, layer: usize, op: &Op, rows: u32) -> Result<()> {
        let Op::Attention { query, output, heads, kv_heads, head_dim, scale, window } = *op else { return Ok(()) };
        let kernel = self.kernel(KernelId::Attention(self.kv.geometry().kind))?;
        let (query, query_width) = operand(&self.buffers, &self.spec, Operand::Buffer(query));
        let (output, output_width) = operand(&self.buffers, &self.spec, Operand::Buffer(output));
        let segments = self.kv.layer(layer);
        let last = segments.len().saturating_sub(1);
        for (index, segment) in segments.enumerate() {
            let params = AttentionParams {
                rows,
                heads,
                kv_heads,
                head_dim,
                kv_width: self.spec.layers[layer].kv_width,
                scale,
                window: window.unwrap_or(0),
                query_stride: query_width as u32,
                output_stride: output_width as u32,
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
                flags: u32::from(index == 0) | u32::from(index == last) << 1,
            };
            let (meta, pages) = ((&self.step.meta).into(), (&self.step.pages).into());
            let state = (&self.buffers.attention_state).into();
            let binds = [query.into(), meta, pages, segment.bind, output.into(), state];
            self.recorder.dispatch(&kernel, &binds, &params, grid::attention(&params))?;
        }
        Ok(())
    }

    fn gate(
        &mut self,
        gate: BufferId,
        up: BufferId,
        output: BufferId,
        activation: Activation,
        rows: u32,
    ) -> Result<()> {
        if gate != output {
            return Err(Error::new(ErrorKind::Unsupported, "a gate that is not computed in place"));
        }
        let width = self.spec.buffers[usize::from(gate.0)].width;
        let (gate, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(gate));
        let (up, _) = operand(&self.buffers, &self.spec, Operand::Buffer(up));
        let params = GateParams { rows, width, stride: stride as u32 };
        let kernel = self.kernel(KernelId::Gate(activation))?;
        self.recorder.dispatch(&kernel, &[up.into(), gate.into()], &params, grid::gate(&params))
    }

    /// Norm and head for the rows in the step's indices, then the readback.
    async fn head(&mut self, heads: u32, want: Want) -> Result<Output> {
        let (input, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(self.spec.residual));
        let params = GatherRowsParams {
            rows: heads,
            width: self.spec.hidden,
            input_stride: stride as u32,
            output_stride: padded(self.spec.hidden) as u32,
            indices_offset: 0,
        };
        let kernel = self.kernel(KernelId::GatherRows)?;
        let binds = [input.into(), (&self.step.indices).into(), (&self.buffers.head_input).into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::gather_rows(&params))?;
        let vectors = self.bring_vectors(self.layout.head.vectors.piece).await?;
        let offset = self.vector_offset(&self.layout.head.vectors, VectorId(0), vectors);
        let epsilon = self.spec.final_norm_epsilon;
        self.rms_norm(Operand::HeadInput, Operand::HeadNormed, offset, epsilon, heads, vectors)?;
        let matrix = self.layout.head.matrices[0].clone();
        let (input, output) = (Operand::HeadNormed, Operand::Logits);
        let call = MatMulCall { input, output, matrix, bias: None, accumulate: false };
        self.matmul(&call, heads, vectors).await?;
        self.read_back(heads, want).await
    }

    async fn read_back(&mut self, heads: u32, want: Want) -> Result<Output> {
        let vocab = self.spec.vocab;
        let params = ArgmaxParams { rows: heads, width: vocab, stride: vocab, result_offset: 0 };
        let kernel = self.kernel(KernelId::Argmax)?;
        if self.recorder.is_full() {
            self.submit().await?;
        }
        let binds = [(&self.buffers.logits).into(), self.readback.best().into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::argmax(&params))?;
        let copies = self.readback.copies(&self.buffers.logits, heads, want == Want::Logits);
        let after = self.submit_with(copies).await?;
        self.stream.end_sweep(after.clone());
        self.readback.finish(&self.gpu, after, heads, want).await
    }

    fn kernel(&self, id: KernelId) -> Result<Arc<Kernel>> {
        self.kernels.get(id).ok_or_else(|| Error::new(ErrorKind::Gpu, format!("kernel {id:?} was not prepared")))
    }
}

/// What a kernel works on: a buffer of the plan, or one of the head.
#[derive(Clone, Copy)]
enum Operand {
    Buffer(BufferId),
    HeadInput,
    HeadNormed,
    Logits,
}

struct MatMulCall {
    input: Operand,
    output: Operand,
    matrix: MatrixLayout,
    /// Offset of the bias in floats.
    bias: Option<u32>,
    accumulate: bool,
}

/// A buffer and the floats between its rows.
fn operand<'a>(buffers: &'a Buffers, spec: &ModelSpec, operand: Operand) -> (&'a CountedBuffer, u64) {
    match operand {
        Operand::Buffer(id) => {
            let index = usize::from(id.0);
            (&buffers.activations[index], padded(spec.buffers[index].width))
        }
        Operand::HeadInput => (&buffers.head_input, padded(spec.hidden)),
        Operand::HeadNormed => (&buffers.head_normed, padded(spec.hidden)),
        Operand::Logits => (&buffers.logits, u64::from(spec.vocab)),
    }
}

fn vectors_bind<'a>(stream: &'a TileStream, buffers: &'a Buffers, vectors: Vectors) -> Result<Bind<'a>> {
    match vectors.pinned {
        None => Ok((&buffers.vectors).into()),
        Some(tile) => match stream.locate(tile) {
            Some(place) => Ok(place.buffer.into()),
            None => Err(Error::new(ErrorKind::Gpu, "pinned vectors left the GPU")),
        },
    }
}

impl Buffers {
    async fn new(gpu: &Gpu, spec: &ModelSpec, layout: &ModelLayout, shares: &Shares) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let (rows, heads) = (u64::from(shares.rows), u64::from(shares.head_rows));
        let mut activations = Vec::with_capacity(spec.buffers.len());
        for buffer in &spec.buffers {
            let bytes = rows * padded(buffer.width) * 4;
            activations.push(gpu.buffer(buffer.name, bytes, Usage::STORAGE | Usage::COPY_DST).await?);
        }
        let hidden = heads * padded(spec.hidden) * 4;
        Ok(Self {
            activations,
            vectors: gpu.buffer("vectors", layout.largest_vectors_bytes(), Usage::STORAGE | Usage::COPY_DST).await?,
            attention_state: gpu.buffer("attention state", rows * budget::most_heads(spec) * 8, Usage::STORAGE).await?,
            head_input: gpu.buffer("head input", hidden, Usage::STORAGE).await?,
            head_normed: gpu.buffer("head normed", hidden, Usage::STORAGE).await?,
            logits: gpu.buffer("logits", heads * u64::from(spec.vocab) * 4, Usage::STORAGE | Usage::COPY_SRC).await?,
        })
    }
}

async fn open_stream(
    gpu: &Gpu,
    model: &Arc<Model>,
    layout: &ModelLayout,
    shares: &Shares,
    profile: &Profile,
) -> Result<TileStream> {
    let table = TileTable::new(layout.pieces.clone(), shares.window_bytes);
    let layers = table.tiles_of(layout.layer_pieces.clone());
    let options = StreamOptions {
        window_bytes: shares.window_bytes,
        windows: shares.windows,
        pinned_bytes: shares.pinned_bytes,
        sections: vec![layers.clone(), layers.end..table.len()],
    };
    TileStream::new(gpu, Arc::new(ModelSource(Arc::clone(model))), table, options, profile.clone()).await
}

fn needed_kernels(layout: &ModelLayout, kv: KvType) -> Vec<KernelId> {
    let mut ids = vec![
        KernelId::RmsNorm,
        KernelId::Rope,
        KernelId::KvWrite(kv),
        KernelId::Attention(kv),
        KernelId::Gate(Activation::Silu),
        KernelId::Argmax,
        KernelId::GatherRows,
    ];
    let matrices = layout.layers.iter().chain([&layout.head]).flat_map(|layer| &layer.matrices);
    let mut encodings: Vec<_> = matrices.map(|matrix| matrix.encoding).collect();
    encodings.sort_unstable();
    encodings.dedup();
    ids.extend(encodings.into_iter().flat_map(|encoding| [KernelId::MatVec(encoding), KernelId::MatMul(encoding)]));
    ids
}
