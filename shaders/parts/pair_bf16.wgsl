// A word as two bf16, each the upper half of an f32.
fn pair_of(word: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}
