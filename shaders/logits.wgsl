// logits[r, i] = cap * tanh(x / cap), or x where cap is 0, with x = scale * logits[r, i] (* vectors[factors_offset + i]
// with FACTORS); in place.
//
// [rows, stride] f32, `width` values of each row. Grid: one invocation a value, folded over x and y. CPU twin:
// reference::logits.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    scale: f32,
    cap: f32,
    factors_offset: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;

const FACTORS = 1u;

@compute @workgroup_size(64)
fn logits(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let row = index / params.width;
    if row >= params.rows {
        return;
    }
    let column = index % params.width;
    let at = row * params.stride + column;
    var value = values[at] * params.scale;
    if (params.flags & FACTORS) != 0u {
        value = value * vectors[params.factors_offset + column];
    }
    if params.cap > 0.0 {
        // Beyond the bound tanh is 1 to the last bit, and some drivers' own overflows.
        value = params.cap * tanh(clamp(value / params.cap, -15.0, 15.0));
    }
    values[at] = value;
}
