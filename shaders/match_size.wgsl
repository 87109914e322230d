// output[r, i] (+)= input[r, i] * sqrt(mean(model[r, :]^2)) / sqrt(max(mean(input[r, :]^2), floor))
//
// A row brought to the size of another one. input, model and output [rows, stride] f32, `width` values of each row; with
// ACCUMULATE added to what output holds. Grid: one workgroup of LANES a row, folded over x and y. CPU twin:
// reference::match_size.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    floor: f32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> model: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

const ACCUMULATE = 1u;

@compute @workgroup_size(LANES)
fn match_size(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let exists = index < params.rows;
    // Workgroups past the end take part in the sums of a row that is there, and write nothing.
    let at = select(0u, index, exists) * params.stride;
    var own = 0.0;
    var wanted = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        own = fma(input[at + i], input[at + i], own);
        wanted = fma(model[at + i], model[at + i], wanted);
    }
    own = sum_lanes(own, lane) / f32(params.width);
    wanted = sum_lanes(wanted, lane) / f32(params.width);
    if !exists {
        return;
    }
    let factor = sqrt(wanted) / sqrt(max(own, params.floor));
    for (var i = lane; i < params.width; i += LANES) {
        var value = input[at + i] * factor;
        if (params.flags & ACCUMULATE) != 0u {
            value = output[at + i] + value;
        }
        output[at + i] = value;
    }
}
