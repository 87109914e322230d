// The gated delta rule (Yang, Kautz and Hatamizadeh 2024), row by row of each sequence; a head's state S is
// [key_dim, value_dim]:
//
// S <- g S;  S <- S + k (b (v - k S));  values[r, h] = q S, in place of v
//
// with g = exp(-exp(A[h]) * softplus(decay[r, h] + D[h])) and b = sigmoid(beta[r, h]).
//
// query [rows, query_stride], key [rows, key_stride] f32: heads of key_dim values, brought to length 1 (and q scaled)
// before; values [rows, value_stride]: heads of value_dim; value head h uses key head h / (heads / key_heads), or
// h % key_heads where tiled is 1. decay [rows, decay_stride], beta [rows, beta_stride]. A [heads] and D [heads] lie in the
// vectors from rate_offset and bias_offset on. row_meta [rows] (position, -, slot, rows of the sequence where this is the
// first of them, or 0); state:
// of each slot state_stride floats, of which those from state_offset on are [heads, key_dim, value_dim].
// Grid: x values of a row by 64, y rows; an invocation computes one column of one sequence's S, which needs no other.
// CPU twin: reference::delta_rule.
struct Params {
    heads: u32,
    key_heads: u32,
    key_dim: u32,
    value_dim: u32,
    query_stride: u32,
    key_stride: u32,
    value_stride: u32,
    decay_stride: u32,
    beta_stride: u32,
    rate_offset: u32,
    bias_offset: u32,
    state_offset: u32,
    state_stride: u32,
    tiled: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<f32>;
@group(0) @binding(2) var<storage, read> key: array<f32>;
@group(0) @binding(3) var<storage, read> decay: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<storage, read> vectors: array<f32>;
@group(0) @binding(6) var<storage, read> row_meta: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read_write> state: array<f32>;
@group(0) @binding(8) var<storage, read_write> values: array<f32>;

// log(1 + exp(x)); where exp(x) is small 1 + exp(x) would lose it, and a series does not.
fn softplus(x: f32) -> f32 {
    let power = exp(-abs(x));
    let series = power * (1.0 - power * (0.5 - power * (0.33333334 - power * 0.25)));
    return max(x, 0.0) + select(log(1.0 + power), series, power < 0.02);
}

@compute @workgroup_size(64)
fn delta_rule(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    let first_row = group.y;
    let rows = row_meta[first_row].w;
    if column >= params.heads * params.value_dim || rows == 0u {
        return;
    }
    let head = column / params.value_dim;
    let key_head = select(head / (params.heads / params.key_heads), head % params.key_heads, params.tiled == 1u);
    let rate = exp(vectors[params.rate_offset + head]);
    let bias = vectors[params.bias_offset + head];
    let at_state = row_meta[first_row].z * params.state_stride + params.state_offset
        + head * params.key_dim * params.value_dim + column % params.value_dim;
    // What a sequence before it left in the slot is not its own.
    var is_empty = row_meta[first_row].x == 0u;
    for (var row = first_row; row < first_row + rows; row++) {
        let at_query = row * params.query_stride + key_head * params.key_dim;
        let at_key = row * params.key_stride + key_head * params.key_dim;
        let at_value = row * params.value_stride + column;
        let kept = exp(-rate * softplus(decay[row * params.decay_stride + head] + bias));
        var known = 0.0;
        if !is_empty {
            for (var i = 0u; i < params.key_dim; i++) {
                known = fma(state[at_state + i * params.value_dim], key[at_key + i], known);
            }
        }
        // The bound keeps exp finite, where the result is 0 to the last bit anyway.
        let strength = 1.0 / (1.0 + exp(min(-beta[row * params.beta_stride + head], 87.0)));
        let change = strength * (values[at_value] - kept * known);
        var sum = 0.0;
        for (var i = 0u; i < params.key_dim; i++) {
            let at = at_state + i * params.value_dim;
            let before = select(state[at], 0.0, is_empty);
            let after = fma(key[at_key + i], change, kept * before);
            state[at] = after;
            sum = fma(after, query[at_query + i], sum);
        }
        values[at_value] = sum;
        is_empty = false;
    }
}
