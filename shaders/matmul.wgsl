// out[t, first_row + i] (+)= scale * (sum_c w[i, c] * input[t, c] (+ bias[first_row + i]))
//
// w: `rows` rows of a matrix in the encoding of the part `encoding`, ROWS of them at once (part `rows`); input [tokens,
// input_stride * 4] f32, padded with zeros to whole chunks of 32 columns; output [tokens, output_stride] f32. With the
// part `input_in_groups` (matvec with one row at once) each run of group_rows rows has a part of the input of its own,
// input_group * 4 values behind the last.
// Grid: x and y folded over groups of rows, z over tokens (matvec) or groups of TOKENS tokens (matmul). CPU twin: reference::matmul.
//
// A sum has one order whatever the dispatch: lane l takes chunks l, l + LANES, ... and adds column by column into four
// partial sums; then the four, then the lanes in a butterfly. So a token's numbers depend on nothing but its row.
struct Params {
    rows: u32,
    first_row: u32,
    weight_base: u32,
    row_stride: u32,
    chunks: u32,
    tokens: u32,
    input_stride: u32,
    output_stride: u32,
    plane1: u32,
    plane2: u32,
    plane3: u32,
    bias_offset: u32,
    scale: f32,
    flags: u32,
    group_rows: u32,
    input_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights4: array<vec4<u32>>;
// The same bytes again, for planes of single words.
@group(0) @binding(2) var<storage, read> weights1: array<u32>;
@group(0) @binding(3) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> vectors: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

const ACCUMULATE = 1u;
const BIAS = 2u;

fn write(row: u32, token: u32, lane: u32, index: u32, sum4: vec4<f32>) {
    var sum = sum_lanes((sum4.x + sum4.y) + (sum4.z + sum4.w), index);
    if lane != 0u || row >= params.rows || token >= params.tokens {
        return;
    }
    let column = params.first_row + row;
    if (params.flags & BIAS) != 0u {
        sum = sum + vectors[params.bias_offset + column];
    }
    sum = sum * params.scale;
    let at = token * params.output_stride + column;
    if (params.flags & ACCUMULATE) != 0u {
        sum = output[at] + sum;
    }
    output[at] = sum;
}

// Where a row begins. Rows past the end are the last row again, so that all lanes meet in the sum.
fn row_base(row: u32) -> u32 {
    return params.weight_base + min(row, params.rows - 1u) * params.row_stride;
}

// The 32 input values of a chunk.
fn inputs_at(at: u32) -> array<vec4<f32>, 8> {
    var x: array<vec4<f32>, 8>;
    x[0] = input[at];
    x[1] = input[at + 1u];
    x[2] = input[at + 2u];
    x[3] = input[at + 3u];
    x[4] = input[at + 4u];
    x[5] = input[at + 5u];
    x[6] = input[at + 6u];
    x[7] = input[at + 7u];
    return x;
}

// A row's weights of a chunk times the input, in the order that all products have.
fn add_row(row: u32, chunk: u32, x: array<vec4<f32>, 8>, sum: vec4<f32>) -> vec4<f32> {
    let w = decode32(row_base(row), chunk);
    var s = fma(w[0], x[0], sum);
    s = fma(w[1], x[1], s);
    s = fma(w[2], x[2], s);
    s = fma(w[3], x[3], s);
    s = fma(w[4], x[4], s);
    s = fma(w[5], x[5], s);
    s = fma(w[6], x[6], s);
    return fma(w[7], x[7], s);
}

@compute @workgroup_size(LANES, GROUPS)
fn matvec(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = ((group.y * groups.x + group.x) * GROUPS + local.y) * ROWS;
    let at = group.z * params.input_stride + input_part(params.first_row + min(row, params.rows - 1u));
    var s: Sums;
    for (var chunk = local.x; chunk < params.chunks; chunk += LANES) {
        s = add_rows(row, chunk, inputs_at(at + chunk * 8u), s);
    }
    write_rows(row, group.z, local.x, index, s);
}

// A block of ROWS rows and TOKENS tokens in registers: each weight is decoded once for all tokens, each input value
// loaded once for all rows.
@compute @workgroup_size(LANES, GROUPS)
fn matmul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = ((group.y * groups.x + group.x) * GROUPS + local.y) * ROWS;
    let token = group.z * TOKENS;
    let last = params.tokens - 1u;
    let at0 = token * params.input_stride;
    let at1 = min(token + 1u, last) * params.input_stride;
    let at2 = min(token + 2u, last) * params.input_stride;
    let at3 = min(token + 3u, last) * params.input_stride;
    var s0: Sums;
    var s1: Sums;
    var s2: Sums;
    var s3: Sums;
    for (var chunk = local.x; chunk < params.chunks; chunk += LANES) {
        let w = weights_of(row, chunk);
        let column = chunk * 8u;
        s0 = add_chunk(w, at0 + column, s0);
        s1 = add_chunk(w, at1 + column, s1);
        s2 = add_chunk(w, at2 + column, s2);
        s3 = add_chunk(w, at3 + column, s3);
    }
    write_rows(row, token, local.x, index, s0);
    write_rows(row, token + 1u, local.x, index, s1);
    write_rows(row, token + 2u, local.x, index, s2);
    write_rows(row, token + 3u, local.x, index, s3);
}
