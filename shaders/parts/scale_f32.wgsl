// The scale of a chunk: f32 in plane 1, one for SCALE_CHUNKS chunks.
fn scale(row: u32, chunk: u32) -> f32 {
    return bitcast<f32>(weights1[(row + params.plane1) * 4u + chunk / SCALE_CHUNKS]);
}
