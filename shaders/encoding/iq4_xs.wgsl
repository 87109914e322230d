// w = d * (sc - 32) * IQ4[q]: q u4 [P]; in plane 1 [P/256] GGUF's 8 bytes: f16 d, two high bits and then four low ones of
// eight scales.
fn scale(row: u32, chunk: u32) -> f32 {
    let at = (row + params.plane1) * 4u + (chunk / 8u) * 2u;
    let head = weights1[at];
    let sub = chunk % 8u;
    let low = (weights1[at + 1u] >> (sub * 4u)) & 15u;
    let high = (head >> (16u + sub * 2u)) & 3u;
    return unpack2x16float(head).x * (f32(low | (high << 4u)) - 32.0);
}

fn numbers(word: u32, shift: u32) -> vec4<f32> {
    return iq4(nibbles(word, shift));
}
