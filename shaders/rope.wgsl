// Rotates pairs (i, i + pairs) of each head in place, by angles whose cos and sin are given:
// (a, b) -> (a cos - b sin, b cos + a sin)
//
// angles [rows, angles_stride] f32: from angles_offset on cos, then sin; target [rows, stride] f32, from `first` on heads of
// head_dim values next to each other.
// Grid: one invocation a pair, folded over x and y. CPU twin: reference::rope.
struct Params {
    rows: u32,
    heads: u32,
    head_dim: u32,
    pairs: u32,
    stride: u32,
    angles_stride: u32,
    angles_offset: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> angles: array<f32>;
@group(0) @binding(2) var<storage, read_write> target_rows: array<f32>;

@compute @workgroup_size(64)
fn rope(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let per_row = params.heads * params.pairs;
    let row = index / per_row;
    if row >= params.rows {
        return;
    }
    let head = (index % per_row) / params.pairs;
    let pair = index % params.pairs;
    let angle = row * params.angles_stride + params.angles_offset + pair;
    let cosine = angles[angle];
    let sine = angles[angle + params.pairs];
    let at = row * params.stride + params.first + head * params.head_dim + pair;
    let a = target_rows[at];
    let b = target_rows[at + params.pairs];
    target_rows[at] = a * cosine - b * sine;
    target_rows[at + params.pairs] = b * cosine + a * sine;
}
