// w = d where a bit is set, -d where not: bits [P], d f16 [P/128] in plane 1.
fn signs(word: u32, shift: u32) -> vec4<f32> {
    let bits = (vec4<u32>(word) >> (vec4<u32>(0u, 1u, 2u, 3u) + shift)) & vec4<u32>(1u);
    return vec4<f32>(bits) * 2.0 - 1.0;
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights1[row * 4u + chunk];
    let d = scale(row, chunk);
    w[0] = d * signs(q, 0u);
    w[1] = d * signs(q, 4u);
    w[2] = d * signs(q, 8u);
    w[3] = d * signs(q, 12u);
    w[4] = d * signs(q, 16u);
    w[5] = d * signs(q, 20u);
    w[6] = d * signs(q, 24u);
    w[7] = d * signs(q, 28u);
    return w;
}
