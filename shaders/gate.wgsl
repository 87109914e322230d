// values[r, i] = gated(values[r, i], up[r, i]), in place; with UNGATED gated(values[r, i], 1), with ONE_FACTOR
// gated(values[r, i], up[r, 0]).
//
// Both [rows, stride] f32, `width` values of each row; `gated` is the part that is composed in.
// Grid: one invocation a value, folded over x and y. CPU twin: reference::gate.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    up_stride: u32,
    flags: u32,
    // Of the parts that hold their values within bounds.
    limit: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;

const UNGATED = 1u;
const ONE_FACTOR = 2u;

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
    let column = index % params.width;
    let at = row * params.stride + column;
    var factor = 1.0;
    if (params.flags & UNGATED) == 0u {
        factor = up[row * params.up_stride + select(column, 0u, (params.flags & ONE_FACTOR) != 0u)];
    }
    values[at] = gated(values[at], factor);
}
