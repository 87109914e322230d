// w = fp4(q) * 2^(s - 127): q u4 [P], s u8 [P/32] in plane 1.

// Four numbers of four bits (sign, two of exponent, one of mantissa) times two.
fn twice_fp4(q: vec4<u32>) -> vec4<f32> {
    // A nibble for each magnitude: 0, 1, 2, 3, 4, 6, 8, 12.
    let magnitude = (vec4<u32>(0xC8643210u) >> ((q & vec4<u32>(7u)) * 4u)) & vec4<u32>(15u);
    return select(vec4<f32>(magnitude), -vec4<f32>(magnitude), q > vec4<u32>(7u));
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights4[row + chunk];
    let s = (weights1[(row + params.plane1) * 4u + chunk / 4u] >> ((chunk % 4u) * 8u)) & 255u;
    let d = 0.5 * bitcast<f32>(s << 23u);
    w[0] = d * twice_fp4(nibbles(q.x, 0u));
    w[1] = d * twice_fp4(nibbles(q.x, 16u));
    w[2] = d * twice_fp4(nibbles(q.y, 0u));
    w[3] = d * twice_fp4(nibbles(q.y, 16u));
    w[4] = d * twice_fp4(nibbles(q.z, 0u));
    w[5] = d * twice_fp4(nibbles(q.z, 16u));
    w[6] = d * twice_fp4(nibbles(q.w, 0u));
    w[7] = d * twice_fp4(nibbles(q.w, 16u));
    return w;
}
