//! Streams of a residual, and what brings rows to a size or cuts them off.

use super::random::Random;
use super::{Bench, error};
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

pub async fn streams_are_predicted_and_corrected() {
    let mut bench = Bench::new(true).await;
    for (rows, width) in [(1_usize, 1_usize), (3, 67), (70_001, 1)] {
        let (stride, coef_stride) = (width + 3, 17);
        let streams = [1, 2, 3, 4].map(|seed| Random(seed).floats(rows * stride));
        let (coefs, activated) = (Random(5).floats(rows * coef_stride), Random(6).floats(rows * stride));
        for corrects in [false, true] {
            let (factors, from) = (bench.buffer(&coefs).await, bench.buffer(&activated).await);
            let mut buffers = vec![factors, from];
            for stream in &streams {
                buffers.push(bench.buffer(stream).await);
            }
            let params = MixStreamsParams {
                rows: rows as u32,
                width: width as u32,
                stride: stride as u32,
                coef_stride: coef_stride as u32,
                flags: u32::from(corrects) * CORRECT,
            };
            let bound: Vec<_> = buffers.iter().collect();
            bench.run(KernelId::MixStreams, &bound, &params, grid::mix_streams(&params)).await;
            for (number, stream) in streams.iter().enumerate() {
                let value = |at: usize| {
                    if at % stride >= width {
                        return f64::from(stream[at]);
                    }
                    let given = [0, 1, 2, 3].map(|stream: usize| streams[stream][at]);
                    let own = &coefs[at / stride * coef_stride..];
                    reference::mix_streams(given, own, corrects.then(|| activated[at]))[number]
                };
                let expected: Vec<f64> = (0..rows * stride).map(value).collect();
                let worst = error(&bench.read(&buffers[2 + number]).await, &expected);
                assert!(worst < 1e-6, "stream {number} of {rows} x {width}, corrected: {corrects}: {worst}");
            }
        }
    }
}

pub async fn rows_are_brought_to_the_size_of_others() {
    for mut bench in Bench::all().await {
        for (rows, width) in [(1_usize, 1_usize), (3, 577), (70_001, 3)] {
            let stride = width + 2;
            let mut input: Vec<f32> = Random(1).floats(rows * stride);
            // A row that is too small to be made larger without bound, and one of nothing.
            input[..width].iter_mut().for_each(|x| *x *= 1e-4);
            input[(rows - 1) * stride..].iter_mut().for_each(|x| *x *= if rows > 1 { 0.0 } else { 1.0 });
            let model: Vec<f32> = Random(2).floats(rows * stride).iter().map(|x| x * 5.0).collect();
            for accumulate in [false, true] {
                let (from, like) = (bench.buffer(&input).await, bench.buffer(&model).await);
                let to = bench.buffer(&vec![0.5_f32; rows * stride]).await;
                let params = MatchSizeParams {
                    rows: rows as u32,
                    width: width as u32,
                    stride: stride as u32,
                    floor: 1e-5,
                    flags: u32::from(accumulate) * ACCUMULATE,
                };
                let buffers = [&from, &like, &to];
                bench.run(KernelId::MatchSize, &buffers, &params, grid::match_size(&params)).await;
                let expected: Vec<f64> = (0..rows)
                    .flat_map(|row| {
                        let range = row * stride..row * stride + width;
                        let sized = reference::match_size(&input[range.clone()], &model[range], 1e-5);
                        let sum = sized.into_iter().map(move |x| x + if accumulate { 0.5 } else { 0.0 });
                        sum.chain([0.5; 2]).collect::<Vec<_>>()
                    })
                    .collect();
                let worst = error(&bench.read(&to).await, &expected);
                assert!(worst < 1e-5, "{rows} x {width}, added: {accumulate}: {worst}");
            }
        }
    }
}

pub async fn what_of_a_row_stands_out_is_kept() {
    for mut bench in Bench::all().await {
        for (rows, width, deviations) in [(1_usize, 1_usize, 0.0), (3, 577, 1.6449), (5, 64, -0.5), (70_001, 3, 0.3)] {
            let stride = width + 2;
            let values: Vec<f32> = Random(3).floats(rows * stride).iter().map(|x| x * 4.0 + 1.0).collect();
            let target = bench.buffer(&values).await;
            let params = CutoffParams { rows: rows as u32, width: width as u32, stride: stride as u32, deviations };
            bench.run(KernelId::Cutoff, &[&target], &params, grid::cutoff(&params)).await;
            let expected: Vec<f64> = values
                .chunks(stride)
                .flat_map(|row| {
                    let kept = reference::cutoff(&row[..width], deviations);
                    kept.into_iter().chain(row[width..].iter().map(|x| f64::from(*x))).collect::<Vec<_>>()
                })
                .collect();
            let worst = error(&bench.read(&target).await, &expected);
            assert!(worst < 1e-5, "{rows} x {width}, {deviations} deviations: {worst}");
        }
    }
}
