// w = (d * sc) * q - dmin * mn: low u4 [P], high bit [P] in plane 1, GGUF's 16-byte header [P/256] in plane 2.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let h = weights1[(row + params.plane1) * 4u + chunk];
    let s = k_scales(weights_at(row + params.plane2 + chunk / 8u), chunk % 8u);
    w[0] = s.x * vec4<f32>(nibbles(q.x, 0u) + fifth_bits(h, 0u)) - s.y;
    w[1] = s.x * vec4<f32>(nibbles(q.x, 16u) + fifth_bits(h, 4u)) - s.y;
    w[2] = s.x * vec4<f32>(nibbles(q.y, 0u) + fifth_bits(h, 8u)) - s.y;
    w[3] = s.x * vec4<f32>(nibbles(q.y, 16u) + fifth_bits(h, 12u)) - s.y;
    w[4] = s.x * vec4<f32>(nibbles(q.z, 0u) + fifth_bits(h, 16u)) - s.y;
    w[5] = s.x * vec4<f32>(nibbles(q.z, 16u) + fifth_bits(h, 20u)) - s.y;
    w[6] = s.x * vec4<f32>(nibbles(q.w, 0u) + fifth_bits(h, 24u)) - s.y;
    w[7] = s.x * vec4<f32>(nibbles(q.w, 16u) + fifth_bits(h, 28u)) - s.y;
    return w;
}
