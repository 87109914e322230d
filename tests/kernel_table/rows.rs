//! Rows and columns that are copied, gathered and scattered.

use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

use super::{Bench, Random, error};

pub(super) async fn rows_are_gathered() {
    let mut bench = Bench::new(true).await;
    let rows: Vec<Vec<f32>> = (0..6).map(|row| Random(row).floats(33)).collect();
    let (indices, factors) = ([9_u32, 9, 5, 0, 0, 3], [8.0_f32, 8.0, 1.0, -2.0, 0.25, 0.0]);
    let (input, index) = (bench.buffer(&rows.concat()).await, bench.buffer(&indices).await);
    let factor = bench.buffer(&factors).await;
    for flags in [0, FACTORS] {
        let output = bench.buffer(&[0.0_f32; 4 * 40]).await;
        let params =
            GatherRowsParams { rows: 4, width: 33, input_stride: 33, output_stride: 40, indices_offset: 2, flags };
        let buffers = [&input, &index, &factor, &output];
        bench.run(KernelId::GatherRows, &buffers, &params, grid::gather_rows(&params)).await;
        let actual: Vec<f32> = bench.read(&output).await;
        let factors = if flags == 0 { [1.0; 4] } else { [1.0, -2.0, 0.25, 0.0] };
        for (row, expected) in actual.chunks(40).zip(reference::gather_rows(&rows, &indices[2..], &factors)) {
            assert_eq!(row[..33], expected);
            assert_eq!(row[33..], [0.0; 7], "what is between rows stays");
        }
    }
}

pub(super) async fn rows_are_scattered_with_their_factors() {
    let mut bench = Bench::new(true).await;
    let (before, rows) = ([0, 1, 2, 3].map(|row| Random(row).floats(40)), [7, 8].map(|row| Random(row).floats(33)));
    let (indices, factors) = ([9_u32, 3, 1], [9.0_f32, 0.25, -2.0]);
    let (input, index) = (bench.buffer(&rows.concat()).await, bench.buffer(&indices).await);
    let factor = bench.buffer(&factors).await;
    for flags in [0, FACTORS] {
        let output = bench.buffer(&before.concat()).await;
        let params = ScatterRowsParams { rows: 2, width: 33, input_stride: 33, output_stride: 40, first: 1, flags };
        let buffers = [&input, &index, &factor, &output];
        bench.run(KernelId::ScatterRows, &buffers, &params, grid::scatter_rows(&params)).await;
        let factors = if flags == 0 { &[1.0; 2] } else { &factors[1..] };
        let expected = reference::scatter_rows(&before, &rows, &indices[1..], factors).concat();
        let worst = error(&bench.read(&output).await, &expected);
        assert!(worst < 1e-6, "{worst}");
    }
}

pub(super) async fn columns_are_placed_in_groups() {
    let mut bench = Bench::new(true).await;
    for (groups, width, shared) in [(1, 5, false), (4, 16, true), (3, 12, false)] {
        let (rows, group, first) = (3, width + 9, 7);
        let in_width = if shared { width } else { groups * width };
        let (input, before) = (Random(1).floats(rows * in_width), Random(2).floats(rows * groups * group));
        let (from, to) = (bench.buffer(&input).await, bench.buffer(&before).await);
        let params = PlaceColumnsParams {
            rows: rows as u32,
            groups: groups as u32,
            width: width as u32,
            input_stride: in_width as u32,
            input_group: if shared { 0 } else { width as u32 },
            output_stride: (groups * group) as u32,
            output_group: group as u32,
            first: first as u32,
        };
        bench.run(KernelId::PlaceColumns, &[&from, &to], &params, grid::place_columns(&params)).await;
        let pairs = before.chunks(groups * group).zip(input.chunks(in_width));
        let expected: Vec<f32> =
            pairs.flat_map(|(out, row)| reference::place_columns(out, row, groups, width, first)).collect();
        assert_eq!(bench.read::<f32>(&to).await, expected, "{groups} x {width}");
    }
}
