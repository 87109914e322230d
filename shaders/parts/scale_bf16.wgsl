// The scale of a chunk: bf16 in plane 1, the upper half of an f32, one for SCALE_CHUNKS chunks.
fn scale(row: u32, chunk: u32) -> f32 {
    let index = chunk / SCALE_CHUNKS;
    let word = weights1[(row + params.plane1) * 4u + index / 2u];
    return bitcast<f32>(select(word & 0xffff0000u, word << 16u, index % 2u == 0u));
}
