// output[t, g * output_group + c] = sum_r w[g * group_rows + r, c] * input[t, first + g * input_group + r]
//
// w: the rows from `first_row` on, `rows` of them, in the encoding of the part `encoding`; its runs of `group_rows` rows
// are the groups. input [tokens, input_stride], output [tokens, output_stride] f32.
// Grid: one invocation for each chunk of 32 columns of each group that has rows here, folded over x and y; tokens over z.
// CPU twin: reference::matmul_transposed.
//
// A sum goes row by row. Rows that begin inside a group go on from what the output holds: the order is the same wherever
// tiles are cut, and so are the bits.
struct Params {
    rows: u32,
    first_row: u32,
    weight_base: u32,
    row_stride: u32,
    columns: u32,
    tokens: u32,
    input_stride: u32,
    output_stride: u32,
    plane1: u32,
    plane2: u32,
    plane3: u32,
    group_rows: u32,
    first: u32,
    input_group: u32,
    output_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> input: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

fn load(base: u32, column: u32) -> vec4<f32> {
    // Columns past the end are not stored: the last one stands in for them.
    let at = base + column;
    let last = base + params.columns - 1u;
    return vec4<f32>(
        output[min(at, last)],
        output[min(at + 1u, last)],
        output[min(at + 2u, last)],
        output[min(at + 3u, last)],
    );
}

fn store(base: u32, column: u32, sums: vec4<f32>) {
    let at = base + column;
    if column < params.columns {
        output[at] = sums.x;
    }
    if column + 1u < params.columns {
        output[at + 1u] = sums.y;
    }
    if column + 2u < params.columns {
        output[at + 2u] = sums.z;
    }
    if column + 3u < params.columns {
        output[at + 3u] = sums.w;
    }
}

@compute @workgroup_size(64)
fn matmul_transposed(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * workgroups.x + workgroup.x) * 64u + lane;
    let chunks = (params.columns + 31u) / 32u;
    let chunk = index % chunks;
    let group = params.first_row / params.group_rows + index / chunks;
    let begin = group * params.group_rows;
    let end = min(begin + params.group_rows, params.first_row + params.rows);
    let first_row = max(begin, params.first_row);
    if first_row >= end {
        return;
    }
    let input_at = workgroup.z * params.input_stride + params.first + group * params.input_group - begin;
    let output_at = workgroup.z * params.output_stride + group * params.output_group;
    let column = chunk * 32u;
    var s = array<vec4<f32>, 8>();
    if first_row > begin {
        for (var i = 0u; i < 8u; i++) {
            s[i] = load(output_at, column + i * 4u);
        }
    }
    for (var row = first_row; row < end; row++) {
        let w = decode32(params.weight_base + (row - params.first_row) * params.row_stride, chunk);
        let x = vec4<f32>(input[input_at + row]);
        s[0] = fma(w[0], x, s[0]);
        s[1] = fma(w[1], x, s[1]);
        s[2] = fma(w[2], x, s[2]);
        s[3] = fma(w[3], x, s[3]);
        s[4] = fma(w[4], x, s[4]);
        s[5] = fma(w[5], x, s[5]);
        s[6] = fma(w[6], x, s[6]);
        s[7] = fma(w[7], x, s[7]);
    }
    for (var i = 0u; i < 8u; i++) {
        store(output_at, column + i * 4u, s[i]);
    }
}
