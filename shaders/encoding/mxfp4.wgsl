// w = fp4(q) * 2^(s - 127): q u4 [P] (part `fp4_twice`), s u8 [P/32] in plane 1.

// Half of it, for the numbers are twice what they should be.
fn scale(row: u32, chunk: u32) -> f32 {
    let s = (weights1[(row + params.plane1) * 4u + chunk / 4u] >> ((chunk % 4u) * 8u)) & 255u;
    return 0.5 * bitcast<f32>(s << 23u);
}
