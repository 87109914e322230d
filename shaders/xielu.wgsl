// values[r, i] = a x^2 + b x for x above 0, and c (exp(x) - 1 - x) + b x elsewhere, x being the value before; in place.
//
// a = softplus(vectors[positive_offset]), b = vectors[slope_offset], c = b + softplus(vectors[negative_offset]): xIELU
// (Huang and Schlag 2024). values [rows, stride] f32, `width` values of each row. Grid: one invocation a value, folded over
// x and y. CPU twin: reference::xielu.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    positive_offset: u32,
    negative_offset: u32,
    slope_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;

// log(1 + exp(x)); where exp(x) is small 1 + exp(x) would lose it, and a series does not.
fn softplus(x: f32) -> f32 {
    let power = exp(-abs(x));
    let series = power * (1.0 - power * (0.5 - power * (0.33333334 - power * 0.25)));
    return max(x, 0.0) + select(log(1.0 + power), series, power < 0.02);
}

// exp(x) - 1 - x for x up to 0; near 0 the difference would lose its digits, and a series does not.
fn bend(x: f32) -> f32 {
    var series = 0.0013888889 + x * 0.0001984127;
    series = 0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * series)));
    return select(exp(x) - 1.0 - x, x * x * series, x > -0.4);
}

@compute @workgroup_size(64)
fn xielu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let row = index / params.width;
    if row >= params.rows {
        return;
    }
    let at = row * params.stride + index % params.width;
    let x = values[at];
    let slope = vectors[params.slope_offset];
    let above = softplus(vectors[params.positive_offset]) * x * x;
    let below = (slope + softplus(vectors[params.negative_offset])) * bend(min(x, 0.0));
    values[at] = select(below, above, x > 0.0) + slope * x;
}
