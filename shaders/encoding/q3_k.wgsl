// w = d * (sc - 32) * (q - 4): low u2 [P], high bit [P] in plane 1, GGUF's 12 bytes of 16 scales [P/256] in plane 2,
// d f16 [P/256] in plane 3.

// Scales 2 * sub and 2 * sub + 1. Those of sub 0 to 3 have their low bits in the low nibbles of the first two words, the
// others in the high ones; the third word has two high bits of every fourth scale in each byte.
fn two_scales(at: u32, sub: u32) -> vec2<f32> {
    let side = (sub % 2u) * 16u;
    let low = weights1[at + (sub % 4u) / 2u] >> (side + (sub / 4u) * 4u);
    let high = weights1[at + 2u] >> (side + (sub / 2u) * 2u);
    let both = (vec2<u32>(low, low >> 8u) & vec2<u32>(15u)) | ((vec2<u32>(high, high >> 8u) & vec2<u32>(3u)) << vec2<u32>(4u));
    return vec2<f32>(both) - 32.0;
}

fn third_bits(word: u32, shift: u32) -> vec4<u32> {
    let w = word >> shift;
    return vec4<u32>(w << 2u, w << 1u, w, w >> 1u) & vec4<u32>(4u);
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = row * 4u + chunk * 2u;
    let q0 = weights1[at];
    let q1 = weights1[at + 1u];
    let h = weights1[(row + params.plane1) * 4u + chunk];
    let d = half_at(row + params.plane3, chunk / 8u);
    let s = d * two_scales((row + params.plane2) * 4u + (chunk / 8u) * 3u, chunk % 8u);
    w[0] = s.x * (vec4<f32>(bit_pairs(q0, 0u) + third_bits(h, 0u)) - 4.0);
    w[1] = s.x * (vec4<f32>(bit_pairs(q0, 8u) + third_bits(h, 4u)) - 4.0);
    w[2] = s.x * (vec4<f32>(bit_pairs(q0, 16u) + third_bits(h, 8u)) - 4.0);
    w[3] = s.x * (vec4<f32>(bit_pairs(q0, 24u) + third_bits(h, 12u)) - 4.0);
    w[4] = s.y * (vec4<f32>(bit_pairs(q1, 0u) + third_bits(h, 16u)) - 4.0);
    w[5] = s.y * (vec4<f32>(bit_pairs(q1, 8u) + third_bits(h, 20u)) - 4.0);
    w[6] = s.y * (vec4<f32>(bit_pairs(q1, 16u) + third_bits(h, 24u)) - 4.0);
    w[7] = s.y * (vec4<f32>(bit_pairs(q1, 24u) + third_bits(h, 28u)) - 4.0);
    return w;
}
