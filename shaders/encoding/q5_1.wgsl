// w = d * q + m: low u4 [P], high bit [P] in plane 1, (d, m) f16 [P/32] in plane 2.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let h = weights1[(row + params.plane1) * 4u + chunk];
    let dm = unpack2x16float(weights1[(row + params.plane2) * 4u + chunk]);
    w[0] = dm.x * vec4<f32>(nibbles(q.x, 0u) + fifth_bits(h, 0u)) + dm.y;
    w[1] = dm.x * vec4<f32>(nibbles(q.x, 16u) + fifth_bits(h, 4u)) + dm.y;
    w[2] = dm.x * vec4<f32>(nibbles(q.y, 0u) + fifth_bits(h, 8u)) + dm.y;
    w[3] = dm.x * vec4<f32>(nibbles(q.y, 16u) + fifth_bits(h, 12u)) + dm.y;
    w[4] = dm.x * vec4<f32>(nibbles(q.z, 0u) + fifth_bits(h, 16u)) + dm.y;
    w[5] = dm.x * vec4<f32>(nibbles(q.z, 16u) + fifth_bits(h, 20u)) + dm.y;
    w[6] = dm.x * vec4<f32>(nibbles(q.w, 0u) + fifth_bits(h, 24u)) + dm.y;
    w[7] = dm.x * vec4<f32>(nibbles(q.w, 16u) + fifth_bits(h, 28u)) + dm.y;
    return w;
}
