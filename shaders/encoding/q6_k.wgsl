// w = d * sc * (q - 32): low u4 [P], high u2 [P] in plane 1, sc i8 [P/16] in plane 2, d f16 [P/256] in plane 3.
fn top_bits(word: u32, shift: u32) -> vec4<u32> {
    let w = word >> shift;
    return vec4<u32>(w << 4u, w << 2u, w, w >> 2u) & vec4<u32>(48u);
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let at = (row + params.plane1) * 4u + chunk * 2u;
    let h0 = weights1[at];
    let h1 = weights1[at + 1u];
    let pair = weights1[(row + params.plane2) * 4u + chunk / 2u] >> ((chunk % 2u) * 16u);
    let d = half_at(row + params.plane3, chunk / 8u);
    let s0 = d * f32(bitcast<i32>(pair << 24u) >> 24u);
    let s1 = d * f32(bitcast<i32>(pair << 16u) >> 24u);
    w[0] = s0 * (vec4<f32>(nibbles(q.x, 0u) + top_bits(h0, 0u)) - 32.0);
    w[1] = s0 * (vec4<f32>(nibbles(q.x, 16u) + top_bits(h0, 8u)) - 32.0);
    w[2] = s0 * (vec4<f32>(nibbles(q.y, 0u) + top_bits(h0, 16u)) - 32.0);
    w[3] = s0 * (vec4<f32>(nibbles(q.y, 16u) + top_bits(h0, 24u)) - 32.0);
    w[4] = s1 * (vec4<f32>(nibbles(q.z, 0u) + top_bits(h1, 0u)) - 32.0);
    w[5] = s1 * (vec4<f32>(nibbles(q.z, 16u) + top_bits(h1, 8u)) - 32.0);
    w[6] = s1 * (vec4<f32>(nibbles(q.w, 0u) + top_bits(h1, 16u)) - 32.0);
    w[7] = s1 * (vec4<f32>(nibbles(q.w, 16u) + top_bits(h1, 24u)) - 32.0);
    return w;
}
