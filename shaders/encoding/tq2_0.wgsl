// w = d * (q - 1): q u2 [P], d f16 [P/256] in plane 1.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = row * 4u + chunk * 2u;
    let q0 = weights1[at];
    let q1 = weights1[at + 1u];
    let d = scale(row, chunk);
    w[0] = d * (vec4<f32>(bit_pairs(q0, 0u)) - 1.0);
    w[1] = d * (vec4<f32>(bit_pairs(q0, 8u)) - 1.0);
    w[2] = d * (vec4<f32>(bit_pairs(q0, 16u)) - 1.0);
    w[3] = d * (vec4<f32>(bit_pairs(q0, 24u)) - 1.0);
    w[4] = d * (vec4<f32>(bit_pairs(q1, 0u)) - 1.0);
    w[5] = d * (vec4<f32>(bit_pairs(q1, 8u)) - 1.0);
    w[6] = d * (vec4<f32>(bit_pairs(q1, 16u)) - 1.0);
    w[7] = d * (vec4<f32>(bit_pairs(q1, 24u)) - 1.0);
    return w;
}
