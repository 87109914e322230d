//! Norms, each group against its CPU twin.

use super::random::Random;
use super::{Bench, error};
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::plan::NormKind;
use tilestream::internals::reference;

/// A norm of `rows` rows of `groups` groups; in place where asked to.
async fn norm_case(bench: &mut Bench, kind: NormKind, (rows, groups, width): (usize, usize, usize), in_place: bool) {
    let mut random = Random((width + groups) as u64);
    let row_width = groups * width;
    let input: Vec<f32> = random.floats(rows * row_width).iter().map(|x| x + 0.3).collect();
    // Behind two values that are not touched.
    let behind = |row: &[f32]| [&[7.0; 2], row].concat();
    let from: Vec<f32> = input.chunks(row_width).flat_map(behind).collect();
    let stride = row_width as u32 + 2;
    let vectors = random.floats(4 + 3 * row_width);
    // The last groups have a weight behind the others.
    let (later, later_at) = (groups - groups / 3, 4 + 2 * row_width);
    let per_group = groups > 1 && kind == NormKind::Layer;
    let (from, vector_buffer) = (bench.buffer(&from).await, bench.buffer(&vectors).await);
    let to = bench.buffer(&vec![1.0_f32; rows * (row_width + 2)]).await;
    let accumulate = !in_place && rows < 4;
    let set = [(true, WEIGHT), (true, BIAS), (accumulate, ACCUMULATE), (kind == NormKind::Layer, LAYER)];
    let flags = set.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum();
    let params = NormParams {
        rows: rows as u32,
        groups: groups as u32,
        width: width as u32,
        input_stride: stride,
        output_stride: stride,
        weight_offset: 4,
        bias_offset: 4 + row_width as u32,
        weight_stride: if per_group { width as u32 } else { 0 },
        epsilon: 1e-3,
        scale: 0.7,
        flags,
        first: 2,
        later: later as u32,
        later_offset: later_at as u32,
        output_first: 2,
        factor_offset: 0,
    };
    let (id, buffers) = match in_place {
        true => (KernelId::NormInPlace, vec![&vector_buffer, &from]),
        false => (KernelId::Norm, vec![&from, &vector_buffer, &to]),
    };
    bench.run(id, &buffers, &params, grid::norm(&params)).await;
    let mut expected = Vec::new();
    for (index, group) in input.chunks(width).enumerate() {
        if index % groups == 0 {
            expected.extend(if in_place { [7.0; 2] } else { [1.0; 2] });
        }
        let (number, stride) = (index % groups, if per_group { width } else { 0 });
        let at = if number < later { 4 + number * stride } else { later_at + (number - later) * stride };
        let bias_at = 4 + row_width + number * stride;
        let (weight, bias) = (&vectors[at..at + width], &vectors[bias_at..bias_at + width]);
        let normal = reference::norm(kind, group, weight, bias, 1e-3);
        expected.extend(normal.iter().map(|x| x * f64::from(0.7_f32) + if accumulate { 1.0 } else { 0.0 }));
    }
    let actual = bench.read(if in_place { &from } else { &to }).await;
    let worst = error(&actual, &expected);
    assert!(worst < 1e-5, "{kind:?} {rows} x {groups} x {width}, in place: {in_place}: {worst}");
}

pub async fn norms_match() {
    for mut bench in Bench::all().await {
        for kind in [NormKind::Rms, NormKind::Layer] {
            for shape in [(1, 1, 1), (2, 1, 7), (3, 5, 64), (5, 1, 577), (35_000, 2, 3)] {
                for in_place in [false, true] {
                    norm_case(&mut bench, kind, shape, in_place).await;
                }
            }
        }
    }
}

/// Groups that go to another place of a row, as values that are made of keys do, and are multiplied with a number.
pub async fn norms_go_elsewhere_and_are_multiplied() {
    let (rows, groups, width, first, output_first) = (3_usize, 2_usize, 37_usize, 2_usize, 80_usize);
    let stride = output_first + groups * width + 1;
    for mut bench in Bench::all().await {
        for (in_place, accumulate) in [(true, false), (false, false), (false, true)] {
            let mut random = Random(9);
            let (input, vectors) = (random.floats(rows * stride), random.floats(2 + width));
            let (from, vector_buffer) = (bench.buffer(&input).await, bench.buffer(&vectors).await);
            let to = bench.buffer(&vec![0.5_f32; rows * stride]).await;
            let params = NormParams {
                rows: rows as u32,
                groups: groups as u32,
                width: width as u32,
                input_stride: stride as u32,
                output_stride: stride as u32,
                weight_offset: 2,
                epsilon: 1e-3,
                scale: 0.7,
                flags: WEIGHT | FACTOR | (u32::from(accumulate) * ACCUMULATE),
                first: first as u32,
                later: u32::MAX,
                output_first: output_first as u32,
                factor_offset: 1,
                ..NormParams::default()
            };
            let (id, buffers) = match in_place {
                true => (KernelId::NormInPlace, vec![&vector_buffer, &from]),
                false => (KernelId::Norm, vec![&from, &vector_buffer, &to]),
            };
            bench.run(id, &buffers, &params, grid::norm(&params)).await;
            let before = if in_place { input.clone() } else { vec![0.5; rows * stride] };
            let mut expected: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
            for (row, group) in (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group))) {
                let (at, to) = (row * stride + first + group * width, row * stride + output_first + group * width);
                let normal =
                    reference::norm(NormKind::Rms, &input[at..at + width], &vectors[2..], &vec![0.0; width], 1e-3);
                for (i, value) in normal.iter().enumerate() {
                    let sum = value * f64::from(0.7_f32) + if accumulate { 0.5 } else { 0.0 };
                    expected[to + i] = sum * f64::from(vectors[1]);
                }
            }
            let actual = bench.read(if in_place { &from } else { &to }).await;
            let worst = error(&actual, &expected);
            assert!(worst < 1e-5, "in place: {in_place}, added: {accumulate}: {worst}");
        }
    }
}
