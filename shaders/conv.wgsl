// values[r, c] = silu(sum_t weight[c, t] * x[r + t - 3, c]), in place: a causal convolution of four taps over the rows of
// each sequence, x being the values before it.
//
// values [rows, stride] f32, of each row `width` channels, which are those from `first` on; weight [channels, 4], in the
// vectors from weight_offset on; row_meta [rows] (position, -, slot, rows of the sequence where this is the first of them,
// or 0); state: of each slot state_stride floats, of which the first are [3, channels], the last three rows of x.
// Grid: x channels by 64, y rows; an invocation computes one channel of one sequence. CPU twin: reference::conv.
struct Params {
    width: u32,
    stride: u32,
    first: u32,
    channels: u32,
    weight_offset: u32,
    state_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read> row_meta: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;

@compute @workgroup_size(64)
fn conv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    let first_row = group.y;
    let rows = row_meta[first_row].w;
    if column >= params.width || rows == 0u {
        return;
    }
    let channel = params.first + column;
    let at_weight = params.weight_offset + channel * 4u;
    let weight =
        vec4<f32>(vectors[at_weight], vectors[at_weight + 1u], vectors[at_weight + 2u], vectors[at_weight + 3u]);
    let at_state = row_meta[first_row].z * params.state_stride + channel;
    var before = vec3<f32>(0.0, 0.0, 0.0);
    // What a sequence before it left in the slot is not its own.
    if row_meta[first_row].x > 0u {
        before =
            vec3<f32>(state[at_state], state[at_state + params.channels], state[at_state + 2u * params.channels]);
    }
    for (var row = first_row; row < first_row + rows; row++) {
        let at = row * params.stride + column;
        let x = values[at];
        let sum = fma(weight.w, x, fma(weight.z, before.z, fma(weight.y, before.y, weight.x * before.x)));
        // The bound keeps exp finite, where the result is 0 to the last bit anyway.
        values[at] = sum / (1.0 + exp(min(-sum, 87.0)));
        before = vec3<f32>(before.yz, x);
    }
    state[at_state] = before.x;
    state[at_state + params.channels] = before.y;
    state[at_state + 2u * params.channels] = before.z;
}
