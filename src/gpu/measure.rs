//! How fast kernels are on an adapter: for choosing their sizes, and for people.

use bytemuck::Zeroable;

use super::kernels::{
    CopyParams, InputSpace, InputType, InputWindow, KernelId, Kernels, MatMulParams, UNIFORM_BYTES, grid,
};
use super::recorder::{Bind, Recorder};
use super::{CountedBuffer, Gpu, tuning};
use crate::encoding::Encoding;
use crate::platform::{MaybeSend, now_s};
use crate::{Error, ErrorKind, Result};

/// Bytes that a measurement goes over before it comes back to the first: more than any cache holds.
pub const SPREAD_BYTES: u64 = 192 << 20;
/// A measurement takes at least this long.
const LEAST_S: f64 = 0.05;
/// The best of so many.
const REPEATS: usize = 3;

/// Bytes a second of a plain copy, read and written counted once each.
///
/// # Errors
/// [`ErrorKind::Budget`] and [`ErrorKind::GpuMemory`] where twice 96 MiB do not fit; those of the GPU.
pub async fn copy(gpu: &Gpu, kernels: &Kernels) -> Result<f64> {
    let bytes = SPREAD_BYTES / 2;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    let (from, to) = (gpu.buffer("from", bytes, usage).await?, gpu.buffer("to", bytes, usage).await?);
    let params = CopyParams { vectors: (bytes / 16) as u32 };
    let mut bench = Bench::new(gpu, kernels, KernelId::Copy).await?;
    let seconds = bench.seconds(|_| (vec![(&from).into(), (&to).into()], params, grid::copy(&params)), 1).await?;
    Ok(2.0 * bytes as f64 / seconds)
}

/// Seconds of a product of a matrix with one row or `tokens` of them, the matrix coming from memory.
///
/// # Errors
/// As [`copy`].
pub async fn product(gpu: &Gpu, kernels: &Kernels, product: Product, input: InputType, tokens: u32) -> Result<f64> {
    ProductBench::new(gpu, product, input, tokens, SPREAD_BYTES).await?.seconds(kernels, LEAST_S).await
}

/// A matrix whose products are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    pub encoding: Encoding,
    pub rows: u32,
    pub columns: u32,
}

impl Product {
    /// Bytes of the matrix.
    pub fn bytes(self) -> u64 {
        self.encoding.row_stride(u64::from(self.columns)) * u64::from(self.rows)
    }
}

/// The buffers of a product, for as many kernels as are to be compared.
pub struct ProductBench {
    gpu: Gpu,
    id: KernelId,
    /// Weights, input, vectors, output.
    buffers: [CountedBuffer; 4],
    params: MatMulParams,
    /// What a dispatch takes of the input, one after the other.
    windows: Vec<InputWindow>,
    /// Matrices in the weights, one behind the other.
    count: u64,
    matrix_bytes: u64,
}

impl ProductBench {
    /// Makes the buffers: the matrix as often as `spread_bytes` hold it, and once at least.
    ///
    /// # Errors
    /// As [`copy`].
    pub async fn new(gpu: &Gpu, product: Product, input: InputType, tokens: u32, spread_bytes: u64) -> Result<Self> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let Product { encoding, rows, columns } = product;
        let stride = encoding.row_stride(u64::from(columns));
        let matrix_bytes = product.bytes();
        let count = (spread_bytes.min(gpu.largest_binding_bytes()) / matrix_bytes.max(1)).max(1);
        let chunks = columns.div_ceil(32);
        let input_bytes = u64::from(chunks) * input.chunk_bytes();
        let space = InputSpace::of(gpu.tuning().uniform_inputs, input_bytes, tokens);
        let windows = space.windows(input_bytes, tokens).collect();
        let id = tuning::product(encoding, (input, space), tokens);
        let weights = gpu.buffer("weights", matrix_bytes * count, usage).await?;
        let input_bytes_all = input_bytes * u64::from(tokens) + UNIFORM_BYTES;
        let input = gpu.buffer("input", input_bytes_all, usage | wgpu::BufferUsages::UNIFORM).await?;
        let vectors = gpu.buffer("vectors", 16, usage).await?;
        let output = gpu.buffer("output", u64::from(rows) * 4 * u64::from(tokens), usage).await?;
        fill(gpu, &weights).await?;
        let planes = encoding.descriptor().planes.len();
        let plane = |index: usize| match index < planes {
            true => (encoding.plane_offset(u64::from(columns), index) / 16) as u32,
            false => 0,
        };
        let params = MatMulParams {
            rows,
            row_stride: (stride / 16) as u32,
            chunks,
            tokens,
            input_stride: (input_bytes / 16) as u32,
            output_stride: rows,
            plane1: plane(1),
            plane2: plane(2),
            plane3: plane(3),
            scale: 1.0,
            ..MatMulParams::zeroed()
        };
        let (gpu, buffers) = (gpu.clone(), [weights, input, vectors, output]);
        Ok(Self { gpu, id, buffers, params, windows, count, matrix_bytes })
    }

    /// The kernel that is measured.
    pub fn id(&self) -> KernelId {
        self.id
    }

    /// Seconds of one product; a measurement takes `least_s` or more.
    ///
    /// # Errors
    /// As [`copy`].
    pub async fn seconds(&self, kernels: &Kernels, least_s: f64) -> Result<f64> {
        let mut bench = Bench::new(&self.gpu, kernels, self.id).await?;
        bench.least_s = least_s;
        let [weights, input, vectors, output] = &self.buffers;
        let windows = self.windows.len() as u64;
        let call = |index: u64| {
            let weight_base = (index / windows % self.count * self.matrix_bytes / 16) as u32;
            let window = self.windows[(index % windows) as usize];
            let InputWindow { first_token, tokens, base: input_base, .. } = window;
            let params = MatMulParams { weight_base, first_token, tokens, input_base, ..self.params };
            let input = Bind::window(input, window);
            let binds: Vec<Bind<'_>> = vec![weights.into(), weights.into(), input, vectors.into(), output.into()];
            (binds, params, grid::matmul(kernels.tuning(), self.id, &params))
        };
        Ok(bench.seconds(call, windows).await? * windows as f64)
    }
}

