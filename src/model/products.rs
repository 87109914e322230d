//! Products of matrices with activations: a dispatch for each run of tiles that lie together.

use std::ops::Range;

use super::executor::{Executor, Sources, Vectors, WORK_PER_SUBMIT, lost_tile};
use super::program::{Form, Product, Slot};
use crate::Result;
use crate::gpu::kernels::{BIAS, InputWindow, MatMulParams, MatMulTransposedParams, grid};
use crate::gpu::recorder::Bind;
use crate::stream::Placement;

impl Executor {
    /// Multiplies `tokens` rows.
    pub(super) async fn product(&mut self, product: &Product, tokens: u32, vectors: Vectors) -> Result<()> {
        let tiles = self.stream.table().tiles_of(product.matrix.pieces());
        let mut tile = tiles.start;
        while tile < tiles.end {
            self.bring(tile).await?;
            if self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            tile = self.product_of_run(product, tile..tiles.end, tokens, vectors).await?;
        }
        Ok(())
    }

    /// The first of `tiles` and those that lie together with it, in one dispatch or one for each window of the input; returns
    /// the tile after them.
    async fn product_of_run(
        &mut self,
        product: &Product,
        tiles: Range<usize>,
        tokens: u32,
        vectors: Vectors,
    ) -> Result<usize> {
        let (first, matrix) = (tiles.start, &product.matrix);
        let start = self.stream.locate(first).ok_or_else(lost_tile)?;
        let most_rows = WORK_PER_SUBMIT / (matrix.columns * u64::from(tokens)).max(1);
        let (rows, next) = self.together(start, tiles, most_rows);
        let tile = self.stream.table().tile(first);
        let first_row = matrix.first_rows[tile.piece - matrix.first_piece] + tile.first_row;
        let mut params = MatMulParams { rows: rows as u32, first_row: first_row as u32, ..product.params };
        if params.flags & BIAS != 0 {
            params.bias_offset = params.bias_offset.wrapping_add(vectors.base);
        }
        let space = product.space(self.uniform_inputs, tokens);
        let kernel = self.kernel(product.kernel(space, tokens))?;
        self.work += rows * matrix.columns * u64::from(tokens);
        for window in space.windows(product.input_row_bytes, tokens) {
            if self.recorder.is_full() {
                self.submit().await?;
            }
            // A submit takes no tile away.
            let start = self.stream.locate(first).ok_or_else(lost_tile)?;
            self.recorder.set_weights(first..next, rows * matrix.encoding.row_stride(matrix.columns));
            let InputWindow { first_token, tokens, base: input_base, .. } = window;
            let weight_base = (start.offset_bytes / 16) as u32;
            let params = MatMulParams { weight_base, first_token, tokens, input_base, ..params };
            let sources = Sources { buffers: &self.buffers, stream: &self.stream, kv: &self.kv, vectors: self.vectors };
            let (weights, output) = (Bind::from(start.buffer), sources.buffer(product.output));
            if let Form::Transposed(transposed) = product.form {
                let params = MatMulTransposedParams {
                    rows: params.rows,
                    first_row: params.first_row,
                    weight_base,
                    tokens,
                    ..transposed
                };
                let binds = [weights, weights, sources.buffer(product.input), output];
                self.recorder.dispatch(&kernel, &binds, &params, grid::matmul_transposed(&params))?;
            } else {
                let input = Bind::window(&self.buffers[usize::from(product.input.0)], window);
                let binds = [weights, weights, input, sources.bind(Slot::Vectors, vectors)?, output];
                let size = grid::matmul(&self.tuning, kernel.id, &params);
                self.recorder.dispatch(&kernel, &binds, &params, size)?;
            }
        }
        Ok(next)
    }

    /// Rows of the tiles that lie together from the first one on, which lies at `start`, and the tile after them; no more
    /// tiles than `most_rows` are reached with.
    fn together(&self, start: Placement<'_>, tiles: Range<usize>, most_rows: u64) -> (u64, usize) {
        let tile = self.stream.table().tile(tiles.start);
        let (mut rows, mut next, mut bytes) = (tile.rows, tiles.start + 1, tile.len_bytes);
        while next < tiles.end && rows < most_rows {
            let Some(place) = self.stream.locate(next) else { break };
            if place.buffer.id() != start.buffer.id() || place.offset_bytes != start.offset_bytes + bytes {
                break;
            }
            let tile = self.stream.table().tile(next);
            rows += tile.rows;
            bytes += tile.len_bytes;
            next += 1;
        }
        (rows, next)
    }
}
