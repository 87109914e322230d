// gate[r, i] = activation(gate[r, i]) * up[r, i], in place; both [rows, stride] f32, `width` values of each row.
//
// Grid: one invocation a value, folded over x and y. CPU twin: reference::gate.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> gate_rows: array<f32>;

@compute @workgroup_size(64)
fn gate(
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
    gate_rows[at] = activation(gate_rows[at]) * up[at];
}
