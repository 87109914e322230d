// values[r, i] = gated(values[r, i], up[r, up_first + i]), in place; with UNGATED gated(values[r, i], 1), with ONE_FACTOR
// gated(values[r, i], up[r, up_first]).
//
// values [rows, stride], up [rows, up_stride] f32, `width` values of each row; `gated` is the part that is composed in.
// Bindings, and `up_value`, are in the parts: up is a buffer of its own, or lies behind the values.
// Grid: one invocation a value, folded over x and y. CPU twin: reference::gate.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    up_stride: u32,
    up_first: u32,
    flags: u32,
    // Of the parts that hold their values within bounds.
    limit: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

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
        let first = row * params.up_stride + params.up_first;
        factor = up_value(first + select(column, 0u, (params.flags & ONE_FACTOR) != 0u));
    }
    values[at] = gated(values[at], factor);
}
