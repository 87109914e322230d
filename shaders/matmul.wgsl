// out[t, first_row + i] (+)= scale * (sum_c w[i, c] * input[t, c] (+ bias[first_row + i]))
//
// w: `rows` rows of a matrix in the encoding of the part `encoding`; input [tokens, input_stride * 4] f32, padded with
// zeros to whole chunks of 32 columns; output [tokens, output_stride] f32. With parts/input_in_groups
// (matvec only) each run of group_rows rows has a part of the input of its own, input_group * 4 values behind the last.
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

fn add_chunk(w: array<vec4<f32>, 8>, at: u32, sum: vec4<f32>) -> vec4<f32> {
    var s = fma(w[0], input[at], sum);
    s = fma(w[1], input[at + 1u], s);
    s = fma(w[2], input[at + 2u], s);
    s = fma(w[3], input[at + 3u], s);
    s = fma(w[4], input[at + 4u], s);
    s = fma(w[5], input[at + 5u], s);
    s = fma(w[6], input[at + 6u], s);
    return fma(w[7], input[at + 7u], s);
}

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

@compute @workgroup_size(LANES, GROUPS)
fn matvec(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = (group.y * groups.x + group.x) * GROUPS + local.y;
    // Rows past the end compute the last row again, so that all lanes meet in the sum.
    let inside = min(row, params.rows - 1u);
    let base = params.weight_base + inside * params.row_stride;
    let at = group.z * params.input_stride + input_part(params.first_row + inside);
    var s = vec4<f32>();
    for (var chunk = local.x; chunk < params.chunks; chunk += LANES) {
        s = add_chunk(decode32(base, chunk), at + chunk * 8u, s);
    }
    write(row, group.z, local.x, index, s);
}

// Partial sums of ROWS rows for one token.
struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Weights of ROWS rows for one chunk.
struct Weights {
    a: array<vec4<f32>, 8>,
    b: array<vec4<f32>, 8>,
    c: array<vec4<f32>, 8>,
    d: array<vec4<f32>, 8>,
}

fn add_column(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, s: Sums) -> Sums {
    return Sums(fma(a, x, s.a), fma(b, x, s.b), fma(c, x, s.c), fma(d, x, s.d));
}

// As add_chunk for each row, with one load of each input value.
fn add_chunks(w: Weights, at: u32, sums: Sums) -> Sums {
    var s = add_column(input[at], w.a[0], w.b[0], w.c[0], w.d[0], sums);
    s = add_column(input[at + 1u], w.a[1], w.b[1], w.c[1], w.d[1], s);
    s = add_column(input[at + 2u], w.a[2], w.b[2], w.c[2], w.d[2], s);
    s = add_column(input[at + 3u], w.a[3], w.b[3], w.c[3], w.d[3], s);
    s = add_column(input[at + 4u], w.a[4], w.b[4], w.c[4], w.d[4], s);
    s = add_column(input[at + 5u], w.a[5], w.b[5], w.c[5], w.d[5], s);
    s = add_column(input[at + 6u], w.a[6], w.b[6], w.c[6], w.d[6], s);
    return add_column(input[at + 7u], w.a[7], w.b[7], w.c[7], w.d[7], s);
}

fn write_rows(row: u32, token: u32, lane: u32, index: u32, s: Sums) {
    write(row, token, lane, index, s.a);
    write(row + 1u, token, lane, index, s.b);
    write(row + 2u, token, lane, index, s.c);
    write(row + 3u, token, lane, index, s.d);
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
    let last_row = params.rows - 1u;
    let base_a = params.weight_base + min(row, last_row) * params.row_stride;
    let base_b = params.weight_base + min(row + 1u, last_row) * params.row_stride;
    let base_c = params.weight_base + min(row + 2u, last_row) * params.row_stride;
    let base_d = params.weight_base + min(row + 3u, last_row) * params.row_stride;
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
        let w = Weights(
            decode32(base_a, chunk),
            decode32(base_b, chunk),
            decode32(base_c, chunk),
            decode32(base_d, chunk),
        );
        let column = chunk * 8u;
        s0 = add_chunks(w, at0 + column, s0);
        s1 = add_chunks(w, at1 + column, s1);
        s2 = add_chunks(w, at2 + column, s2);
        s3 = add_chunks(w, at3 + column, s3);
    }
    write_rows(row, token, local.x, index, s0);
    write_rows(row, token + 1u, local.x, index, s1);
    write_rows(row, token + 2u, local.x, index, s2);
    write_rows(row, token + 3u, local.x, index, s3);
}
