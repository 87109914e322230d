// w = (d * sc) * q - dmin * mn: q u2 [P], (u4 sc, u4 mn) [P/16] in plane 1, (f16 d, f16 dmin) [P/256] in plane 2.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = row * 4u + chunk * 2u;
    let q0 = weights1[at];
    let q1 = weights1[at + 1u];
    let pairs = weights1[(row + params.plane1) * 4u + chunk / 2u] >> ((chunk % 2u) * 16u);
    let d = unpack2x16float(weights1[(row + params.plane2) * 4u + chunk / 8u]);
    let s0 = d * vec2<f32>(vec2<u32>(pairs, pairs >> 4u) & vec2<u32>(15u));
    let s1 = d * vec2<f32>(vec2<u32>(pairs >> 8u, pairs >> 12u) & vec2<u32>(15u));
    w[0] = s0.x * vec4<f32>(bit_pairs(q0, 0u)) - s0.y;
    w[1] = s0.x * vec4<f32>(bit_pairs(q0, 8u)) - s0.y;
    w[2] = s0.x * vec4<f32>(bit_pairs(q0, 16u)) - s0.y;
    w[3] = s0.x * vec4<f32>(bit_pairs(q0, 24u)) - s0.y;
    w[4] = s1.x * vec4<f32>(bit_pairs(q1, 0u)) - s1.y;
    w[5] = s1.x * vec4<f32>(bit_pairs(q1, 8u)) - s1.y;
    w[6] = s1.x * vec4<f32>(bit_pairs(q1, 16u)) - s1.y;
    w[7] = s1.x * vec4<f32>(bit_pairs(q1, 24u)) - s1.y;
    return w;
}
