//! The plain CPU twin of every kernel: the truth that tests compare with.
//!
//! Values are f64, rows are slices, and each function reads line by line against the formula at the head of its WGSL
//! file. Nothing here is fast, and nothing is shared with what it judges.

use crate::plan::{Activation, NormKind};

/// Twin of `shaders/matmul.wgsl`: `[rows][columns]` weights times one input row.
pub fn matmul(weights: &[Vec<f32>], input: &[f32]) -> Vec<f64> {
    weights.iter().map(|row| row.iter().zip(input).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()).collect()
}

/// Twin of `shaders/matmul_transposed.wgsl`, for one group: its rows of weights, each times one value of the input.
pub fn matmul_transposed(weights: &[Vec<f32>], input: &[f32]) -> Vec<f64> {
    let column = |c: usize| weights.iter().zip(input).map(|(row, x)| f64::from(row[c]) * f64::from(*x)).sum();
    (0..weights[0].len()).map(column).collect()
}

/// Twin of `shaders/quantize_rows.wgsl`, for 32 columns: the scale, and what is to be rounded to whole numbers.
pub fn quantize_chunk(input: &[f32]) -> (f64, Vec<f64>) {
    let scale = input.iter().map(|x| f64::from(*x).abs()).fold(0.0, f64::max) / 127.0;
    let whole = |x: &f32| if scale > 0.0 { f64::from(*x) / scale } else { 0.0 };
    (scale, input.iter().map(whole).collect())
}

/// Twin of `shaders/norm.wgsl`, for one group.
pub fn norm(kind: NormKind, input: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f64> {
    let len = input.len() as f64;
    let mean = match kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => input.iter().map(|x| f64::from(*x)).sum::<f64>() / len,
    };
    let squares: f64 = input.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    let scale = 1.0 / (squares / len + f64::from(epsilon)).sqrt();
    let normal = input.iter().map(|x| (f64::from(*x) - mean) * scale);
    normal.zip(weight.iter().zip(bias)).map(|(x, (w, b))| x * f64::from(*w) + f64::from(*b)).collect()
}

/// Twin of `shaders/rope.wgsl`, for one head: `angles` are cos, then sin, of each pair.
pub fn rope(head: &[f32], angles: &[f32]) -> Vec<f64> {
    let pairs = angles.len() / 2;
    let mut out: Vec<f64> = head.iter().map(|x| f64::from(*x)).collect();
    for pair in 0..pairs {
        let (cos, sin) = (f64::from(angles[pair]), f64::from(angles[pairs + pair]));
        let (a, b) = (f64::from(head[pair]), f64::from(head[pairs + pair]));
        out[pair] = a * cos - b * sin;
        out[pairs + pair] = b * cos + a * sin;
    }
    out
}

/// Twin of `shaders/attention.wgsl`, for one query head over the keys and values it sees, oldest first. `slope` is ALiBi's.
pub fn attention(
    query: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    scale: f32,
    softcap: Option<f32>,
    sink: Option<f32>,
    slope: f64,
) -> Vec<f64> {
    let dot = |key: &[f32]| -> f64 { query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum() };
    let bent = |score: f64| softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
    let distance = |index: usize| (keys.len() - 1 - index) as f64;
    let score = |(index, key): (usize, &&[f32])| bent(dot(key) * f64::from(scale)) - slope * distance(index);
    let scores: Vec<f64> = keys.iter().enumerate().map(score).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let total = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (f64::from(sink) - top).exp());
    let mut out = vec![0.0; values[0].len()];
    for (weight, value) in weights.iter().zip(values) {
        for (out, v) in out.iter_mut().zip(*value) {
            *out += weight / total * f64::from(*v);
        }
    }
    out
}

/// ALiBi's slope of a head, by the paper's recursion.
pub fn alibi_slope(head: usize, heads: usize) -> f64 {
    let power = 1 << heads.ilog2();
    match head.checked_sub(power) {
        None => 2.0_f64.powf(-8.0 * (head + 1) as f64 / power as f64),
        // Every other slope of twice as many heads.
        Some(rest) => alibi_slope(2 * rest, 2 * power),
    }
}

