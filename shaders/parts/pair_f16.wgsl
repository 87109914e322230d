// A word as two f16.
fn pair_of(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}
