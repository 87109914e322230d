// w = d * (q - 8), d f16 [P/32] in plane 1.
fn factors(row: u32, chunk: u32) -> vec2<f32> {
    return vec2<f32>(1.0, -8.0) * half_at(row + params.plane1, chunk);
}
