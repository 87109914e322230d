//! Tensors that lie in pieces, or turned, in their checkpoint.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pollster::block_on;

use super::tests::{decoded, go, open, options, source_values, tensor};
use super::*;
use crate::checkpoint::{Companion, Source};
use crate::encoding::Encoding;
use crate::plan::{RowMap, layer_tensor};
use crate::platform::BoxFuture;
use crate::shard::testing::{checkpoint, plain_bytes, spec};
use crate::store::{MemoryStore, Store};

/// Appends bytes to the first file of a checkpoint; where they begin.
fn append(source: &MemoryStore, checkpoint: &mut Checkpoint, bytes: &[u8]) -> u64 {
    let (name, len) = &mut checkpoint.files[0];
    let offset = *len;
    let all = [&source.get(name).expect("there"), bytes].concat();
    *len = all.len() as u64;
    source.insert(name.clone(), all);
    offset
}

#[test]
fn a_transposed_matrix_splits_into_the_bytes_of_its_transpose() {
    for weights in [Weights::Original, Weights::Q8] {
        let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
        let golden = MemoryStore::new();
        block_on(split(&checkpoint, &spec(false), &source, &golden, &options(weights), &mut go)).expect("split");
        let up = layer_tensor(0, "mlp.up_proj.weight");
        let values = source_values(&source, &tensor(&mut checkpoint, &up).clone(), &checkpoint.files);
        let turned = (0..64).flat_map(|column| (0..40).map(move |row| row * 64 + column)).map(|i| values[i]);
        let offset = append(&source, &mut checkpoint, &plain_bytes(Encoding::BF16, turned));
        let tensor = tensor(&mut checkpoint, &up);
        (tensor.offset_bytes, tensor.transposed) = (offset, true);
        let sink = MemoryStore::new();
        block_on(split(&checkpoint, &spec(false), &source, &sink, &options(weights), &mut go)).expect("split");
        assert_eq!(sink.get("layer-00000.safetensors"), golden.get("layer-00000.safetensors"));
    }
}

#[test]
fn planes_of_their_own_are_put_together_and_vectors_are_joined() {
    let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
    // Q8_0: quants of 8 rows of 64, and a row of two f16 scales for each two rows.
    let quants: Vec<u8> = (0..8 * 64).map(|i| i as u8).collect();
    let scales: Vec<u8> = (0..4 * 2).flat_map(|i| half::f16::from_f32(i as f32 + 0.5).to_le_bytes()).collect();
    let (quants_at, scales_at) = (append(&source, &mut checkpoint, &quants), append(&source, &mut checkpoint, &scales));
    let companion = |offset_bytes, len_bytes, rows_each| {
        let source_name = "scales".to_owned();
        Companion { source_name, file: 0, offset_bytes, len_bytes, rows_each }
    };
    let q = tensor(&mut checkpoint, &layer_tensor(0, "self_attn.q_proj.weight"));
    (q.source, q.offset_bytes, q.len_bytes) = (Source::Planes(Encoding::Q8_0), quants_at, 8 * 64);
    q.companions = vec![companion(scales_at, 16, 2)];
    // The last three values of the bias in two places.
    let bias = tensor(&mut checkpoint, &layer_tensor(0, "self_attn.q_proj.bias")).clone();
    let published = source_values(&source, &bias, &checkpoint.files);
    let rest = append(&source, &mut checkpoint, &plain_bytes(Encoding::BF16, [7.0, 8.0].into_iter()));
    let last = append(&source, &mut checkpoint, &plain_bytes(Encoding::BF16, [9.0].into_iter()));
    let short = tensor(&mut checkpoint, &bias.name);
    (short.len_bytes, short.companions) = (5 * 2, vec![companion(rest, 4, 1), companion(last, 2, 1)]);
    let sink = MemoryStore::new();
    let options = options(Weights::Original);
    block_on(split(&checkpoint, &spec(false), &source, &sink, &options, &mut go)).expect("split");
    let model = open(sink);
    let weights = (0..512).map(|i| (i / 128 * 2 + i % 64 / 32) as f32 + 0.5).zip(&quants);
    let expected: Vec<f32> = weights.map(|(scale, quant)| scale * f32::from(*quant as i8)).collect();
    assert_eq!(decoded(&model, &layer_tensor(0, "self_attn.q_proj.weight")), expected);
    assert_eq!(decoded(&model, &bias.name), [&published[..5], &[7.0, 8.0, 9.0]].concat());
}

