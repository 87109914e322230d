// w = d * (q - 8): q u4 [P], d f16 [P/32] in plane 1.
fn numbers(word: u32, shift: u32) -> vec4<f32> {
    return vec4<f32>(nibbles(word, shift)) - 8.0;
}
