//! The convolution and the delta rule over recurrent states, against their CPU twins.

use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference::{self, DeltaRow};

use super::{Bench, Random, error};

/// Runs of rows, each a sequence's: first position, rows, slot.
type Runs = [(u32, usize, usize)];

/// A sequence from its start, in a slot that another used before; one that goes on; a single row. A slot is left alone.
const RUNS: &Runs = &[(0, 5, 2), (7, 4, 0), (3, 1, 3)];
const SLOTS: usize = 4;
/// Where what is wanted begins in the vectors.
const OFFSET: usize = 3;

fn meta(runs: &Runs) -> Vec<[u32; 4]> {
    let row = |(position, rows, slot): (u32, usize, usize), index: usize| {
        [position + index as u32, 99, slot as u32, if index == 0 { rows as u32 } else { 0 }]
    };
    runs.iter().flat_map(|run| (0..run.1).map(move |index| row(*run, index))).collect()
}

fn rows_of(runs: &Runs) -> usize {
    runs.iter().map(|run| run.1).sum()
}

/// Channels `first..first + width` of a convolution over `channels`, with states of `stride` floats.
async fn conv_case(bench: &mut Bench, (first, width, channels): (usize, usize, usize)) {
    let (mut random, stride, state_stride) = (Random(width as u64), width + 5, 3 * channels + 7);
    let values: Vec<f32> = random.floats(rows_of(RUNS) * stride).iter().map(|x| x * 9.0).collect();
    let (vectors, state) = (random.floats(OFFSET + 4 * channels), random.floats(SLOTS * state_stride));
    let buffers = [bench.buffer(&vectors).await, bench.buffer(&meta(RUNS)).await, bench.buffer(&state).await];
    let target = bench.buffer(&values).await;
    let params = ConvParams {
        width: width as u32,
        stride: stride as u32,
        first: first as u32,
        channels: channels as u32,
        weight_offset: OFFSET as u32,
        state_stride: state_stride as u32,
    };
    let [weights, rows, states] = &buffers;
    let size = grid::conv(&params, rows_of(RUNS) as u32);
    bench.run(KernelId::Conv, &[weights, rows, states, &target], &params, size).await;
    let to_f64 = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| f64::from(*x)).collect() };
    let (mut expected, mut after) = (to_f64(&values), to_f64(&state));
    let mut start = 0;
    for (position, rows, slot) in RUNS {
        for column in 0..width {
            let channel = first + column;
            let at = |tap: usize| slot * state_stride + tap * channels + channel;
            let before = [0, 1, 2].map(|tap| if *position == 0 { 0.0 } else { state[at(tap)] });
            let x: Vec<f32> = (start..start + rows).map(|row| values[row * stride + column]).collect();
            let weight = [0, 1, 2, 3].map(|tap| vectors[OFFSET + 4 * channel + tap]);
            for (row, y) in reference::conv(before, &x, weight).into_iter().enumerate() {
                expected[(start + row) * stride + column] = y;
            }
            let all = [&before[..], &x].concat();
            for tap in 0..3 {
                after[at(tap)] = f64::from(all[all.len() - 3 + tap]);
            }
        }
        start += rows;
    }
    let (worst, kept) = (error(&bench.read(&target).await, &expected), error(&bench.read(states).await, &after));
    assert!(worst < 1e-6 && kept == 0.0, "{width} of {channels} channels: {worst}, state {kept}");
}

pub(super) async fn convolutions_go_on_where_their_sequences_stopped() {
    let mut bench = Bench::new(true).await;
    for shape in [(0, 1, 1), (0, 64, 64), (5, 63, 100), (70, 129, 199)] {
        conv_case(&mut bench, shape).await;
    }
}

/// A delta rule's numbers: key heads, heads, key and value dim.
struct Rule {
    shape: [usize; 4],
    tiled: bool,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    decay: Vec<f32>,
    beta: Vec<f32>,
    vectors: Vec<f32>,
    state: Vec<f32>,
}

impl Rule {
    fn new(shape: [usize; 4]) -> Self {
        let [key_heads, heads, key_dim, value_dim] = shape;
        let (mut random, rows) = (Random(key_dim as u64), rows_of(RUNS));
        let length = 1.0 / (key_dim as f32).sqrt();
        let mut scaled = |len: usize, by: f32| random.floats(len).iter().map(|x| x * by).collect::<Vec<_>>();
        let mut decay = scaled(rows * heads, 4.0);
        // Far out on both sides, and where 1 + exp(x) has lost most of exp(x).
        let far = [-60.0, 60.0, -9.0, -3.9, -4.1];
        decay.iter_mut().zip(far).for_each(|(value, far)| *value = far);
        Self {
            shape,
            tiled: false,
            query: scaled(rows * key_heads * key_dim, length),
            key: scaled(rows * key_heads * key_dim, length),
            value: scaled(rows * heads * value_dim, 3.0),
            decay,
            beta: scaled(rows * heads, 5.0),
            vectors: scaled(OFFSET + 2 * heads, 2.0),
            state: scaled(SLOTS * Self::stride(shape), 1.0),
        }
    }

    fn stride([_, heads, key_dim, value_dim]: [usize; 4]) -> usize {
        OFFSET + heads * key_dim * value_dim
    }

