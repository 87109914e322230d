// Rounds rows to whole numbers of eight bits, 32 columns with one scale: output = round(input / d), d = max |input| / 127.
//
// input [rows, input_stride * 4] f32, padded with zeros to whole chunks of 32 columns; output [rows, chunks, 5] vectors of
// four words: the numbers i8 in natural order (two vectors), then for each eight columns the even ones (one vector) and the
// odd ones, then as f32 d, and d times the sum of the numbers, of the first sixteen, of the others.
// Grid: one invocation a chunk. CPU twin: reference::quantize_chunk.
struct Params {
    rows: u32,
    chunks: u32,
    input_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<u32>>;

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
    if index >= params.rows * params.chunks {
        return;
    }
    let at = index / params.chunks * params.input_stride + index % params.chunks * 8u;
    var most = 0.0;
    for (var i = 0u; i < 8u; i++) {
        most = max(most, peak(input[at + i]));
    }
    let factor = select(0.0, 127.0 / most, most > 0.0);
    let q0 = whole(input[at], factor);
    let q1 = whole(input[at + 1u], factor);
    let q2 = whole(input[at + 2u], factor);
    let q3 = whole(input[at + 3u], factor);
    let q4 = whole(input[at + 4u], factor);
    let q5 = whole(input[at + 5u], factor);
    let q6 = whole(input[at + 6u], factor);
    let q7 = whole(input[at + 7u], factor);
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
