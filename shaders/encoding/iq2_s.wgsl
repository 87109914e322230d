// w = d * (sc + 1/2) / 4 * ±grid: [P/256] 32 low bytes of indices and 32 bytes of signs; in plane 1 [P/256] eight bytes of two
// high bits of each index and eight of sc, four bits for 16 columns; d f16 [P/256] in plane 2.
fn fields(row: u32, chunk: u32) -> Fields {
    let sub = chunk % 8u;
    let at = row * 4u + (chunk / 8u) * 16u + sub;
    let low = bytes_of(weights1[at]);
    let signs = weights1[at + 8u];
    let head = (row + params.plane1) * 4u + (chunk / 8u) * 4u + sub / 4u;
    let shift = (sub % 4u) * 8u;
    let high = (vec4<u32>(weights1[head] >> shift) << vec4<u32>(8u, 6u, 4u, 2u)) & vec4<u32>(0x300u);
    let two = weights1[head + 2u] >> shift;
    let d = half_at(row + params.plane2, chunk / 8u);
    let scales = d * (vec2<f32>(vec2<u32>(two, two >> 4u) & vec2<u32>(15u)) + 0.5) * 0.25;
    return Fields(low | high, signs, scales);
}
