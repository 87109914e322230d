// output[r, g * output_group + first + i] = input[r, g * input_group + i]; `width` values of each of `groups` groups.
//
// With an input_group of 0 one group of the input goes to all. Grid: one invocation a value, folded over x and y. CPU
// twin: reference::place_columns.
struct Params {
    rows: u32,
    groups: u32,
    width: u32,
    input_stride: u32,
    input_group: u32,
    output_stride: u32,
    output_group: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn place_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let per_row = params.groups * params.width;
    let row = index / per_row;
    if row >= params.rows {
        return;
    }
    let part = (index % per_row) / params.width;
    let i = index % params.width;
    let to = row * params.output_stride + part * params.output_group + params.first + i;
    output[to] = input[row * params.input_stride + part * params.input_group + i];
}