/// Twin of `shaders/gate.wgsl` with its parts; `limit` is [`Activation::ClampedSwiglu`]'s.
pub fn gate(activation: Activation, limit: f32, gate: &[f32], up: &[f32]) -> Vec<f64> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let value = |x: f64, up: f64| match activation {
        Activation::Silu => x * sigmoid(x) * up,
        Activation::SquaredRelu => x.max(0.0).powi(2) * up,
        Activation::Sigmoid => sigmoid(x) * up,
        Activation::SigmoidFactor => x * sigmoid(up),
        Activation::Gelu => x * normal_distribution(x) * up,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh()) * up
        }
        Activation::ClampedSwiglu => {
            let (x, limit) = (x.min(limit.into()), f64::from(limit));
            x * sigmoid(1.702 * x) * (up.clamp(-limit, limit) + 1.0)
        }
    };
    gate.iter().zip(up).map(|(g, u)| value(f64::from(*g), f64::from(*u))).collect()
}

/// The normal distribution function, by summing its density: slow, and right to far more digits than an f32 has.
fn normal_distribution(x: f64) -> f64 {
    let x = x.clamp(-12.0, 12.0);
    let (steps, start) = (20_000, -12.0);
    let width = (x - start) / f64::from(steps);
    let density = |at: f64| (-at * at / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    // Simpson's rule.
    let inner: f64 =
        (1..steps).map(|i| density(start + width * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (density(start) + inner + density(x)) * width / 3.0
}

/// Twin of `shaders/xielu.wgsl`.
pub fn xielu(values: &[f32], positive: f32, negative: f32, slope: f32) -> Vec<f64> {
    let softplus = |x: f32| f64::from(x).exp().ln_1p();
    let (above, slope) = (softplus(positive), f64::from(slope));
    let below = slope + softplus(negative);
    let value = |x: f64| if x > 0.0 { above * x * x } else { below * (x.exp_m1() - x) } + slope * x;
    values.iter().map(|x| value(f64::from(*x))).collect()
}

/// Twin of `shaders/mix_streams.wgsl`, for one value of each stream; corrected by `activated` where there is one.
pub fn mix_streams(streams: [f32; 4], coefs: &[f32], activated: Option<f32>) -> [f64; 4] {
    let before = streams.map(f64::from);
    let coef = |index: usize| f64::from(coefs[index]);
    let added = |i: usize| match activated {
        None => (0..4).map(|j| coef(4 * i + j) * before[j]).sum(),
        Some(activated) => (coef(i) + 1.0) * (f64::from(activated) - before[0]),
    };
    [0, 1, 2, 3].map(|i| before[i] + added(i))
}

/// Twin of `shaders/match_size.wgsl`, for one row.
pub fn match_size(input: &[f32], model: &[f32], floor: f32) -> Vec<f64> {
    let mean_square = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / row.len() as f64;
    let factor = mean_square(model).sqrt() / mean_square(input).max(f64::from(floor)).sqrt();
    input.iter().map(|x| f64::from(*x) * factor).collect()
}

/// Twin of `shaders/cutoff.wgsl`, for one row.
pub fn cutoff(values: &[f32], deviations: f32) -> Vec<f64> {
    let len = values.len() as f64;
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / len;
    let variance = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / len;
    let least = mean + variance.sqrt() * f64::from(deviations);
    values.iter().map(|x| (f64::from(*x) - least).max(0.0)).collect()
}

/// Twin of `shaders/logits.wgsl`, for one row.
pub fn logits(logits: &[f32], factors: &[f32], scale: f32, cap: f32) -> Vec<f64> {
    let scaled = logits.iter().zip(factors).map(|(x, factor)| f64::from(*x) * f64::from(scale) * f64::from(*factor));
    let cap = f64::from(cap);
    scaled.map(|x| if cap > 0.0 { cap * (x / cap).tanh() } else { x }).collect()
}

/// Twin of `shaders/gather_rows.wgsl`.
pub fn gather_rows(rows: &[Vec<f32>], indices: &[u32], factors: &[f32]) -> Vec<Vec<f32>> {
    let row = |(index, factor): (&u32, &f32)| rows[*index as usize].iter().map(|value| factor * value).collect();
    indices.iter().zip(factors).map(row).collect()
}

/// Twin of `shaders/place_columns.wgsl`, for one row: each group of `input` (or the one it has) behind `first` values of
/// a group of `output`.
pub fn place_columns(output: &[f32], input: &[f32], groups: usize, width: usize, first: usize) -> Vec<f32> {
    let (mut out, group) = (output.to_vec(), output.len() / groups);
    for index in 0..groups {
        let from = if input.len() == width { 0 } else { index * width };
        out[index * group + first..][..width].copy_from_slice(&input[from..from + width]);
    }
    out
}

/// Twin of `shaders/scatter_rows.wgsl`: `output` with the rows added.
pub fn scatter_rows(output: &[Vec<f32>], rows: &[Vec<f32>], indices: &[u32], factors: &[f32]) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> = output.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    for (row, (index, factor)) in rows.iter().zip(indices.iter().zip(factors)) {
        for (sum, x) in sums[*index as usize].iter_mut().zip(row) {
            *sum += f64::from(*factor) * f64::from(*x);
        }
    }
    sums
}

/// Twin of `shaders/conv.wgsl`, for one channel: `before` are the three values that came before `values`.
pub fn conv(before: [f32; 3], values: &[f32], weight: [f32; 4]) -> Vec<f64> {
    let all: Vec<f64> = before.iter().chain(values).map(|x| f64::from(*x)).collect();
    let sum = |window: &[f64]| -> f64 { window.iter().zip(weight).map(|(x, w)| x * f64::from(w)).sum() };
    all.windows(4).map(sum).map(|x| x / (1.0 + (-x).exp())).collect()
}

/// One row of one head for [`delta_rule`].
#[derive(Clone, Copy, Debug)]
pub struct DeltaRow<'a> {
    pub query: &'a [f32],
    pub key: &'a [f32],
    pub value: &'a [f32],
    pub decay: f32,
    pub beta: f32,
}

/// Twin of `shaders/delta_rule.wgsl`, for one row of one head: changes `state` `[key_dim][value_dim]` and gives the output.
pub fn delta_rule(state: &mut [Vec<f64>], row: &DeltaRow<'_>, log_rate: f32, bias: f32) -> Vec<f64> {
    let softplus = (f64::from(row.decay) + f64::from(bias)).exp().ln_1p();
    let kept = (-f64::from(log_rate).exp() * softplus).exp();
    let strength = 1.0 / (1.0 + (-f64::from(row.beta)).exp());
    state.iter_mut().flatten().for_each(|s| *s *= kept);
    let mut output = Vec::new();
    for (column, value) in row.value.iter().enumerate() {
        let known: f64 = state.iter().zip(row.key).map(|(s, k)| s[column] * f64::from(*k)).sum();
        let change = strength * (f64::from(*value) - known);
        for (s, k) in state.iter_mut().zip(row.key) {
            s[column] += f64::from(*k) * change;
        }
        output.push(state.iter().zip(row.query).map(|(s, q)| s[column] * f64::from(*q)).sum());
    }
    output
}

/// Twin of `shaders/argmax.wgsl`: the best id, its value, and how many values are not finite.
pub fn argmax(logits: &[f32]) -> (u32, f32, u32) {
    let mut best: Option<(u32, f32)> = None;
    let mut broken = 0;
    for (id, value) in logits.iter().enumerate() {
        if !value.is_finite() {
            broken += 1;
        } else if best.is_none_or(|(_, top)| *value > top) {
            best = Some((id as u32, *value));
        }
    }
    let (id, value) = best.unwrap_or((u32::MAX, 0.0));
    (id, value, broken)
}
