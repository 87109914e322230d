// w = fp4(q) * 2^(s - 127): q u4 [P] (sign, two bits of exponent, one of mantissa), s u8 [P/32] in plane 1.

// Half of it, for the numbers below are twice what they should be.
fn scale(row: u32, chunk: u32) -> f32 {
    let s = (weights1[(row + params.plane1) * 4u + chunk / 4u] >> ((chunk % 4u) * 8u)) & 255u;
    return 0.5 * bitcast<f32>(s << 23u);
}

fn numbers(word: u32, shift: u32) -> vec4<f32> {
    let w = word >> shift;
    // A nibble for each magnitude: 0, 1, 2, 3, 4, 6, 8, 12.
    let bit = vec4<u32>(w << 2u, w >> 2u, w >> 6u, w >> 10u) & vec4<u32>(28u);
    let magnitude = (vec4<u32>(0xC8643210u) >> bit) & vec4<u32>(15u);
    return with_signs(vec4<f32>(magnitude), word, shift);
}
