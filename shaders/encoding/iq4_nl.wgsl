// w = d * IQ4[q]: q u4 [P], d f16 [P/32] in plane 1.
fn numbers(word: u32, shift: u32) -> vec4<f32> {
    return iq4(nibbles(word, shift));
}
