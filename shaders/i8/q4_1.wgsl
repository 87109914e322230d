// w = d * q + m, (d, m) f16 [P/32] in plane 1.
fn factors(row: u32, chunk: u32) -> vec2<f32> {
    return unpack2x16float(weights1[(row + params.plane1) * 4u + chunk]);
}
