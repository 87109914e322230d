// output[indices[first + r], i] += input[r, i]; `width` values of each row. With FACTORS times factors[first + r].
//
// The indices of one dispatch differ, so that no two invocations add to the same value.
// Grid: one invocation a value, folded over x and y. CPU twin: reference::scatter_rows.
struct Params {
    rows: u32,
    width: u32,
    input_stride: u32,
    output_stride: u32,
    first: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> factors: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

const FACTORS = 1u;

@compute @workgroup_size(64)
fn scatter_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let row = index / params.width;
    if row >= params.rows {
        return;
    }
    let i = index % params.width;
    let at = indices[params.first + row] * params.output_stride + i;
    var factor = 1.0;
    if (params.flags & FACTORS) != 0u {
        factor = factors[params.first + row];
    }
    output[at] = fma(factor, input[row * params.input_stride + i], output[at]);
}