/// Bytes a second of copies from memory that the host writes to memory that shaders read, `window_bytes` each: what an
/// upload takes where shaders do not read the windows themselves.
///
/// # Errors
/// [`ErrorKind::Budget`] and [`ErrorKind::GpuMemory`] where two windows do not fit; those of the GPU.
pub async fn upload(gpu: &Gpu, window_bytes: u64) -> Result<f64> {
    use wgpu::BufferUsages as Usage;
    let window = gpu.mapped_buffer("window", window_bytes, Usage::MAP_WRITE | Usage::COPY_SRC).await?;
    window.unmap();
    let target = gpu.buffer("target", window_bytes, Usage::STORAGE | Usage::COPY_DST).await?;
    let copies = (SPREAD_BYTES / window_bytes.max(1)).max(1);
    let mut best = f64::INFINITY;
    // The first one also warms up.
    for _ in 0..=REPEATS {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for _ in 0..copies {
            encoder.copy_buffer_to_buffer(&window, 0, &target, 0, window.size());
        }
        let start = now_s();
        let after = gpu.submit(encoder.finish());
        best = best.min(done(gpu, after).await? - start);
    }
    Ok((copies * window.size()) as f64 / best)
}

/// When the GPU was done with `after`, in seconds of [`now_s`].
async fn done(gpu: &Gpu, after: wgpu::SubmissionIndex) -> Result<f64> {
    let (sender, done) = futures::channel::oneshot::channel();
    gpu.on_done(after, move || {
        // Nobody waits any more where the measurement was dropped.
        let _ = sender.send(now_s());
    });
    let end = done.await.map_err(|_| gpu.lost())?;
    gpu.check()?;
    Ok(end)
}

/// Fills a buffer with bytes that decode to small numbers in every encoding: zeros would let a processor off too lightly,
/// and random bytes hold infinities.
async fn fill(gpu: &Gpu, buffer: &CountedBuffer) -> Result<()> {
    let pattern: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x37).collect();
    let staging = gpu.buffer("pattern", 1 << 20, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST).await?;
    gpu.queue.write_buffer(&staging, 0, &pattern);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut offset = 0;
    while offset < buffer.size() {
        let len = (1 << 20).min(buffer.size() - offset);
        encoder.copy_buffer_to_buffer(&staging, 0, buffer, offset, len);
        offset += len;
    }
    gpu.submit(encoder.finish());
    Ok(())
}

/// One kernel, run until its time is known.
struct Bench {
    gpu: Gpu,
    recorder: Recorder,
    kernel: std::sync::Arc<super::kernels::Kernel>,
    /// Seconds that a measurement takes at least.
    least_s: f64,
}

impl Bench {
    async fn new(gpu: &Gpu, kernels: &Kernels, id: KernelId) -> Result<Self> {
        kernels.prepare(&[id]).await?;
        let kernel = kernels.get(id).ok_or_else(|| Error::new(ErrorKind::Internal, "a kernel was not prepared"))?;
        let mut recorder = Recorder::new(gpu).await?;
        recorder.prepare(&[id]).await?;
        Ok(Self { gpu: gpu.clone(), recorder, kernel, least_s: LEAST_S })
    }

    /// Seconds of one dispatch of `least_count` or more, of which `call` gives buffers, parameters and grid by its number.
    async fn seconds<'a, P: bytemuck::Pod + MaybeSend>(
        &mut self,
        call: impl Fn(u64) -> (Vec<Bind<'a>>, P, [u32; 3]) + MaybeSend,
        least_count: u64,
    ) -> Result<f64> {
        let mut count = least_count;
        // Some drivers compile when a kernel is first used.
        self.run(&call, count).await?;
        while self.run(&call, count).await? < self.least_s && !self.recorder.is_full() && count < 200 {
            count *= 2;
        }
        let mut best = f64::INFINITY;
        for _ in 0..REPEATS {
            best = best.min(self.run(&call, count).await? / count as f64);
        }
        Ok(best)
    }

    /// Seconds of `count` dispatches in one submit.
    async fn run<'a, P: bytemuck::Pod + MaybeSend>(
        &mut self,
        call: &(impl Fn(u64) -> (Vec<Bind<'a>>, P, [u32; 3]) + MaybeSend),
        count: u64,
    ) -> Result<f64> {
        for index in 0..count {
            let (binds, params, grid) = call(index);
            self.recorder.dispatch(&self.kernel, &binds, &params, grid)?;
        }
        let start = now_s();
        let after = self.recorder.submit(|_| ()).await?;
        Ok(done(&self.gpu, after).await? - start)
    }
}
