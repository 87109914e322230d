// Two numbers of f16 widened as values of shader-f16: used where a search finds it faster, and every bit the same.
fn halves(word: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<vec2<f16>>(word));
}
