// w = d * q + m: q u4 [P], (d, m) f16 [P/32] in plane 1.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let dm = unpack2x16float(weights1[(row + params.plane1) * 4u + chunk]);
    w[0] = dm.x * vec4<f32>(nibbles(q.x, 0u)) + dm.y;
    w[1] = dm.x * vec4<f32>(nibbles(q.x, 16u)) + dm.y;
    w[2] = dm.x * vec4<f32>(nibbles(q.y, 0u)) + dm.y;
    w[3] = dm.x * vec4<f32>(nibbles(q.y, 16u)) + dm.y;
    w[4] = dm.x * vec4<f32>(nibbles(q.z, 0u)) + dm.y;
    w[5] = dm.x * vec4<f32>(nibbles(q.z, 16u)) + dm.y;
    w[6] = dm.x * vec4<f32>(nibbles(q.w, 0u)) + dm.y;
    w[7] = dm.x * vec4<f32>(nibbles(q.w, 16u)) + dm.y;
    return w;
}
