//! Products whose matrix comes in groups of rows: one for each head.

use tilestream::internals::encoding::{self, ENCODINGS, Encoding};
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

use super::random::{Random, random_row};
use super::{Bench, bits, error};

/// `groups` groups of `group_rows` rows, packed and as numbers.
struct Grouped {
    encoding: Encoding,
    columns: u64,
    group_rows: usize,
    packed: Vec<u8>,
    weights: Vec<Vec<f32>>,
}

impl Grouped {
    fn new(encoding: Encoding, (groups, group_rows): (usize, usize), columns: u64) -> Self {
        let mut random = Random(columns + group_rows as u64);
        let (mut packed, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..groups * group_rows {
            let row = random_row(encoding, columns, &mut random);
            let mut values = vec![0.0; columns as usize];
            encoding::decode_row(encoding, &row, columns, &mut values).expect("decodes");
            packed.extend(row);
            weights.push(values);
        }
        Self { encoding, columns, group_rows, packed, weights }
    }

    fn groups(&self) -> std::slice::Chunks<'_, Vec<f32>> {
        self.weights.chunks(self.group_rows)
    }

    fn row_stride(&self) -> u32 {
        (self.encoding.row_stride(self.columns) / 16) as u32
    }

    fn plane(&self, index: usize) -> u32 {
        let there = index < self.encoding.descriptor().planes.len();
        if there { (self.encoding.plane_offset(self.columns, index) / 16) as u32 } else { 0 }
    }

    /// `[tokens][rows]` of inputs `[tokens][groups][input_group]`, with tiles of `tile_rows` rows a dispatch.
    async fn product(&self, bench: &mut Bench, input: &[f32], tokens: usize, tile_rows: usize) -> Vec<f32> {
        let rows = self.weights.len();
        let (weights, input_buffer) = (bench.buffer(&self.packed).await, bench.buffer(input).await);
        let output = bench.buffer(&vec![0.0_f32; tokens * rows]).await;
        let input_stride = input.len() / tokens;
        for first in (0..rows).step_by(tile_rows) {
            let params = MatMulParams {
                rows: tile_rows.min(rows - first) as u32,
                first_row: first as u32,
                weight_base: first as u32 * self.row_stride(),
                row_stride: self.row_stride(),
                chunks: self.columns.div_ceil(32) as u32,
                tokens: tokens as u32,
                input_stride: input_stride as u32 / 4,
                output_stride: rows as u32,
                plane1: self.plane(1),
                plane2: self.plane(2),
                plane3: self.plane(3),
                scale: 1.0,
                group_rows: self.group_rows as u32,
                input_group: (input_stride / self.groups().len()) as u32 / 4,
                ..MatMulParams::default()
            };
            let id = KernelId::MatVecInGroups(self.encoding);
            let size = grid::matmul(bench.kernels.tuning(), id, &params);
            let buffers = [&weights, &weights, &input_buffer, &input_buffer, &output];
            bench.run(id, &buffers, &params, size).await;
        }
        bench.read(&output).await
    }

    /// `[tokens][groups][columns + gap]`, each group of the input with `first` values before those that count.
    async fn transposed(
        &self,
        bench: &mut Bench,
        input: &[f32],
        (tokens, first, gap): (usize, usize, usize),
        tile_rows: usize,
    ) -> Vec<f32> {
        let (rows, groups, output_group) = (self.weights.len(), self.groups().len(), self.columns as usize + gap);
        let (weights, input_buffer) = (bench.buffer(&self.packed).await, bench.buffer(input).await);
        let output = bench.buffer(&vec![9.0_f32; tokens * groups * output_group]).await;
        let input_stride = input.len() / tokens;
        for first_row in (0..rows).step_by(tile_rows) {
            let params = MatMulTransposedParams {
                rows: tile_rows.min(rows - first_row) as u32,
                first_row: first_row as u32,
                weight_base: first_row as u32 * self.row_stride(),
                row_stride: self.row_stride(),
                columns: self.columns as u32,
                tokens: tokens as u32,
                input_stride: input_stride as u32,
                output_stride: (groups * output_group) as u32,
                plane1: self.plane(1),
                plane2: self.plane(2),
                plane3: self.plane(3),
                group_rows: self.group_rows as u32,
                first: first as u32,
                input_group: (input_stride / groups) as u32,
                output_group: output_group as u32,
            };
            let (id, size) = (KernelId::MatMulTransposed(self.encoding), grid::matmul_transposed(&params));
            bench.run(id, &[&weights, &weights, &input_buffer, &output], &params, size).await;
        }
        bench.read(&output).await
    }
}

/// Columns that fill whole blocks, and for plain numbers some that do not.
fn widths(encoding: Encoding) -> Vec<u64> {
    let block = ENCODINGS.iter().find(|row| row.encoding == encoding).expect("in the table").block;
    if encoding.descriptor().plain.is_some() { vec![20, 32, 67] } else { vec![block, 2 * block] }
}

pub(super) async fn products_in_groups_match() {
    for mut bench in Bench::all().await {
        for row in ENCODINGS {
            for columns in widths(row.encoding) {
                let (groups, group_rows, tokens) = (5, 7, 3);
                let grouped = Grouped::new(row.encoding, (groups, group_rows), columns);
                let padded = columns.next_multiple_of(32) as usize;
                let mut input = vec![0.0; tokens * groups * padded];
                for (index, part) in input.chunks_mut(padded).enumerate() {
                    part[..columns as usize].copy_from_slice(&Random(index as u64).floats(columns as usize));
                }
                let part =
                    |(part, weights): (&[f32], &[Vec<f32>])| reference::matmul(weights, &part[..columns as usize]);
                let expected: Vec<f64> = input.chunks(padded).zip(grouped.groups().cycle()).flat_map(part).collect();
                let whole = grouped.product(&mut bench, &input, tokens, groups * group_rows).await;
                let worst = error(&whole, &expected);
                assert!(worst < 1e-5, "{} {columns} columns: {worst}", row.name);
                let cut = grouped.product(&mut bench, &input, tokens, 4).await;
                assert_eq!(bits(&cut), bits(&whole), "{}", row.name);
            }
        }
    }
}

pub(super) async fn transposed_products_match_wherever_tiles_are_cut() {
    let mut bench = Bench::new(true).await;
    for row in ENCODINGS {
        for columns in widths(row.encoding) {
            let (groups, group_rows, tokens, first, gap) = (5, 13, 3, 6, 4);
            let grouped = Grouped::new(row.encoding, (groups, group_rows), columns);
            let group = first + group_rows;
            let input = Random(columns).floats(tokens * groups * group);
            let mut expected = Vec::new();
            for (part, weights) in input.chunks(group).zip(grouped.groups().cycle()) {
                expected.extend(reference::matmul_transposed(weights, &part[first..]));
                // What is between groups stays.
                expected.extend([9.0; 4]);
            }
            let shape = (tokens, first, gap);
            let whole = grouped.transposed(&mut bench, &input, shape, groups * group_rows).await;
            let worst = error(&whole, &expected);
            assert!(worst < 1e-5, "{} {columns} columns: {worst}", row.name);
            for tile_rows in [1, 5, 13, 20] {
                let cut = grouped.transposed(&mut bench, &input, shape, tile_rows).await;
                assert_eq!(bits(&cut), bits(&whole), "{} in tiles of {tile_rows} rows", row.name);
            }
        }
    }
}
