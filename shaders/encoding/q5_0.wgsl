// w = d * (q - 16): low u4 [P], high bit [P] in plane 1, d f16 [P/32] in plane 2.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let h = weights1[(row + params.plane1) * 4u + chunk];
    let d = half_at(row + params.plane2, chunk);
    w[0] = d * (vec4<f32>(nibbles(q.x, 0u) + fifth_bits(h, 0u)) - 16.0);
    w[1] = d * (vec4<f32>(nibbles(q.x, 16u) + fifth_bits(h, 4u)) - 16.0);
    w[2] = d * (vec4<f32>(nibbles(q.y, 0u) + fifth_bits(h, 8u)) - 16.0);
    w[3] = d * (vec4<f32>(nibbles(q.y, 16u) + fifth_bits(h, 12u)) - 16.0);
    w[4] = d * (vec4<f32>(nibbles(q.z, 0u) + fifth_bits(h, 16u)) - 16.0);
    w[5] = d * (vec4<f32>(nibbles(q.z, 16u) + fifth_bits(h, 20u)) - 16.0);
    w[6] = d * (vec4<f32>(nibbles(q.w, 0u) + fifth_bits(h, 24u)) - 16.0);
    w[7] = d * (vec4<f32>(nibbles(q.w, 16u) + fifth_bits(h, 28u)) - 16.0);
    return w;
}
