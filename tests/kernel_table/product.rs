//! A matrix product, to be computed by a kernel and by its twin.

use tilestream::internals::encoding::{self, Encoding};
use tilestream::internals::gpu::CountedBuffer;
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::gpu::recorder::Bind;
use tilestream::internals::reference;

use super::Bench;
use super::random::{Random, random_row};

pub struct Product {
    pub encoding: Encoding,
    pub columns: u64,
    pub tokens: usize,
    pub packed: Vec<u8>,
    pub weights: Vec<Vec<f32>>,
    pub input: Vec<f32>,
    pub bias: Vec<f32>,
    pub scale: f32,
    /// What the kernel takes the input as.
    pub input_type: InputType,
    /// Where it finds it, if it fits there.
    pub input_space: InputSpace,
}

impl Product {
    pub fn new(encoding: Encoding, rows: usize, columns: u64, tokens: usize) -> Self {
        let mut random = Random(rows as u64 * 31 + columns + tokens as u64);
        let (mut packed, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let row = random_row(encoding, columns, &mut random);
            let mut values = vec![0.0; columns as usize];
            encoding::decode_row(encoding, &row, columns, &mut values).expect("decodes");
            packed.extend(row);
            weights.push(values);
        }
        let stride = columns.next_multiple_of(32) as usize;
        let mut input = vec![0.0; tokens * stride];
        for token in input.chunks_mut(stride) {
            token[..columns as usize].copy_from_slice(&random.floats(columns as usize));
        }
        Self {
            encoding,
            columns,
            tokens,
            packed,
            weights,
            input,
            bias: random.floats(rows),
            scale: 1.0,
            input_type: InputType::F32,
            input_space: InputSpace::Storage,
        }
    }

    pub fn id(&self, tiled: bool) -> KernelId {
        let (encoding, input, space) = (self.encoding, self.input_type, self.input_space);
        if tiled { KernelId::MatMul(encoding, input, space) } else { KernelId::MatVec(encoding, input, space) }
    }

    /// Bytes from one row of the input to the next.
    fn row_bytes(&self) -> u64 {
        self.columns.div_ceil(32) * self.input_type.chunk_bytes()
    }

    /// The input as the kernel takes it.
    pub async fn input(&self, bench: &mut Bench) -> CountedBuffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM;
        let input = bench.buffer_with(&self.input, UNIFORM_BYTES, usage).await;
        if self.input_type == InputType::F32 {
            return input;
        }
        let words = self.tokens * self.row_bytes() as usize / 4;
        let rounded = bench.buffer_with(&vec![0_u32; words], UNIFORM_BYTES, usage).await;
        let (rows, columns) = (self.tokens as u32, self.columns as u32);
        let params = QuantizeRowsParams { rows, columns, input_stride: columns.div_ceil(32) * 8 };
        bench.run(KernelId::QuantizeRows, &[&input, &rounded], &params, grid::quantize_rows(&params)).await;
        rounded
    }

    /// `[tokens][rows]`, with tiles of `tile_rows` rows a dispatch.
    pub async fn run(&self, bench: &mut Bench, tiled: bool, tile_rows: usize, flags: u32) -> Vec<f32> {
        let rows = self.weights.len();
        let weights = bench.buffer(&self.packed).await;
        let (input, bias) = (self.input(bench).await, bench.buffer(&self.bias).await);
        let output = bench.buffer(&vec![1.0_f32; self.tokens * rows]).await;
        let stride = self.encoding.row_stride(self.columns) / 16;
        let plane = |index: usize| match index < self.encoding.descriptor().planes.len() {
            true => (self.encoding.plane_offset(self.columns, index) / 16) as u32,
            false => 0,
        };
        for first in (0..rows).step_by(tile_rows) {
            let params = MatMulParams {
                rows: tile_rows.min(rows - first) as u32,
                first_row: first as u32,
                weight_base: (first as u64 * stride) as u32,
                row_stride: stride as u32,
                chunks: self.columns.div_ceil(32) as u32,
                input_stride: (self.row_bytes() / 16) as u32,
                output_stride: rows as u32,
                plane1: plane(1),
                plane2: plane(2),
                plane3: plane(3),
                bias_offset: 0,
                scale: self.scale,
                flags,
                ..MatMulParams::default()
            };
            let id = self.id(tiled);
            for window in self.input_space.windows(self.row_bytes(), self.tokens as u32) {
                let InputWindow { first_token, tokens, base: input_base, .. } = window;
                let params = MatMulParams { first_token, tokens, input_base, ..params };
                let size = grid::matmul(bench.kernels.tuning(), id, &params);
                let [weights, bias, output] = [&weights, &bias, &output].map(Bind::from);
                let binds = [weights, weights, Bind::window(&input, window), bias, output];
                bench.dispatch(id, &binds, &params, size).await;
            }
        }
        bench.read(&output).await
    }

    pub fn expected(&self, flags: u32) -> Vec<f64> {
        let stride = self.columns.next_multiple_of(32) as usize;
        let mut all = Vec::new();
        for token in self.input.chunks(stride) {
            for (row, mut sum) in
                reference::matmul(&self.weights, &token[..self.columns as usize]).into_iter().enumerate()
            {
                sum += if flags & BIAS != 0 { f64::from(self.bias[row]) } else { 0.0 };
                sum *= f64::from(self.scale);
                sum += if flags & ACCUMULATE != 0 { 1.0 } else { 0.0 };
                all.push(sum);
            }
        }
        all
    }
}
