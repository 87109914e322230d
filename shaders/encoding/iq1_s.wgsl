// w = d * (2 sc + 1) * (grid ± 1/8): [P/8] low bytes of indices; in plane 1 [P/32] four times three high bits, three bits of sc
// and the sign of the shift; d f16 [P/256] in plane 2.
fn fields(row: u32, chunk: u32) -> Fields {
    let low = bytes_of(weights1[row * 4u + chunk]);
    let h = weights1[(row + params.plane1) * 4u + chunk / 2u] >> ((chunk % 2u) * 16u);
    let high = vec4<u32>(h << 8u, h << 5u, h << 2u, h >> 1u) & vec4<u32>(0x700u);
    let d = half_at(row + params.plane2, chunk / 8u) * f32(((h >> 12u) & 7u) * 2u + 1u);
    return Fields(low | high, shifts(vec4<u32>(h >> 15u)), vec2<f32>(d));
}
