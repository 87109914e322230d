// w = d * (q - z), (d, z) f16 in plane 1, one pair for SCALE_CHUNKS chunks.
fn factors(row: u32, chunk: u32) -> vec2<f32> {
    let dz = unpack2x16float(weights1[(row + params.plane1) * 4u + chunk / SCALE_CHUNKS]);
    return vec2<f32>(dz.x, -dz.x * dz.y);
}