#[test]
fn negated_exponentials_become_what_they_are_of() {
    let name = layer_tensor(0, "self_attn.q_proj.bias");
    let split_as = |values: [f32; 8]| {
        let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let offset = append(&source, &mut checkpoint, &bytes);
        let bias = tensor(&mut checkpoint, &name);
        (bias.source, bias.offset_bytes, bias.len_bytes) = (Source::NegatedExp(Encoding::F32), offset, 32);
        let sink = MemoryStore::new();
        block_on(split(&checkpoint, &spec(false), &source, &sink, &options(Weights::Original), &mut go))?;
        Ok::<_, Error>(decoded(&open(sink), &name))
    };
    let logs = [-80.0_f32, -2.5, -1e-7, 0.0, 1e-3, 0.7, 16.0, 88.0];
    let found = split_as(logs.map(|log| -f64::from(log).exp() as f32)).expect("splits");
    for (found, log) in found.iter().zip(logs) {
        assert!((found - log).abs() <= 1e-6 * log.abs().max(1.0), "{found} instead of {log}");
    }
    for wrong in [0.0, -0.0, 0.5, f32::NAN, f32::NEG_INFINITY] {
        let error = split_as([-1.0, -1.0, wrong, -1.0, -1.0, -1.0, -1.0, -1.0]).expect_err("refused");
        assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Malformed, Some(&*name)), "{wrong}: {error}");
    }
}

#[test]
fn companions_that_do_not_fit_are_refused_by_tensor() {
    let one = |tensor: &mut Tensor, len_bytes, rows_each| {
        let source_name = "scales".to_owned();
        tensor.companions = vec![Companion { source_name, file: 0, offset_bytes: 0, len_bytes, rows_each }];
    };
    let planes = |tensor: &mut Tensor| (tensor.source, tensor.len_bytes) = (Source::Planes(Encoding::Q8_0), 8 * 64);
    type Change<'a> = &'a dyn Fn(&mut Tensor);
    let cases: [(&str, Change<'_>); 6] = [
        ("not needed", &|tensor| one(tensor, 4, 1)),
        ("no scales", &|tensor| planes(tensor)),
        ("too short", &|tensor| {
            planes(tensor);
            one(tensor, 30, 1);
        }),
        ("no rows each", &|tensor| {
            planes(tensor);
            one(tensor, 32, 0);
        }),
        ("more rows each than there are numbers", &|tensor| {
            planes(tensor);
            one(tensor, 32, u64::MAX);
        }),
        ("transposed blocks", &|tensor| {
            planes(tensor);
            one(tensor, 32, 1);
            tensor.transposed = true;
        }),
    ];
    for (what, change) in cases {
        let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
        change(tensor(&mut checkpoint, &layer_tensor(0, "self_attn.q_proj.weight")));
        let sink = MemoryStore::new();
        let result = block_on(split(&checkpoint, &spec(false), &source, &sink, &options(Weights::Original), &mut go));
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{what}: {error}");
        assert!(error.tensor_name().is_some(), "{what}: {error}");
    }
}

/// A store that counts its reads.
struct Counting<'a>(&'a MemoryStore, AtomicU64);

impl Store for Counting<'_> {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.0.len(name)
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        self.1.fetch_add(1, Relaxed);
        self.0.read_at(name, offset_bytes, buffer)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.0.list()
    }

    fn describe(&self, name: &str) -> String {
        self.0.describe(name)
    }
}

#[test]
fn rows_that_alternate_with_others_are_read_together() {
    let reads = |change: &dyn Fn(&mut Tensor)| {
        let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
        let values = (0..80 * 64).map(|i| i as f32);
        let offset = append(&source, &mut checkpoint, &plain_bytes(Encoding::BF16, values));
        let up = layer_tensor(0, "mlp.up_proj.weight");
        let tensor = tensor(&mut checkpoint, &up);
        (tensor.offset_bytes, tensor.len_bytes, tensor.source_rows) = (offset, 80 * 64 * 2, 80);
        change(tensor);
        let map = tensor.rows;
        let (sink, counting) = (MemoryStore::new(), Counting(&source, AtomicU64::new(0)));
        let options = options(Weights::Original);
        block_on(split(&checkpoint, &spec(false), &counting, &sink, &options, &mut go)).expect("split");
        let rows = (0..40).flat_map(|row| (0..64).map(move |i| (map.source(row) * 64 + i) as f32));
        let expected: Vec<f32> = rows.map(|value| half::bf16::from_f32(value).to_f32()).collect();
        assert_eq!(decoded(&open(sink), &up), expected, "{map:?}");
        counting.1.into_inner()
    };
    let one = reads(&|tensor| tensor.rows = RowMap::from_row(3));
    for (first, run, stride) in [(0, 1, 2), (1, 1, 2), (0, 8, 16), (8, 8, 16)] {
        let map = RowMap { first, run, stride, rotary: None };
        assert_eq!(reads(&|tensor| tensor.rows = map), one, "{map:?}");
    }
    let apart = RowMap { first: 0, run: 20, stride: 60, rotary: None };
    assert_eq!(reads(&|tensor| tensor.rows = apart), one + 1, "long gaps are not read");
}
