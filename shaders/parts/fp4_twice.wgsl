// Twice the numbers that four nibbles of `word` are, from bit `shift` on: sign, two bits of exponent, one of mantissa.
fn numbers(word: u32, shift: u32) -> vec4<f32> {
    let w = word >> shift;
    // A nibble for each magnitude: 0, 1, 2, 3, 4, 6, 8, 12.
    let bit = vec4<u32>(w << 2u, w >> 2u, w >> 6u, w >> 10u) & vec4<u32>(28u);
    let magnitude = (vec4<u32>(0xC8643210u) >> bit) & vec4<u32>(15u);
    return with_signs(vec4<f32>(magnitude), word, shift);
}
