// Rounds rows to whole numbers of eight bits, 32 columns with one scale: output = round(input / d), d = max |input| / 127.
//
// input [rows, input_stride * 4] f32, of which `columns` count: what lies behind them in the last chunk is anything; output
// [rows, chunks, 5] vectors of four words: the numbers i8 in natural order (two vectors), then for each eight columns the
// even ones (one vector) and the odd ones, then as f32 d, and d times the sum of the numbers, of the first sixteen, of the
// others.
// Grid: one invocation a chunk. CPU twin: reference::quantize_chunk.
struct Params {
    rows: u32,
    columns: u32,
    input_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<u32>>;

// Four values of a row, from a column on; zeros behind the last one.
fn values(row: u32, column: u32) -> vec4<f32> {
    let counts = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.columns);
    return select(vec4<f32>(0.0), input[row * params.input_stride + column / 4u], counts);
}

fn peak(x: vec4<f32>) -> f32 {
    let a = abs(x);
    return max(max(a.x, a.y), max(a.z, a.w));
}

fn whole(x: vec4<f32>, factor: f32) -> vec4<i32> {
    return vec4<i32>(round(x * factor));
}

fn packed(q: vec4<i32>) -> u32 {
    let bytes = bitcast<vec4<u32>>(q) & vec4<u32>(255u);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

fn sum(q: vec4<i32>) -> i32 {
    return q.x + q.y + q.z + q.w;
}

@compute @workgroup_size(64)
fn quantize_rows(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (workgroup.y * workgroups.x + workgroup.x) * 64u + lane;
    let chunks = (params.columns + 31u) / 32u;
    if index >= params.rows * chunks {
        return;
    }
    let row = index / chunks;
    let column = index % chunks * 32u;
    let x0 = values(row, column);
    let x1 = values(row, column + 4u);
    let x2 = values(row, column + 8u);
    let x3 = values(row, column + 12u);
    let x4 = values(row, column + 16u);
    let x5 = values(row, column + 20u);
    let x6 = values(row, column + 24u);
    let x7 = values(row, column + 28u);
    let most = max(
        max(max(peak(x0), peak(x1)), max(peak(x2), peak(x3))),
        max(max(peak(x4), peak(x5)), max(peak(x6), peak(x7))),
    );
    let factor = select(0.0, 127.0 / most, most > 0.0);
    let q0 = whole(x0, factor);
    let q1 = whole(x1, factor);
    let q2 = whole(x2, factor);
    let q3 = whole(x3, factor);
    let q4 = whole(x4, factor);
    let q5 = whole(x5, factor);
    let q6 = whole(x6, factor);
    let q7 = whole(x7, factor);
    let d = most / 127.0;
    let first = f32(sum(q0) + sum(q1) + sum(q2) + sum(q3));
    let others = f32(sum(q4) + sum(q5) + sum(q6) + sum(q7));
    let to = index * 5u;
    output[to] = vec4<u32>(packed(q0), packed(q1), packed(q2), packed(q3));
    output[to + 1u] = vec4<u32>(packed(q4), packed(q5), packed(q6), packed(q7));
    output[to + 2u] = vec4<u32>(
        packed(vec4<i32>(q0.xz, q1.xz)),
        packed(vec4<i32>(q2.xz, q3.xz)),
        packed(vec4<i32>(q4.xz, q5.xz)),
        packed(vec4<i32>(q6.xz, q7.xz)),
    );
    output[to + 3u] = vec4<u32>(
        packed(vec4<i32>(q0.yw, q1.yw)),
        packed(vec4<i32>(q2.yw, q3.yw)),
        packed(vec4<i32>(q4.yw, q5.yw)),
        packed(vec4<i32>(q6.yw, q7.yw)),
    );
    output[to + 4u] = bitcast<vec4<u32>>(d * vec4<f32>(1.0, first + others, first, others));
}
