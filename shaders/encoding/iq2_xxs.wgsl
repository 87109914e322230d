// w = d * (sc + 1/2) / 4 * ±grid: [P/256] 16 words, two a chunk: four indices; four times seven signs, and four bits of sc.
// d f16 [P/256] in plane 1.
fn fields(row: u32, chunk: u32) -> Fields {
    let at = row * 4u + chunk * 2u;
    let indices = bytes_of(weights1[at]);
    let word = weights1[at + 1u];
    let d = half_at(row + params.plane1, chunk / 8u) * (f32(word >> 28u) + 0.5) * 0.25;
    let signs = even_signs(vec4<u32>(word) >> vec4<u32>(0u, 7u, 14u, 21u));
    return Fields(indices, signs, vec2<f32>(d));
}
