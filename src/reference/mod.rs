//! The plain CPU twin of every kernel: the truth that tests compare with.
//!
//! Values are f64, rows are slices, and each function reads line by line against the formula at the head of its WGSL
//! file. Nothing here is fast, and nothing is shared with what it judges.

/// Twin of `shaders/matmul.wgsl`: `[rows][columns]` weights times one input row.
pub fn matmul(weights: &[Vec<f32>], input: &[f32]) -> Vec<f64> {
    weights.iter().map(|row| row.iter().zip(input).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()).collect()
}

/// Twin of `shaders/rms_norm.wgsl`, for one row.
pub fn rms_norm(input: &[f32], weight: &[f32], epsilon: f32) -> Vec<f64> {
    let squares: f64 = input.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let scale = 1.0 / (squares / input.len() as f64 + f64::from(epsilon)).sqrt();
    input.iter().zip(weight).map(|(x, w)| f64::from(*x) * scale * f64::from(*w)).collect()
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

/// Twin of `shaders/attention.wgsl`, for one query head over the keys and values it sees, oldest first.
pub fn attention(query: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f32) -> Vec<f64> {
    let dot = |key: &&[f32]| -> f64 { query.iter().zip(*key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum() };
    let scores: Vec<f64> = keys.iter().map(|key| dot(key) * f64::from(scale)).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; query.len()];
    for (weight, value) in weights.iter().zip(values) {
        for (out, v) in out.iter_mut().zip(*value) {
            *out += weight / total * f64::from(*v);
        }
    }
    out
}

/// Twin of `shaders/gate.wgsl` with `shaders/parts/silu.wgsl`.
pub fn gate(gate: &[f32], up: &[f32]) -> Vec<f64> {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    gate.iter().zip(up).map(|(g, u)| silu(f64::from(*g)) * f64::from(*u)).collect()
}

/// Twin of `shaders/gather_rows.wgsl`.
pub fn gather_rows(rows: &[Vec<f32>], indices: &[u32]) -> Vec<Vec<f32>> {
    indices.iter().map(|index| rows[*index as usize].clone()).collect()
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