    /// Values and states after the rule; rows of `pieces` of the runs a dispatch.
    async fn run(&self, bench: &mut Bench, pieces: &[&Runs]) -> (Vec<f32>, Vec<f32>) {
        let [key_heads, heads, key_dim, value_dim] = self.shape;
        let params = DeltaRuleParams {
            heads: heads as u32,
            key_heads: key_heads as u32,
            key_dim: key_dim as u32,
            value_dim: value_dim as u32,
            query_stride: (key_heads * key_dim) as u32,
            key_stride: (key_heads * key_dim) as u32,
            value_stride: (heads * value_dim) as u32,
            decay_stride: heads as u32,
            beta_stride: heads as u32,
            rate_offset: OFFSET as u32,
            bias_offset: (OFFSET + heads) as u32,
            state_offset: OFFSET as u32,
            state_stride: Self::stride(self.shape) as u32,
            tiled: u32::from(self.tiled),
        };
        let (vectors, state) = (bench.buffer(&self.vectors).await, bench.buffer(&self.state).await);
        let (mut all, mut start) = (Vec::new(), 0);
        for runs in pieces {
            let rows = rows_of(runs);
            let part = |values: &[f32]| -> Vec<f32> {
                let width = values.len() / rows_of(RUNS);
                values[start * width..(start + rows) * width].to_vec()
            };
            let [query, key, decay, beta] = [&self.query, &self.key, &self.decay, &self.beta].map(|v| part(v));
            let (query, key) = (bench.buffer(&query).await, bench.buffer(&key).await);
            let (decay, beta) = (bench.buffer(&decay).await, bench.buffer(&beta).await);
            let (meta, value) = (bench.buffer(&meta(runs)).await, bench.buffer(&part(&self.value)).await);
            let buffers = [&query, &key, &decay, &beta, &vectors, &meta, &state, &value];
            bench.run(KernelId::DeltaRule, &buffers, &params, grid::delta_rule(&params, rows as u32)).await;
            all.extend(bench.read::<f32>(&value).await.into_iter().take(rows * heads * value_dim));
            start += rows;
        }
        (all, bench.read(&state).await)
    }

    /// The same by the twin.
    fn expected(&self) -> (Vec<f64>, Vec<f64>) {
        let [key_heads, heads, key_dim, value_dim] = self.shape;
        let to_f64 = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| f64::from(*x)).collect() };
        let (mut values, mut after, mut start) = (to_f64(&self.value), to_f64(&self.state), 0);
        for (position, rows, slot) in RUNS {
            for head in 0..heads {
                let at = slot * Self::stride(self.shape) + OFFSET + head * key_dim * value_dim;
                let mut state: Vec<Vec<f64>> =
                    after[at..at + key_dim * value_dim].chunks(value_dim).map(<[f64]>::to_vec).collect();
                if *position == 0 {
                    state.iter_mut().for_each(|row| row.fill(0.0));
                }
                let key_head = if self.tiled { head % key_heads } else { head / (heads / key_heads) };
                let key_at = key_head * key_dim;
                for row in start..start + rows {
                    let at_key = row * key_heads * key_dim + key_at;
                    let at_value = (row * heads + head) * value_dim;
                    let row = DeltaRow {
                        query: &self.query[at_key..at_key + key_dim],
                        key: &self.key[at_key..at_key + key_dim],
                        value: &self.value[at_value..at_value + value_dim],
                        decay: self.decay[row * heads + head],
                        beta: self.beta[row * heads + head],
                    };
                    let (rate, bias) = (self.vectors[OFFSET + head], self.vectors[OFFSET + heads + head]);
                    let output = reference::delta_rule(&mut state, &row, rate, bias);
                    values[at_value..at_value + value_dim].copy_from_slice(&output);
                }
                after[at..at + key_dim * value_dim].copy_from_slice(&state.concat());
            }
            start += rows;
        }
        (values, after)
    }
}

pub(super) async fn delta_rules_match_and_go_on_where_their_sequences_stopped() {
    let mut bench = Bench::new(true).await;
    let cases = [[1, 1, 1, 1], [2, 4, 12, 20], [1, 3, 33, 65], [2, 2, 128, 128]].map(|shape| (shape, false));
    for (shape, tiled) in cases.into_iter().chain([([3, 6, 12, 20], true)]) {
        let mut rule = Rule { tiled, ..Rule::new(shape) };
        let (values, state) = rule.run(&mut bench, &[RUNS]).await;
        let (expected, after) = rule.expected();
        let (worst, kept) = (error(&values, &expected), error(&state, &after));
        assert!(worst < 1e-5 && kept < 1e-5, "{shape:?}: {worst}, state {kept}");
        // Of the second row: before the first there is nothing to decay.
        rule.decay[shape[1]] *= -1.0;
        assert!(error(&values, &rule.expected().0) > 1e-4, "{shape:?}: a wrong decay goes unnoticed");
    }
}

pub(super) async fn a_delta_rule_has_the_same_bits_whatever_the_chunks() {
    let mut bench = Bench::new(true).await;
    let rule = Rule::new([2, 4, 12, 20]);
    let bits = |(values, state): (Vec<f32>, Vec<f32>)| [super::bits(&values), super::bits(&state)];
    let whole = bits(rule.run(&mut bench, &[RUNS]).await);
    let pieces: [&Runs; 4] = [&[(0, 2, 2)], &[(2, 3, 2), (7, 1, 0)], &[(8, 3, 0)], &[(3, 1, 3)]];
    assert_eq!(bits(rule.run(&mut bench, &pieces).await), whole);
}
