// w = d * (q - 8): q u4 [P], d f16 [P/32] in plane 1.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights4[row + chunk];
    let d = half_at(row + params.plane1, chunk);
    w[0] = d * (vec4<f32>(nibbles(q.x, 0u)) - 8.0);
    w[1] = d * (vec4<f32>(nibbles(q.x, 16u)) - 8.0);
    w[2] = d * (vec4<f32>(nibbles(q.y, 0u)) - 8.0);
    w[3] = d * (vec4<f32>(nibbles(q.y, 16u)) - 8.0);
    w[4] = d * (vec4<f32>(nibbles(q.z, 0u)) - 8.0);
    w[5] = d * (vec4<f32>(nibbles(q.z, 16u)) - 8.0);
    w[6] = d * (vec4<f32>(nibbles(q.w, 0u)) - 8.0);
    w[7] = d * (vec4<f32>(nibbles(q.w, 16u)) - 8.0);
    return w;
}
