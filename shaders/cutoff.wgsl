// values[r, i] = max(values[r, i] - mean - deviations * deviation, 0), in place: mean and standard deviation of the row
//
// Keeps the largest values of a row, about as many as a normal distribution has beyond so many deviations. values
// [rows, stride] f32, `width` values of each row. Grid: one workgroup of LANES a row, folded over x and y. CPU twin:
// reference::cutoff.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    deviations: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;

@compute @workgroup_size(LANES)
fn cutoff(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let exists = index < params.rows;
    // Workgroups past the end take part in the sums of a row that is there, and write nothing.
    let at = select(0u, index, exists) * params.stride;
    var sum = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        sum = sum + values[at + i];
    }
    let mean = sum_lanes(sum, lane) / f32(params.width);
    var squares = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        let distance = values[at + i] - mean;
        squares = fma(distance, distance, squares);
    }
    let deviation = sqrt(sum_lanes(squares, lane) / f32(params.width));
    if !exists {
        return;
    }
    let least = mean + deviation * params.deviations;
    for (var i = lane; i < params.width; i += LANES) {
        values[at + i] = max(values[at + i] - least, 0.0);
    }
}
