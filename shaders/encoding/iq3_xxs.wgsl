// w = d * (sc + 1/2) / 2 * ±grid: [P/4] bytes of indices; in plane 1 [P/32] words of four times seven signs and four bits of sc;
// d f16 [P/256] in plane 2.
fn fields(row: u32, chunk: u32) -> Fields {
    let at = row * 4u + chunk * 2u;
    let word = weights1[(row + params.plane1) * 4u + chunk];
    let d = half_at(row + params.plane2, chunk / 8u) * (f32(word >> 28u) + 0.5) * 0.5;
    let signs = even_signs(vec4<u32>(word) >> vec4<u32>(0u, 7u, 14u, 21u));
    return Fields(bytes_of(weights1[at]), bytes_of(weights1[at + 1u]), signs, d);
}

// 4, 12, 20, 28, 36, 44, 52, 62.
fn magnitudes(level: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(level * 8u + ((level + 1u) >> vec4<u32>(3u)) * 2u + 4u);
}
