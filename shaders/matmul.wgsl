// out[t, first_row + i] (+)= scale * (sum_c w[i, c] * input[t, c] (+ bias[first_row + i]))
//
// w: `rows` rows of a matrix in the encoding of the part `encoding`, ROWS of them at once (part `rows`); input [tokens,
// input_stride * 4] f32, padded with zeros to whole chunks of 32 columns (part `inputs_f32`), or what
// quantize_rows.wgsl made of it (the parts in i8); output [tokens, output_stride] f32. With the part `input_in_groups`
// (matvec with one row at once) each run of group_rows rows has a part of the input of its own, input_group * 4 values
// behind the last.
// Grid: x and y folded over groups of rows, z over tokens (matvec) or groups of TOKENS tokens (matmul). CPU twin: reference::matmul.
//
// A sum has one order whatever the dispatch. It is spun of STRANDS strands: strand l takes chunks l, l + STRANDS, ... and adds
// column by column into four partial sums; then the four, then the strands in a butterfly, those farthest apart first. A
// lane has one strand or several (part `strands`), which changes nothing of the order. So a token's numbers depend on
// nothing but its row.
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
    input_base: u32,
    first_token: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> vectors: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

const ACCUMULATE = 1u;
const BIAS = 2u;

fn write(row: u32, token: u32, lane: u32, index: u32, of_lane: f32) {
    var sum = sum_lanes(of_lane, index);
    if lane != 0u || row >= params.rows || token >= params.tokens {
        return;
    }
    let column = params.first_row + row;
    if (params.flags & BIAS) != 0u {
        sum = sum + vectors[params.bias_offset + column];
    }
    sum = sum * params.scale;
    let at = (params.first_token + token) * params.output_stride + column;
    if (params.flags & ACCUMULATE) != 0u {
        sum = output[at] + sum;
    }
    output[at] = sum;
}

// Where a row begins. Rows past the end are the last row again, so that all lanes meet in the sum.
fn row_base(row: u32) -> u32 {
    return params.weight_base + min(row, params.rows - 1u) * params.row_stride;
}

// One strand of a row, or of ROWS rows, times one token.
fn strand(row: u32, at: u32, first_chunk: u32) -> Totals {
    var s = Sums();
    for (var chunk = first_chunk; chunk < params.chunks; chunk += STRANDS) {
        s = add_rows(row, chunk, inputs_at(at + chunk * CHUNK_VECTORS), s);
    }
    return totals(s);
}

// ROWS rows from `row` on, times one token.
fn matvec_block(row: u32, token: u32, lane: u32, index: u32) {
    let part = input_part(params.first_row + min(row, params.rows - 1u));
    let at = params.input_base + token * params.input_stride + part;
    write_rows(row, token, lane, index, strands(row, at, lane));
}

@compute @workgroup_size(LANES, GROUPS)
fn matvec(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = ((group.y * groups.x + group.x) * GROUPS + local.y) * ROWS;
    matvec_block(row, group.z, local.x, index);
}

// Sums of ROWS rows for TOKENS tokens.
struct Block {
    t0: Totals,
    t1: Totals,
    t2: Totals,
    t3: Totals,
}

fn add_blocks(a: Block, b: Block) -> Block {
    return Block(a.t0 + b.t0, a.t1 + b.t1, a.t2 + b.t2, a.t3 + b.t3);
}

// One strand of a block of ROWS rows and TOKENS tokens in registers: each weight is decoded once for all tokens, each input
// value loaded once for all rows. `at`: where the tokens' rows begin.
fn block_strand(row: u32, at: vec4<u32>, first_chunk: u32) -> Block {
    var s0 = Sums();
    var s1 = Sums();
    var s2 = Sums();
    var s3 = Sums();
    for (var chunk = first_chunk; chunk < params.chunks; chunk += STRANDS) {
        let w = weights_of(row, chunk);
        let column = chunk * CHUNK_VECTORS;
        s0 = add_chunk(w, at.x + column, s0);
        s1 = add_chunk(w, at.y + column, s1);
        s2 = add_chunk(w, at.z + column, s2);
        s3 = add_chunk(w, at.w + column, s3);
    }
    return Block(totals(s0), totals(s1), totals(s2), totals(s3));
}

@compute @workgroup_size(LANES, GROUPS)
fn matmul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = ((group.y * groups.x + group.x) * GROUPS + local.y) * ROWS;
    let token = group.z * TOKENS;
    // Tokens past the end are the last one again.
    let tokens = min(vec4<u32>(token, token + 1u, token + 2u, token + 3u), vec4<u32>(params.tokens - 1u));
    let sums = block_strands(row, params.input_base + tokens * params.input_stride, local.x);
    write_rows(row, token, local.x, index, sums.t0);
    write_rows(row, token + 1u, local.x, index, sums.t1);
    write_rows(row, token + 2u, local.x, index, sums.t2);
    write_rows(row, token + 3u, local.x, index, sums.t3);
}
