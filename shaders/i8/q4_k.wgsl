// w = (d * sc) * q - dmin * mn, GGUF's 16-byte header [P/256] in plane 1.
fn factors(row: u32, chunk: u32) -> vec2<f32> {
    return vec2<f32>(1.0, -1.0) * k_scales(weights_at(row + params.plane1 + chunk / 8u), chunk % 8u);
}
