// output[r, i] = input[r, i] / sqrt(mean_i(input[r, i]^2) + epsilon) * vectors[weight_offset + i]
//
// input [rows, input_stride], output [rows, output_stride] f32, `width` values of each row.
// Grid: one workgroup of LANES a row, folded over x and y. CPU twin: reference::rms_norm.
struct Params {
    rows: u32,
    width: u32,
    input_stride: u32,
    output_stride: u32,
    weight_offset: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(LANES)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    // Workgroups past the end compute the last row again: the same values to the same place.
    let safe_row = min(row, params.rows - 1u);
    let from_row = safe_row * params.input_stride;
    var squares = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        let value = input[from_row + i];
        squares = fma(value, value, squares);
    }
    let mean = sum_lanes(squares, lane) / f32(params.width);
    let scale = 1.0 / sqrt(mean + params.epsilon);
    let to_row = safe_row * params.output_stride;
    for (var i = lane; i < params.width; i += LANES) {
        output[to_row + i] = input[from_row + i] * scale * vectors[params.weight_offset + i];
    }
}
