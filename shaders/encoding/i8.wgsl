// w = d * q: q i8 [P], d f16 [P/32] (q8_0), or one f32 for the row (i8), in plane 1.
fn numbers(word: u32) -> vec4<f32> {
    let shifted = vec4<u32>(word << 24u, word << 16u, word << 8u, word);
    return vec4<f32>(bitcast<vec4<i32>>(shifted) >> vec4<u32>(24u));
}
