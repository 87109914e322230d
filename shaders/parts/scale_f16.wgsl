// The scale of a chunk: f16 in plane 1, one for SCALE_CHUNKS chunks.
fn scale(row: u32, chunk: u32) -> f32 {
    return half_at(row + params.plane1, chunk / SCALE_CHUNKS);
}
